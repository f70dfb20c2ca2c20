"""Folders that are whole or not there: kills while one is replaced, links, names, and who may read the weights."""

import json
import os
import stat

import pytest
from safetensors.torch import save_file
from torch import zeros

from primase.corpus.prepare import prepare
from primase.errors import InputError
from primase.recipe import Recipe
from primase.run_folder import RunFolder
from primase.whole_files import creating_folder, folder_to_make, with_usual_modes


def replacing(folder, *, marker="recipe.toml"):
    return creating_folder(folder, marker=marker, own_names={marker, "final"}, overwrite=True, remedy="")


def write(folder, text):
    (folder / "recipe.toml").write_text(text)


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    with replacing(folder):
        write(folder, "first")
    return folder


def text_of(folder):
    return (folder / "recipe.toml").read_text()


def test_what_was_there_comes_back(run):
    with pytest.raises(ZeroDivisionError), replacing(run):
        write(run, "half")
        raise ZeroDivisionError
    assert text_of(run) == "first" and [entry.name for entry in run.parent.iterdir()] == ["run"]


def test_a_run_set_aside_by_a_killed_process_outlives_another_failure(run):
    run.rename(run.with_name(".run.replaced"))  # as SIGKILL leaves it, with half a run in its place
    run.mkdir()
    write(run, "half")
    with pytest.raises(ZeroDivisionError), replacing(run):
        raise ZeroDivisionError
    assert text_of(run) == "half" and text_of(run.with_name(".run.replaced")) == "first"
    with replacing(run):
        write(run, "second")
    assert text_of(run) == "second" and [entry.name for entry in run.parent.iterdir()] == ["run"]


def test_a_link_is_followed_and_stays(run):
    link = run.parent / "link"
    link.symlink_to(run)
    for text in ("second", "third"):
        with replacing(link):
            write(link, text)
    assert link.is_symlink() and text_of(run) == "third"
    assert sorted(entry.name for entry in run.parent.iterdir()) == ["link", "run"]


@pytest.mark.parametrize("path", [".", "..", "", "a/.."])
def test_a_folder_without_a_name_is_refused(path):
    with pytest.raises(InputError, match="name the folder that is to be made"):
        folder_to_make(path)


def test_weights_are_read_by_whoever_reads_the_rest(tmp_path):
    save_file({"w": zeros(1)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text("{}")
    old = os.umask(0o027)
    try:
        with_usual_modes(tmp_path)
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "model.safetensors").stat().st_mode) == 0o640


def test_a_corpus_outside_is_found_from_behind_a_link(tmp_path):
    (tmp_path / "g.fa").write_text(">g\n" + "ACGTTGCAAC" * 400 + "\n")
    recipe = Recipe.load("default", {"data.window_bases": 100, "split.gap_bases": 0})
    corpus = prepare([tmp_path / "g.fa"], tmp_path / "corpus", recipe)
    (tmp_path / "scratch" / "deep").mkdir(parents=True)
    (tmp_path / "runs").symlink_to(tmp_path / "scratch" / "deep")
    (tmp_path / "runs" / "mine").mkdir()
    run = RunFolder(tmp_path / "runs" / "mine")
    run.refer_to(corpus)
    assert run.corpus().digest == corpus.digest
    (reference,) = run.folder.glob("corpus*.json")
    assert json.loads(reference.read_text())["folder"] == "../../../corpus"


def test_a_corpus_may_be_prepared_into_a_link(tmp_path):
    (tmp_path / "g.fa").write_text(">g\n" + "ACGTTGCAAC" * 400 + "\n")
    (tmp_path / "disk").mkdir()
    (tmp_path / "corpus").symlink_to(tmp_path / "disk")
    recipe = Recipe.load("default", {"data.window_bases": 100, "split.gap_bases": 0})
    for overwrite in (False, True):
        prepare([tmp_path / "g.fa"], tmp_path / "corpus", recipe, overwrite=overwrite)
        assert (tmp_path / "corpus").is_symlink() and (tmp_path / "disk" / "corpus.json").is_file()
