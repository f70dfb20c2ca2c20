"""What is refused, in one line, and what is left on disk then."""

import json
import resource
import signal

import pytest

from primase.cli import main
from primase.corpus.prepare import prepare
from primase.errors import (
    CheckpointError,
    InputError,
    MissingExtraError,
    MissingFileError,
    OutputExistsError,
    PrimaseError,
    RecipeError,
)
from primase.training.checkpoints import complete_checkpoints
from primase.training.run import pretrain, resume
from tests.training.runs import DENSE, assert_same_run, tiny_recipe


def one_line(error) -> str:
    message = str(error.value)
    assert isinstance(error.value, PrimaseError) and "\n" not in message
    return message


@pytest.fixture
def stopped(genome, tmp_path, before_batch):
    """A run folder with checkpoints of steps 5 and 6."""
    before_batch(11, lambda trainer: signal.raise_signal(signal.SIGTERM))
    return pretrain(genome, tmp_path / "run", tiny_recipe()).run


def test_resume_with_another_recipe(stopped):
    own = stopped / "recipe.toml"
    text = own.read_text()
    with pytest.raises(CheckpointError) as error:
        resume(stopped, recipe=tiny_recipe(training__learning_rate=0.25))
    assert "training.learning_rate: 0.25, not 0.005" in one_line(error)

    own.write_text(text.replace("learning_rate = 0.005", "learning_rate = 0.25"))
    with pytest.raises(CheckpointError) as error:
        resume(stopped)
    assert "another recipe (training.learning_rate: 0.25, not 0.005)" in one_line(error)
    assert "--accept-changes" in one_line(error)


@pytest.mark.parametrize(
    ("key", "value", "what"), [("digest", "0123456789abcdef", "corpus"), ("tokenizer_sha256", "f" * 64, "tokenizer")]
)
def test_resume_with_another_corpus(key, value, what, stopped):
    file = stopped / "corpus" / "corpus.json"
    description = json.loads(file.read_text())
    file.write_text(json.dumps(description | {key: value}))
    with pytest.raises(CheckpointError) as error:
        resume(stopped)
    assert f"another {what} (digest {description[key][:16]}, not {value[:16]}); restore the {what}" in one_line(error)


def test_resume_where_a_referred_corpus_was_prepared_anew(genome, tmp_path, before_batch):
    corpus = tmp_path / "corpus"
    recipe = tiny_recipe(training__steps=6)
    prepare([genome], corpus, recipe)
    before_batch(11, lambda trainer: signal.raise_signal(signal.SIGTERM))
    run = pretrain(corpus, tmp_path / "run", recipe).run
    other = tmp_path / "other.fa"
    other.write_text(genome.read_text().replace("ACGT", "TGCA"))
    prepare([other], corpus, recipe, overwrite=True)
    with pytest.raises(InputError, match=r"corpus has changed since this run \(digest \w+, not \w+\)"):
        resume(run)


def test_resume_without_a_checkpoint(stopped, tmp_path):
    for checkpoint in complete_checkpoints(stopped):
        (checkpoint.folder / "complete.json").unlink()
    with pytest.raises(
        CheckpointError, match=r"no complete checkpoint to go on from: .*; start again with --overwrite"
    ):
        resume(stopped)
    with pytest.raises(MissingFileError, match="no run here"):
        resume(tmp_path / "nowhere")


def test_output_that_holds_a_run(stopped, genome):
    with pytest.raises(OutputExistsError, match=r"--resume.*--overwrite"):
        pretrain(genome, stopped, tiny_recipe())
    assert len(complete_checkpoints(stopped)) == 2
    again = pretrain(genome, stopped, tiny_recipe(training__steps=2), overwrite=True)
    assert [checkpoint.step for checkpoint in complete_checkpoints(again.run)] == [2]


@pytest.mark.parametrize("overwrite", [False, True])
def test_foreign_folder_is_never_touched(overwrite, genome, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match="no run of Primase"):
        pretrain(genome, tmp_path / "thesis", tiny_recipe(), overwrite=overwrite)
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "mine"


def test_sources_inside_the_output_are_not_replaced(stopped):
    with pytest.raises(InputError, match="lies in the output folder"):
        pretrain(stopped / "corpus", stopped, tiny_recipe(), overwrite=True)
    assert (stopped / "corpus" / "corpus.json").is_file()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"data__window_bases": 7000}, InputError, "fewer than a window"),
        ({"training__row_tokens": 300}, RecipeError, r"training\.row_tokens is 300, but the model has 256 positions"),
        ({"split__validation_fraction": 0}, RecipeError, r"no validation part; set split\.validation_fraction"),
        ({"training__precision": "fp16"}, RecipeError, "needs a GPU"),
        ({"model__settings__num_key_value_heads": 3}, RecipeError, "num_key_value_heads"),
    ],
)
def test_failed_preparation_leaves_nothing(changes, error, message, genome, tmp_path):
    with pytest.raises(error, match=message) as raised:
        pretrain(genome, tmp_path / "runs" / "mine", tiny_recipe(**changes))
    one_line(raised)
    assert not (tmp_path / "runs" / "mine").exists()


def test_a_killed_preparation_can_be_begun_again(genome, tmp_path, monkeypatch):
    """What a killed process leaves is known as a run, so that --overwrite replaces it."""
    monkeypatch.setattr("primase.whole_files.shutil.rmtree", lambda *_, **__: None)  # as if there were no time for it
    with pytest.raises(InputError):
        pretrain(genome, tmp_path / "run", tiny_recipe(data__window_bases=7000))
    monkeypatch.undo()
    with pytest.raises(OutputExistsError, match="--overwrite"):
        pretrain(genome, tmp_path / "run", tiny_recipe())
    pretrain(genome, tmp_path / "run", tiny_recipe(training__steps=1), overwrite=True)


@pytest.fixture
def file_size_limit():
    """`file_size_limit(bytes)`: no file may grow beyond it, as on a disk that is nearly full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.pt"])
def test_full_disk(file, genome, tmp_path, before_batch, file_size_limit, monkeypatch, capsys):
    """The previous checkpoint stays good, whichever file did not fit; one line; the run can go on."""
    recipe = tiny_recipe(DENSE, training__log_every=1)
    reference = pretrain(genome, tmp_path / "reference", recipe)
    (tmp_path / "recipe.toml").write_text(recipe.to_toml())
    size = (reference.run / "checkpoints" / "step-000020" / file).stat().st_size
    before_batch(12, lambda trainer: file_size_limit(size - 1))
    command = ["primase", "pretrain", str(genome), "-o", str(tmp_path / "run"), "-r", str(tmp_path / "recipe.toml")]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit) as exit_status:
        main()
    file_size_limit(resource.RLIM_INFINITY)
    assert exit_status.value.code == 2
    *_, last = capsys.readouterr().err.strip().splitlines()
    assert last.startswith("primase: ") and "cannot be written" in last and "--resume" in last
    folders = [folder.name for folder in (tmp_path / "run" / "checkpoints").iterdir()]
    assert folders == ["step-000005"]
    resume(tmp_path / "run")
    assert_same_run(tmp_path / "run", reference.run)


def test_several_processes_without_a_launcher(genome, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(PrimaseError) as error:
        pretrain(genome, tmp_path / "run", tiny_recipe())
    assert "WORLD_SIZE is 2 but RANK is not set" in one_line(error)
    assert not (tmp_path / "run").exists()


def test_a_run_that_was_to_be_replaced_outlives_bad_input(genome, tmp_path):
    run = pretrain(genome, tmp_path / "run", tiny_recipe(training__steps=2)).run
    before = (run / "metrics.jsonl").read_text()
    empty = tmp_path / "empty.fa"
    empty.touch()
    with pytest.raises(InputError):
        pretrain(empty, run, tiny_recipe(), overwrite=True)
    assert (run / "metrics.jsonl").read_text() == before and (run / "final" / "model.safetensors").is_file()
    assert not [entry for entry in tmp_path.iterdir() if entry.name.startswith(".")]


def test_a_tracker_that_is_not_installed_is_named_with_its_extra(genome, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError) as error:
        pretrain(genome, tmp_path / "run", tiny_recipe(training__report_to=["trackio"]))
    assert "pip install trackio" in one_line(error)
    assert not (tmp_path / "run").exists()
