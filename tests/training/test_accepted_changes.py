"""A changed recipe, corpus, tokenizer or version is refused with both values, and goes on where that is asked for."""

import json
import signal

import pytest

from primase.cli import main
from primase.corpus.prepare import prepare
from primase.errors import CheckpointError, InputError
from primase.run_folder import RunFolder
from primase.training import training_setup
from primase.training.checkpoints import complete_checkpoints
from primase.training.run import pretrain, resume
from primase.training.trainer import PretrainingTrainer
from tests.training.runs import DENSE, EXPERTS, metrics, tiny_recipe


@pytest.fixture
def stopped(genome, tmp_path, before_batch):
    """A run that was stopped after step 6 of 20."""
    before_batch(12, lambda trainer: signal.raise_signal(signal.SIGTERM))
    return pretrain(genome, tmp_path / "run", tiny_recipe(DENSE, training__optimizer="muon")).run


def refusal(run, **options):
    with pytest.raises(CheckpointError) as error:
        resume(run, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_another_version_is_refused(stopped, monkeypatch):
    monkeypatch.setattr(training_setup, "__version__", "9.9.9")
    noted = complete_checkpoints(stopped)[-1].facts["primase_version"]
    assert f"another primase version ({noted}, not 9.9.9)" in refusal(stopped)
    assert "--accept-changes" in refusal(stopped)
    assert resume(stopped, accept_changes=True).steps == 20
    assert complete_checkpoints(stopped)[-1].facts["primase_version"] == "9.9.9"


def test_checkpoints_that_noted_no_version_go_on(stopped):
    """Those of before it was noted, and of before the recipe was noted beside its digest."""
    for checkpoint in complete_checkpoints(stopped):
        file = checkpoint.folder / "complete.json"
        note = json.loads(file.read_text())
        for name in ("primase_version", "recipe", "sha256_of_file"):
            del note[name]
        file.write_text(json.dumps(note))
    assert resume(stopped).steps == 20


def test_new_settings_of_the_optimizer_are_in_force(stopped, monkeypatch):
    seen = {}
    training_step = PretrainingTrainer.training_step

    def look(trainer, *args, **kwargs):
        if trainer.state.global_step == 6 and not seen:
            seen["groups"] = [(group["lr"], group["weight_decay"]) for group in trainer.optimizer.param_groups]
        return training_step(trainer, *args, **kwargs)

    monkeypatch.setattr(PretrainingTrainer, "training_step", look)
    own = RunFolder(stopped).recipe()
    new = own.replace(
        {"training.learning_rate": 1e-3, "training.muon_learning_rate": 0.01, "training.weight_decay": 0.25}
    )
    assert "training.learning_rate: 0.001, not 0.005; training.muon_learning_rate: 0.01, not 0.02; " in refusal(
        stopped, recipe=new
    )
    resume(stopped, recipe=new, accept_changes=True)
    left = 1 - 6 / 20  # the schedule is linear
    assert seen["groups"] == [
        (pytest.approx(rate * left), decay) for rate, decay in ((0.01, 0.25), (1e-3, 0.25), (1e-3, 0.0))
    ]
    rates = [line["learning_rate"] for line in metrics(stopped) if "learning_rate" in line]
    assert rates[-1] == pytest.approx(0.01 / 20)
    assert RunFolder(stopped).recipe() == new


def test_more_steps(stopped):
    new = RunFolder(stopped).recipe().replace({"training.steps": 24})
    assert resume(stopped, recipe=new, accept_changes=True).steps == 24
    assert [line["step"] for line in metrics(stopped) if "tokens" in line] == [3, 6, 9, 12, 15, 18, 21, 24]


def test_the_next_step_has_the_rate_of_the_changed_schedule(stopped, monkeypatch):
    rates = {}
    training_step = PretrainingTrainer.training_step

    def look(trainer, *args, **kwargs):
        rates.setdefault(trainer.state.global_step, trainer.optimizer.param_groups[0]["lr"])
        return training_step(trainer, *args, **kwargs)

    monkeypatch.setattr(PretrainingTrainer, "training_step", look)
    new = RunFolder(stopped).recipe().replace({"training.steps": 24})
    resume(stopped, recipe=new, accept_changes=True)
    assert rates[6] == pytest.approx(0.02 * (1 - 6 / 24))


def test_new_intervals_are_in_force(stopped):
    new = RunFolder(stopped).recipe().replace({"training.evaluate_every": 7, "training.log_every": 4})
    resume(stopped, recipe=new, accept_changes=True)
    lines = [line for line in metrics(stopped) if line["step"] > 6]
    assert [line["step"] for line in lines if "eval_bits_per_base" in line] == [7, 14, 20]
    assert [line["step"] for line in lines if "tokens" in line] == [8, 12, 16, 20]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model.settings.hidden_size": 32}, "another model or optimizer (model.settings.hidden_size: 32, not 16)"),
        ({"training.optimizer": "adamw"}, "another model or optimizer (training.optimizer: 'adamw', not 'muon')"),
        ({"data.window_bases": 30}, "data.window_bases: 30, not 60"),
        ({"training.minutes": 1.0}, "has steps and no minutes; change training.steps (now 20)"),
    ],
)
def test_what_cannot_be_changed_is_said_in_one_line(changes, words, stopped):
    before = (stopped / "recipe.toml").read_text()
    new = RunFolder(stopped).recipe().replace(changes)
    assert words in refusal(stopped, recipe=new, accept_changes=True)
    assert (stopped / "recipe.toml").read_text() == before
    assert resume(stopped).steps == 20


@pytest.mark.parametrize(
    ("own", "new", "words"),
    [
        ("hidden_size = 16", "hidden_size = 32", "the weights do not fit the model that the recipe describes"),
        ('optimizer = "muon"', 'optimizer = "adamw"', "its optimizer is not that of the recipe (adamw)"),
    ],
)
def test_a_recipe_that_was_edited_beyond_what_can_go_on(own, new, words, stopped):
    text = (stopped / "recipe.toml").read_text()
    assert text.count(own) == 1
    (stopped / "recipe.toml").write_text(text.replace(own, new))
    assert "another recipe (" in refusal(stopped) and "--accept-changes" in refusal(stopped)
    assert words in refusal(stopped, accept_changes=True)


def test_a_corpus_that_was_prepared_anew(genome, tmp_path, before_batch):
    corpus = tmp_path / "corpus"
    recipe = tiny_recipe(EXPERTS, training__steps=8)
    prepare([genome], corpus, recipe)
    before_batch(11, lambda trainer: signal.raise_signal(signal.SIGTERM))
    run = pretrain(corpus, tmp_path / "run", recipe).run
    other = tmp_path / "other.fa"
    other.write_text(genome.read_text().replace("ACGT", "TGCA"))
    prepare([other], corpus, recipe, overwrite=True)
    with pytest.raises(InputError, match=r"digest \w+, not \w+\).*--accept-changes"):
        resume(run)
    assert resume(run, accept_changes=True).steps == 8
    assert RunFolder(run).corpus().digest == complete_checkpoints(run)[-1].facts["corpus_digest"]


def test_a_damaged_corpus_is_refused_and_named(genome, stopped):
    bases = stopped / "corpus" / "bases.bin"
    content = bytearray(bases.read_bytes())
    content[100] = ord("A") if content[100] != ord("A") else ord("C")
    bases.write_bytes(content)
    for options in ({}, {"accept_changes": True}, {"skip_damaged": True}):
        with pytest.raises(InputError, match=r"bases\.bin has changed since it was written .*the corpus is damaged"):
            resume(stopped, **options)
    with pytest.raises(InputError, match=r"bases\.bin has changed since it was written"):
        pretrain(stopped / "corpus", stopped.parent / "next", tiny_recipe(DENSE))
    assert not (stopped.parent / "next").exists()


def test_a_moved_run_goes_on(stopped, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    moved = stopped.rename(tmp_path / "elsewhere" / "other name")
    assert resume(moved).steps == 20
    assert (moved / "final" / "model.safetensors").is_file() and not stopped.exists()


def test_a_run_and_the_corpus_beside_it_are_moved_together(genome, tmp_path, before_batch):
    here = tmp_path / "here"
    recipe = tiny_recipe(DENSE, training__steps=8)
    prepare([genome], here / "corpus", recipe)
    before_batch(11, lambda trainer: signal.raise_signal(signal.SIGTERM))
    pretrain(here / "corpus", here / "run", recipe)
    there = here.rename(tmp_path / "there")
    assert resume(there / "run").steps == 8


def test_the_options_belong_to_resume(genome, monkeypatch, capsys):
    for option in ("--skip-damaged", "--accept-changes"):
        monkeypatch.setattr("sys.argv", ["primase", "pretrain", str(genome), option])
        with pytest.raises(SystemExit) as exit_status:
            main()
        assert exit_status.value.code == 2 and "give --resume RUN with them" in capsys.readouterr().err
