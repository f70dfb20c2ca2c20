"""What older versions wrote is opened, and what a newer one wrote is refused by its name.

The archives are made by `python -m tests.data.make_run_folder`, one for each released version, and never made anew.
"""

import json
import math
import shutil
import struct
import tarfile
from contextlib import chdir
from pathlib import Path

import numpy as np
import pytest

from primase.codec.container import MAGIC
from primase.results import Evaluation
from primase.run_folder import RunFolder
from primase.version import __version__
from tests.conftest import REPOSITORY
from tests.data import make_run_folder

ARCHIVES = sorted((REPOSITORY / "tests" / "data" / "run_folders").glob("*.tar.gz"))
OF_TRANSFORMERS = {
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "trainer_state.json",
}


@pytest.fixture(params=ARCHIVES, ids=lambda archive: archive.name.removesuffix(".tar.gz"))
def old(request, workplace: Path) -> Path:
    """The working directory, with what an older version wrote."""
    with tarfile.open(request.param) as archive:
        archive.extractall(workplace, filter="data")
    return workplace


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as this version writes it. Not to be changed."""
    folder = tmp_path_factory.mktemp("written")
    make_run_folder.make(folder)
    return folder


def test_there_is_an_archive_of_this_version():
    assert f"{__version__}.tar.gz" in {archive.name for archive in ARCHIVES}
    assert all(archive.stat().st_size <= make_run_folder.MOST_BYTES for archive in ARCHIVES)


def test_an_old_run_is_measured_as_it_was(old, primase):
    before = json.loads(Path("run/evaluation.json").read_text())
    assert primase("evaluate", "run").code == 0
    again = Evaluation.model_validate_json(Path("run/evaluation.json").read_text())
    assert again.forward.bits_per_base == pytest.approx(before["forward"]["bits_per_base"], abs=1e-4)
    assert again.rival("markov").bits_per_base == pytest.approx(
        next(rival["bits_per_base"] for rival in before["rivals"] if rival["kind"] == "markov"), abs=1e-6
    )
    assert primase("check", "run").code == 0
    assert primase("report", "run").code == 0 and "chr1" in Path("run/report.html").read_text()


def test_an_old_run_is_gone_on_with(old, primase):
    shutil.rmtree("run/final")
    outcome = primase("pretrain", "--resume", "run")
    assert outcome.code == 0 and "Trained 4 steps" in outcome.out
    lines = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 4 and all(math.isfinite(value) for value in lines[-1].values())


def test_a_corpus_apart_from_its_run_is_found(old, primase):
    assert RunFolder.open("apart").corpus().folder.resolve() == Path("corpus").resolve()
    assert primase("evaluate", "apart").code == 0
    assert primase("plan", "corpus", "-r", "tiny.toml").code == 0


def test_old_models_indexes_and_simulations_are_used(old, primase):
    assert primase("embed", "run", "t.csv", "-o", "v.npy").code == 0
    vectors = np.load("v.npy")
    assert vectors.shape == (24, 16) and np.isfinite(vectors).all()
    assert primase("predict", "task", "t.csv", "-o", "p.csv").code == 0
    assert len(Path("p.csv").read_text().splitlines()) == 25
    hits = json.loads(primase("search", "query", "index", "t.fa", "--top", "1", "--json").out)["hits"]
    assert (hits[0]["record"], hits[0]["start"], hits[0]["end"]) == ("chr1", 0, 60), "it was cut from there"
    refusal = primase("evaluate", "run", "--simulation", "sim.fa.json").refusal
    assert "sim.fa.json: describes a genome of 1,000 bases, and this run's has 1,200" in refusal, "it was read"


def test_an_old_compressed_file_comes_back_or_names_what_has_changed(old, primase):
    """Only the same versions and the same kind of processor decode it."""
    outcome = primase("decompress", "run", "t.prm", "-o", "again.fa")
    if outcome.code == 0:
        assert Path("again.fa").read_bytes() == Path("t.fa").read_bytes()
    else:
        assert "compressed with " in outcome.refusal or "decoding went astray" in outcome.refusal
        assert not Path("again.fa").exists()


def test_every_json_file_has_a_schema_version(written):
    files = [file for file in written.rglob("*.json") if file.name not in OF_TRANSFORMERS]
    assert {file.name for file in files} >= {
        "corpus.json", "leakage.json", "corpus.reference.json", "complete.json", "progress.json", "environment.json",
        "evaluation.json", "checks.json", "finetuning.json", "index.json", "sim.fa.json",
    }  # fmt: skip
    without = [file.name for file in files if not isinstance(json.loads(file.read_text())["schema_version"], int)]
    assert not without


NEWER = {
    "run/corpus/corpus.json": ["evaluate run", "pretrain --resume run", "report run"],
    "run/corpus/leakage.json": ["evaluate run", "report run"],
    "run/environment.json": ["evaluate run", "pretrain --resume run", "report run", "check run"],
    "run/evaluation.json": ["evaluate run", "report run"],
    "run/checks.json": ["check run", "report run"],
    "run/checkpoints/step-000002/complete.json": ["pretrain --resume run"],
    "run/checkpoints/step-000002/progress.json": ["pretrain --resume run"],
    "apart/corpus.reference.json": ["evaluate apart"],
    "corpus/corpus.json": ["plan corpus -r tiny.toml"],
    "task/finetuning.json": ["predict task t.csv -o p.csv"],
    "index/index.json": ["search query index t.fa"],
    "sim.fa.json": ["evaluate run --simulation sim.fa.json"],
}


@pytest.mark.parametrize("name", NEWER)
def test_a_newer_file_is_refused_by_name(name, written, primase, workplace, contents):
    shutil.copytree(written, workplace, dirs_exist_ok=True)
    file = Path(name)
    values = json.loads(file.read_text())
    file.write_text(json.dumps(values | {"schema_version": 99, "of_the_future": [1]}))
    if name.endswith(("progress.json", "leakage.json")):  # the marker of whoever wrote it agrees with it
        marker = file.with_name("complete.json" if name.endswith("progress.json") else "corpus.json")
        noted = json.loads(marker.read_text())
        noted["bytes_of_file"][file.name] = file.stat().st_size
        del noted["sha256_of_file"]
        marker.write_text(json.dumps(noted))
    before = contents(workplace)
    for line in NEWER[name]:
        refusal = primase(*line.split()).refusal
        assert f"{name}: written by a newer Primase (schema version 99, this program reads up to " in refusal
        assert "update Primase" in refusal
        assert contents(workplace) == before


def test_a_newer_compressed_file_is_refused_by_name(written, primase, workplace):
    content = (written / "t.prm").read_bytes()
    Path("t.prm").write_bytes(MAGIC + struct.pack("<I", 99) + content[12:])
    refusal = primase("decompress", written / "run", "t.prm", "-o", "again.fa").refusal
    assert "t.prm: format version 99, and this Primase reads up to 1; update Primase" in refusal


@pytest.mark.parametrize("name", ["settings.json", "done.json"])
def test_a_newer_interrupted_embedding_is_refused_by_name(name, written, primase, workplace, monkeypatch):
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("primase.embedding.files.write", stop)
    assert primase("embed", written / "run", written / "t.csv", "-o", "v.npy").code != 0
    monkeypatch.undo()
    with chdir(workplace):
        file = workplace / ".v.npy.partial" / name
        file.write_text(json.dumps(json.loads(file.read_text()) | {"schema_version": 99}))
        refusal = primase("embed", written / "run", written / "t.csv", "-o", "v.npy", "--resume").refusal
    assert f".v.npy.partial/{name}: written by a newer Primase" in refusal


def test_an_older_file_without_a_version_is_read(written, primase, workplace):
    """progress.json and corpus.reference.json had none at first."""
    shutil.copytree(written, workplace, dirs_exist_ok=True)
    for name in ("apart/corpus.reference.json", "run/checkpoints/step-000002/progress.json"):
        values = json.loads(Path(name).read_text())
        del values["schema_version"]
        Path(name).write_text(json.dumps(values))
    marker = Path("run/checkpoints/step-000002/complete.json")
    noted = json.loads(marker.read_text())
    noted["bytes_of_file"]["progress.json"] = Path("run/checkpoints/step-000002/progress.json").stat().st_size
    del noted["sha256_of_file"]
    marker.write_text(json.dumps(noted))
    assert primase("evaluate", "apart").code == 0
    assert primase("pretrain", "--resume", "run").code == 0
