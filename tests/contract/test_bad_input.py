"""A user's mistake: one line on stderr that names the place and the remedy, exit code 2, and nothing half-written.

The mistakes are made through the command line in this process, where a traceback would be an exception in the test.
"""

import gzip
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

MIXTURE = ["--set", "model.preset=mixtral-1m"]


@pytest.fixture(scope="module")
def bad(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one file for each mistake in sequences, recipes and model folders."""
    folder = tmp_path_factory.mktemp("bad")
    genome = (inputs / "genome.fa").read_bytes()
    files = {
        "empty.fa": b"",
        "empty.csv": b"",
        "header_only.csv": b"name,sequence\n",
        "no_column.csv": b"name,bases\na,ACGT\n",
        "hole.csv": b"name,sequence\na," + b"ACGT" * 20 + b"\nb,\n",
        "ragged.csv": b"name,sequence\na,ACGT\nb,ACGT,x\n",
        "protein.fa": b">insulin\nMALWMRLLPLLALLALWGPDPAAA\n",
        "only_n.fa": b">gap\n" + b"N" * 500 + b"\n",
        "half.fa.gz": gzip.compress(genome)[:1500],
        "short.fa": b">long\n" + b"ACGT" * 30 + b"\n>contig7\nACGTACGT\n",
        "twice.fa": b">a\n" + b"ACGT" * 30 + b"\n>b\nACGT\n>a\nACGT\n",
        "gaps.fa": b">a\nACGT--ACGT\n",
        "photo.jpg": bytes(range(256)),
        "half.toml": b"name = ",
        "nameless.toml": b"[model]\n",
        "no_model/config.json": b"{",
        "new_model/config.json": b'{"model_type": "of the future"}',
        "picture_model/config.json": b'{"model_type": "resnet"}',
        "bert/config.json": b'{"model_type": "bert", "vocab_size": 16}',
        "no_tokenizer/notes.txt": b"",
        "half_tokenizer/tokenizer.json": b"{",
        "not_a_simulation.json": b"[1, 2]",
        "no_sequences/notes.txt": b"",
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


SEQUENCES = {
    "absent.fa": "absent.fa: no such file or folder; check the path",
    "empty.fa": "empty.fa: the file is empty",
    "empty.csv": "empty.csv: the file is empty",
    "header_only.csv": "header_only.csv: the table has no rows",
    "no_column.csv": "no_column.csv: no column 'text' or 'sequence'; choose the column of the sequences from 'name'",
    "hole.csv": "hole.csv: row 2: column 'sequence' is empty; fill it in or remove the row",
    "ragged.csv": "ragged.csv: row 2: 3 values where the header has 2",
    "protein.fa": "protein.fa: line 2: letter 'L' is no IUPAC nucleotide code: this looks like protein",
    "half.fa.gz": "half.fa.gz: truncated: the gzip data stop before their end; download or copy it again",
    "twice.fa": "twice.fa: line 5: a second record is named a; the first is at line 1",
    "gaps.fa": "gaps.fa: line 2: letter '-' is no IUPAC nucleotide code: Primase reads unaligned sequences",
    "photo.jpg": "photo.jpg: neither has the suffix of a sequence file nor begins with >",
    "no_sequences": "no_sequences: no sequence file in this folder; Primase reads FASTA",
}
SEQUENCES_TO_CUT = SEQUENCES | {
    "only_n.fa": "only_n.fa: no A, C, G or T in it, only N; give an assembly that is not masked",
    "short.fa": "short.fa: record contig7 has 8 bases, fewer than a window of 60; leave such records out with --set",
}


@pytest.mark.parametrize("command", ["prepare", "pretrain", "plan"])
@pytest.mark.parametrize("name", SEQUENCES_TO_CUT)
def test_sequences_that_cannot_be_cut(command, name, primase, bad, inputs, workplace):
    # The second record of twice.fa is short, and is not what is tested with it.
    extra = ["--set", "data.short_records=keep"] if name == "twice.fa" else []
    output = [] if command == "plan" else ["-o", "out"]
    refusal = primase(command, bad / name, *output, "-r", inputs / "tiny.toml", *extra).refusal
    assert SEQUENCES_TO_CUT[name] in refusal
    assert list(workplace.iterdir()) == []


@pytest.mark.parametrize("name", SEQUENCES)
def test_sequences_that_cannot_be_embedded(name, primase, bad, finished_run, workplace):
    assert SEQUENCES[name] in primase("embed", finished_run, bad / name, "-o", "out.npy").refusal
    assert list(workplace.iterdir()) == []


@pytest.mark.parametrize("name", ["absent.fa", "protein.fa"])
def test_sequences_that_no_tokenizer_can_be_trained_on(name, primase, bad, workplace):
    assert SEQUENCES[name] in primase("tokenizer", "byte-pair", bad / name, "-o", "out").refusal
    assert list(workplace.iterdir()) == []


def test_one_bad_file_among_good_ones(primase, bad, inputs, workplace):
    refusal = primase(
        "prepare", inputs / "genome.fa", bad / "protein.fa", "-o", "out", "-r", inputs / "tiny.toml"
    ).refusal
    assert "protein.fa: line 2" in refusal
    assert list(workplace.iterdir()) == []


def test_a_corpus_is_not_prepared_again(primase, inputs, workplace):
    arguments = ["-r", inputs / "tiny.toml", "-o"]
    assert primase("prepare", inputs / "genome.fa", *arguments, "corpus").code == 0
    refusal = primase("prepare", "corpus", *arguments, "other").refusal
    assert "corpus: is prepared already; give it to primase pretrain" in refusal
    assert not Path("other").exists()


SETTINGS = {
    "training.step=3": "tiny.toml: unknown key training.step; did you mean training.steps?",
    "epochs=3": "unknown key epochs; did you mean training.epochs?",
    "trainin.steps=3": "unknown key trainin; did you mean training?",
    "training.steps": "--set training.steps: write section.key=value",
    "training.steps=0": "training.steps: must be greater than or equal to 1 (given: 0)",
    "training.steps=many": "training.steps: must be a whole number (given: 'many')",
    "training.epochs=inf": "training.epochs: must be a finite number",
    "training.evaluate_every=often": "training.evaluate_every: must be a whole number or 'epoch' or 'never' (given",
    "training.evaluate_every=0": "training.evaluate_every: must be greater than or equal to 1 or 'epoch' or 'never'",
    "training.report_to=['mlflow']": "training.report_to: must be 'tensorboard', 'wandb' or 'trackio' (given",
    "training=3": "training: must be a section: set its keys, as in training.key=value",
    "split.heldout_records=chr1": "split.heldout_records: must be a list, as in split.heldout_records=['...', '...']",
    "split.heldout_records=['chr1']": "split: heldout_records has no effect on a random split; set split",
    "split.heldout_fraction=0.96": "split: validation_fraction and heldout_fraction leave nothing to train on; lower",
    "model.preset=bert-base": "model.preset 'bert-base' does not exist; there are auto, mixtral-105m",
    "model.config=./absent": "./absent: no such folder; check the path",
    "model.settings.hiden_size=64": "model.settings.hiden_size: a qwen3 configuration has no such value; did you",
    "model.settings.hidden_size=-4": "a qwen3 model cannot be built from this configuration",
    "model.settings.hidden_act=no": "a qwen3 model cannot be built from this configuration (KeyError: 'no'); change",
    "model.settings.num_attention_heads=0": "a qwen3 model cannot be built from this configuration",
    "model.settings.num_key_value_heads=3": "model.settings.num_key_value_heads: 3 does not divide the 2",
    "model.settings.max_position_embeddings=1": "model.settings.max_position_embeddings: must be 4 or more",
    "model.settings.vocab_size=2": "the model has 2 token embeddings and the tokenizer 9 tokens; set model",
    "model.attention=flash_attention_2": "model cannot be built",
    "data.window_bases=7000": "genome.fa: record chr1 has 6,000 bases, fewer than a window of 7,000",
    "data.window_bases=3000": "genome.fa: the random split leaves no window for the heldout part: give more",
    "tokenizer.kind=pretrained": "tokenizer: kind 'pretrained' needs tokenizer.name: a folder or a Hub name",
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_settings(setting, primase, inputs, workplace):
    refusal = primase(
        "pretrain", inputs / "genome.fa", "-o", "out", "-r", inputs / "tiny.toml", "--set", setting
    ).refusal
    assert SETTINGS[setting] in refusal
    assert list(workplace.iterdir()) == []


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("model.settings.num_experts_per_tok=100", "model.settings.num_experts_per_tok: must be 1 to 8, the number of"),
        ("model.settings.intermediate_size=36", "sizes that are multiples of 8; change them in model.settings, or set"),
    ],
)
def test_settings_of_experts(setting, message, primase, inputs):
    arguments = ["-r", inputs / "tiny.toml", *MIXTURE, "--set", setting]
    assert message in primase("plan", inputs / "genome.fa", *arguments).refusal


def test_every_record_is_short(primase, inputs, workplace):
    skip = ["--set", "data.short_records=skip", "--set", "data.window_bases=7000"]
    refusal = primase("prepare", inputs / "genome.fa", "-o", "out", "-r", inputs / "tiny.toml", *skip).refusal
    assert "genome.fa: every record is shorter than a window of 7,000 bases, the longest has 6,000" in refusal


RECIPES = {
    "smal": "smal: no readable recipe file, and no shipped recipe (default, default-gpu, demo, fast, tutorial)",
    "{bad}/half.toml": "half.toml: not a TOML file",
    "{bad}/nameless.toml": "nameless.toml: name is missing; see a shipped recipe for the form",
    "{bad}": "no readable recipe file",
    "{bad}/photo.jpg": "photo.jpg: no readable recipe file",
}


@pytest.mark.parametrize("command", ["prepare", "pretrain", "plan"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_recipes(command, recipe, primase, bad, inputs, workplace):
    output = [] if command == "plan" else ["-o", "out"]
    refusal = primase(command, inputs / "genome.fa", *output, "-r", recipe.format(bad=bad)).refusal
    assert RECIPES[recipe] in refusal
    assert list(workplace.iterdir()) == []


CONFIGURATIONS = {
    "./absent": "./absent: no such folder; check the path",
    "no_tokenizer": "no_tokenizer: no transformers configuration can be read from it",
    "no_model": "no_model: no transformers configuration can be read from it",
    "new_model": "new_model: no transformers configuration can be read from it",
    "picture_model": "transformers has no causal language model of type resnet; choose another type",
    "bert": "a bert model sees the bases that it predicts; set model.settings.is_decoder=true",
}


@pytest.mark.parametrize("folder", CONFIGURATIONS)
def test_model_configurations(folder, primase, bad, inputs, workplace):
    text = (inputs / "tiny.toml").read_text()
    recipe = text[: text.index("[model]")] + f'[model]\nconfig = "{bad / folder if folder[0] != "." else folder}"\n'
    Path("own.toml").write_text(recipe)
    refusal = primase("pretrain", inputs / "genome.fa", "-o", "out", "-r", "own.toml").refusal
    assert CONFIGURATIONS[folder] in refusal
    assert [entry.name for entry in workplace.iterdir()] == ["own.toml"]


TOKENIZERS = {
    "./absent": "./absent: no such folder; check the path",
    "{bad}/no_tokenizer": "no_tokenizer: no tokenizer.json in this folder",
    "{bad}/half_tokenizer": "half_tokenizer: cannot load a fast tokenizer",
}


@pytest.mark.parametrize("folder", TOKENIZERS)
def test_tokenizer_folders(folder, primase, bad, inputs, workplace):
    name = ["--set", "tokenizer.kind=pretrained", "--set", f"tokenizer.name={folder.format(bad=bad)}"]
    refusal = primase("prepare", inputs / "genome.fa", "-o", "out", "-r", inputs / "tiny.toml", *name).refusal
    assert TOKENIZERS[folder] in refusal
    assert list(workplace.iterdir()) == []


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown_host(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown_host)


def test_hub_names_without_a_network(primase, inputs, finished_run, workplace, no_network):
    """At once, where transformers would have tried for minutes: the name may be a mistyped folder."""
    pretrained = ["--set", "tokenizer.kind=pretrained", "--set", "tokenizer.name=nobody/nothing"]
    begun = time.perf_counter()
    for outcome in (
        primase("embed", "nobody/nothing", inputs / "genome.fa", "-o", "out.npy"),
        primase("prepare", inputs / "genome.fa", "-o", "out", "-r", inputs / "tiny.toml", *pretrained),
    ):
        assert "nobody/nothing: no such folder, and no such name on the Hub could be reached" in outcome.refusal
        assert "; check the path or the name, and the network" in outcome.refusal
    assert time.perf_counter() - begun < 5
    assert list(workplace.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["embed", "{run}", "{genome}", "-o", "v.txt"],
            "v.txt: embeddings are written as .npy, .parquet, .h5ad or .zarr",
        ),
        (["embed", "{run}", "{genome}", "-o", "v.npy", "--layer", "top"], "--layer top: give a number, all or logits"),
        (
            ["embed", "{run}", "{genome}", "-o", "v.npy", "--layer", "7"],
            "layer 7: the model has layers 0 (the embedding) to 1",
        ),
        (["embed", "{run}", "{genome}", "-o", "v.npy", "--pooling", "sum"], "pooling 'sum': choose mean, max, last"),
        (["embed", "run/final/absent", "{genome}", "-o", "v.npy"], "run/final/absent: no such folder; check the path"),
        (["embed", "./absent", "{genome}", "-o", "v.npy"], "./absent: no such folder; check the path"),
        (["embed", "{bad}/bert", "{genome}", "-o", "v.npy"], "bert: no tokenizer.json in this folder"),
        (
            ["embed", "{bad}/no_tokenizer", "{genome}", "-o", "v.npy"],
            "no model here (config.json is missing); give a run",
        ),
        (["evaluate", "{bad}"], "no run here (recipe.toml is missing); give a folder that primase pretrain wrote"),
        (["evaluate", "{run}", "--simulation", "absent.json"], "absent.json: no such file"),
        (
            ["evaluate", "{run}", "--simulation", "{bad}/not_a_simulation.json"],
            "give the .json that was written beside the",
        ),
        (["evaluate", "{run}", "--simulation", "{genome}"], "genome.fa: not readable (Expecting value"),
        (["pretrain"], "give a genome to begin with, or --resume RUN to go on with a run, one of them"),
        (["pretrain", "{genome}", "--resume", "{run}"], "give a genome to begin with, or --resume RUN"),
        (["pretrain", "--resume", "{bad}"], "no run here (recipe.toml is missing)"),
        (
            ["pretrain", "--resume", "{run}", "-o", "out"],
            "goes on in its own folder; leave out --output and --overwrite",
        ),
        (
            ["pretrain", "--resume", "{run}", "--set", "training.steps=9"],
            "begun with another recipe (training.steps: 9, not 2)",
        ),
        (["pretrain", "--resume", "{run}", "-r", "default"], "begun with another recipe"),
        (["tokenizer", "word", "-o", "out"], "no tokenizer of kind word; choose base, kmer or byte-pair"),
        (["tokenizer", "byte-pair", "-o", "out"], "a byte-pair tokenizer is trained: give it a genome"),
        (["simulate", "-o", "out.fa", "--bases", "1000", "--records", "2000"], "give each record a base or more"),
        (["demo", "-o", "out", "--set", "training.steps=0"], "recipe demo: training.steps: must be greater than"),
    ],
    ids=lambda value: " ".join(value[:1] + value[-2:]) if isinstance(value, list) else "",
)
def test_arguments(arguments, message, primase, inputs, bad, finished_run, workplace, contents):
    before = contents(finished_run)
    places = {"run": finished_run, "bad": bad, "genome": inputs / "genome.fa"}
    assert message in primase(*(argument.format(**places) for argument in arguments)).refusal
    assert list(workplace.iterdir()) == []
    assert contents(finished_run) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["--no-such-option"],
        ["prepar"],
        ["prepare"],
        ["prepare", "genome.fa"],
        ["pretrain", "genome.fa", "--minutes", "soon"],
        ["evaluate"],
        ["evaluate", "run", "--max-bases", "0"],
        ["embed", "run", "genome.fa"],
        ["simulate", "-o", "g.fa", "--bases", "-5"],
        ["tokenizer", "kmer", "--k", "99"],
    ],
    ids=" ".join,
)
def test_usage(arguments, primase, workplace):
    outcome = primase(*arguments)
    assert outcome.code == 2 and outcome.out == ""
    assert outcome.err.startswith("Usage: primase") and "--help" in outcome.err and "\nError: " in outcome.err
    assert list(workplace.iterdir()) == []


def test_corpus_of_another_recipe(primase, inputs, workplace, contents):
    recipe = ["-r", inputs / "tiny.toml"]
    assert primase("prepare", inputs / "genome.fa", "-o", "corpus", *recipe).code == 0
    before = contents(workplace)
    refusal = primase("pretrain", "corpus", "-o", "run", *recipe, "--set", "data.window_bases=50").refusal
    assert "corpus: prepared with other seed, data, split, tokenizer settings than this recipe's" in refusal
    assert contents(workplace) == before


def test_nothing_was_held_out(primase, inputs, workplace):
    all_of_it = ["split.validation_fraction=0", "split.heldout_fraction=0", "training.evaluate_every=never"]
    settings = [part for setting in all_of_it for part in ("--set", setting)]
    assert primase("pretrain", inputs / "genome.fa", "-o", "run", "-r", inputs / "tiny.toml", *settings).code == 0
    assert "run: trained on the whole genome, so no base is left to measure on" in primase("evaluate", "run").refusal
    assert not Path("run/evaluation.json").exists()


def test_simulation_of_another_genome(primase, finished_run, workplace):
    assert primase("simulate", "-o", "other.fa", "--bases", "5000").code == 0
    refusal = primase("evaluate", finished_run, "--simulation", "other.fa.json").refusal
    assert "other.fa.json: describes a genome of 5,000 bases, and this run's has 6,000; give the .json" in refusal


def test_run_that_is_not_finished(primase, inputs, finished_run, workplace, contents):
    shutil.copytree(finished_run, "run")
    shutil.rmtree("run/final")
    before = contents(workplace)
    for arguments in (["evaluate", "run"], ["embed", "run", inputs / "genome.fa", "-o", "v.npy"]):
        refusal = primase(*arguments).refusal
        assert "run: the run has no final model yet; go on with primase pretrain --resume run" in refusal
    assert contents(workplace) == before


def test_model_without_weights(primase, inputs, finished_run, workplace):
    shutil.copytree(finished_run / "final", "model")
    Path("model/model.safetensors").unlink()
    refusal = primase("embed", "model", inputs / "genome.fa", "-o", "v.npy").refusal
    assert "model: the model cannot be loaded" in refusal and "it needs config.json and model.safetensors" in refusal
    assert not Path("v.npy").exists()


def test_checkpoint_of_another_recipe(primase, finished_run, workplace, contents):
    shutil.copytree(finished_run, "run")
    recipe = Path("run/recipe.toml")
    recipe.write_text(recipe.read_text().replace("weight_decay = 0.01", "weight_decay = 0.02"))
    before = contents(workplace)
    refusal = primase("pretrain", "--resume", "run").refusal
    assert "run/checkpoints/step-000002: the checkpoint belongs to another recipe" in refusal
    assert "restore the recipe or pretrain again" in refusal
    assert contents(workplace) == before


def test_a_bug_stays_a_traceback(primase, inputs, workplace, monkeypatch):
    """Only what a user can mend becomes a line; an unexpected error keeps its traceback, and cleans up all the same."""
    arguments = ["prepare", inputs / "genome.fa", "-o", "out", "-r", inputs / "tiny.toml"]
    for error in (
        KeyError("x"),
        RuntimeError("requested and written"),
        FileNotFoundError(2, "No such file", "bases.bin"),
    ):

        def broken(*_: object, error: Exception = error, **__: object) -> None:
            raise error

        monkeypatch.setattr("primase.corpus.prepare.cut_windows", broken)
        with pytest.raises(type(error)):
            primase(*arguments)
        assert list(workplace.iterdir()) == []


def test_a_real_process_says_one_line(bad, inputs, workplace):
    command = [sys.executable, "-m", "primase", "prepare", bad / "protein.fa", "-o", "out", "-r", inputs / "tiny.toml"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1 and result.stderr.startswith(f"primase: {bad}/protein.fa: line 2: ")
    assert list(workplace.iterdir()) == []
