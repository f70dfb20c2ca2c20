"""The command line as users and programs meet it: options, help, JSON, progress, Ctrl-C, and where output goes."""

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from primase.cli import app
from primase.version import __version__
from tests.conftest import assert_answers_at_once
from tests.promised_options import PROMISED

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def test_commands_and_options_are_the_promised_ones():
    options = {
        name: {
            option for parameter in command.params if parameter.param_type_name == "option" for option in parameter.opts
        }
        for name, command in all_commands()
    }
    assert options == PROMISED


def all_commands() -> Iterator[tuple[str, typer.core.TyperCommand]]:
    """Each command by its words: `search index` is a command of `search`."""
    for name, command in typer.main.get_command(app).commands.items():
        parts = getattr(command, "commands", None)
        yield from [(name, command)] if parts is None else [(f"{name} {part}", parts[part]) for part in parts]


def test_help_shows_every_option_and_fits_a_terminal(primase):
    for command, options in PROMISED.items():
        *group, name = command.split()
        listing = primase(*group, "--help")
        assert listing.code == 0
        assert re.search(rf"^  {name} +\w.*\w\.$", listing.out, re.MULTILINE), "its first sentence is cut off"
        shown = primase(*group, name, "--help")
        assert shown.code == 0 and shown.err == ""
        assert set(re.findall(r"(?<=\s)--?[a-z][a-z-]*", shown.out)) >= options
        assert max(map(len, shown.out.splitlines())) <= 80
        assert shown.out.isascii(), "a terminal need not be in UTF-8"


@pytest.mark.parametrize("command", PROMISED)
def test_help_answers_at_once_and_without_torch(command):
    program = (
        "import sys; from primase.cli import app; app(standalone_mode=False); "
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert_answers_at_once([sys.executable, "-c", program, *command.split(), "--help"], 0.4)


def test_version_and_no_arguments(primase):
    assert primase("--version").out == f"primase {__version__}\n"
    bare = primase()
    assert "Usage: primase" in bare.out + bare.err


def test_json_is_alone_on_stdout(primase, inputs, workplace):
    genome, recipe = inputs / "genome.fa", ["-r", inputs / "tiny.toml"]
    keys = {
        ("prepare", genome, "-o", "corpus", *recipe): {"records": 1, "unknown_tokens": 0},
        ("plan", genome, *recipe): {"train_windows": 85, "steps": 2},
        ("pretrain", genome, "-o", "run", *recipe): {"run": "run", "steps": 2, "interrupted": None},
        ("evaluate", "run"): {"model": "run", "windows": 10, "schema_version": 2},
        ("doctor",): {"device": "cuda" if _has_cuda() else "cpu"},
    }
    for arguments, expected in keys.items():
        outcome = primase(*arguments, "--json")
        assert outcome.code == 0, outcome.err
        result = json.loads(outcome.out)
        assert {key: result[key] for key in expected} == expected
        assert outcome.err or arguments[0] == "doctor", "progress goes to stderr"


@pytest.mark.parametrize(
    ("gap", "said"), [("N", "1 of 1,260 tokens is unknown"), ("NN", "2 of 1,260 tokens are unknown")]
)
def test_prepare_counts_unknown_tokens(gap, said, primase, inputs, workplace):
    backend = Tokenizer(models.WordLevel({"[UNK]": 0, "[PAD]": 1, "A": 2, "C": 3, "G": 4, "T": 5}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]", pad_token="[PAD]").save_pretrained("letters")
    Path("n.fa").write_text(f">chr1\n{'ACGGT' * 240}{gap}{'A' * (60 - len(gap))}\n")
    settings = ("tokenizer.kind=pretrained", "tokenizer.name=letters", "data.unknown_bases=keep")
    options = [word for setting in settings for word in ("--set", setting)]
    outcome = primase("prepare", "n.fa", "-o", "corpus", "-r", inputs / "tiny.toml", *options)
    assert outcome.code == 0, outcome.err
    assert f"  {said} to the tokenizer\n" in outcome.out


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def test_text_says_what_was_done_and_what_to_type_next(primase, inputs, workplace):
    recipe = ["-r", inputs / "tiny.toml"]
    prepared = primase("prepare", inputs / "genome.fa", "-o", "corpus", *recipe).out
    assert "corpus: 1 record, random split" in prepared and re.search(r"train +85 windows +5,100 bases", prepared)
    trained = primase("pretrain", "corpus", "-o", "run", *recipe).out
    assert re.match(r"The plan:\n  model +qwen3-tiny\n  parameters ", trained) and "warning: random split" in trained
    assert re.search(r"Trained 2 steps, best on validation \d\.\d{4} bits per base \(step 2\)", trained)
    assert trained.endswith(
        "The model is run/final\nself-tests: 7 of 7 passed\nWhat it is worth:  primase evaluate run\n"
    )
    measured = primase("evaluate", "run").out
    assert re.search(r"^this model +\d\.\d{4}   \d\.\d{4} to \d\.\d{4}$", measured, re.MULTILINE)
    assert re.search(r"^uniform +2\.0000 ", measured, re.MULTILINE) and "Verdict: " in measured
    embedded = primase("embed", "run", inputs / "genome.fa", "-o", "v.npy").out
    assert embedded == "v.npy: 1 sequence, 16 dimensions (mean of layer -1)\n"


def test_the_true_entropy_of_a_simulated_genome(primase, inputs, workplace):
    assert primase("simulate", "-o", "genome.fa", "--bases", "12000").code == 0
    assert primase("pretrain", "genome.fa", "-o", "run", "-r", inputs / "tiny.toml").code == 0
    measured = primase("evaluate", "run", "--simulation", "genome.fa.json")
    assert measured.code == 0, measured.err
    assert re.search(r"^the simulated source itself +1\.\d{4} ", measured.out, re.MULTILINE)


def test_output_goes_into_folders_that_are_not_there_yet(primase, inputs, finished_run, workplace):
    genome, recipe = inputs / "genome.fa", ["-r", inputs / "tiny.toml"]
    for arguments in (
        ["prepare", genome, *recipe, "-o", "a/b/corpus"],
        ["pretrain", genome, *recipe, "-o", "c/d/run"],
        ["embed", finished_run, genome, "-o", "e/f/v.npy"],
        ["simulate", "--bases", "1000", "-o", "g/h/genome.fa"],
        ["tokenizer", "base", "-o", "i/j/tokenizer"],
    ):
        outcome = primase(*arguments)
        assert outcome.code == 0, outcome.err
        assert Path(arguments[-1]).exists()
    assert not list(workplace.rglob(".*")), "nothing hidden is left"


@pytest.mark.parametrize(("genome", "run"), [("yeast.v2.fa", "yeast"), ("folder", "folder"), (".", "work")])
def test_a_run_is_named_after_its_genome(genome, run, primase, inputs, workplace):
    if genome == "folder":
        Path(genome).mkdir()
    file = Path(genome, "x.fa") if Path(genome).is_dir() else Path(genome)
    file.write_bytes((inputs / "genome.fa").read_bytes())
    assert primase("pretrain", genome, "-r", inputs / "tiny.toml").code == 0
    assert Path("runs", run, "recipe.toml").is_file()


def test_a_column_may_have_any_name(primase, inputs, workplace):
    """Not read as TOML: the option is quoted on its way into the recipe."""
    bases = (inputs / "genome.fa").read_text().splitlines()[1]
    for column in ("5", "true", "my bases"):
        Path("genes.csv").write_text(f"name,{column}\ngene,{bases}\n")
        arguments = ["genes.csv", "-o", "corpus", "-r", inputs / "tiny.toml", "--column", column, "--overwrite"]
        assert primase("prepare", *arguments).code == 0


def test_the_whole_demo(primase, workplace):
    tiny = [f"model.settings.{name}={value}" for name, value in {"hidden_size": 16, "num_hidden_layers": 1}.items()]
    settings = [*tiny, "training.steps=2", "evaluation.markov_max_order=3", "evaluation.untrained_bases=10"]
    outcome = primase("demo", "--bases", "200000", *(part for text in settings for part in ("--set", text)))
    assert outcome.code == 0, outcome.err
    for step in ("1. Simulating", "2. Preparing", "3. Measuring", "4. Embedded the tutorial's example sequence: 16"):
        assert f"\n{step}" in f"\n{outcome.out}"
    assert re.search(r"Reached \d\.\d{4} bits per base\. Counting .* and the best possible is 1\.\d{4}", outcome.out)
    assert outcome.out.endswith("    primase embed runs/mine SEQUENCES.fa -o vectors.npy\n")
    again = primase("demo", "--bases", "200000")
    assert "demo-genome.fa: already exists; pass --overwrite" in again.refusal


def training_command(inputs: Path) -> list[str]:
    steps = ["--set", "training.steps=12", "--set", "training.log_every=2"]
    return [
        sys.executable,
        "-m",
        "primase",
        "pretrain",
        f"{inputs}/genome.fa",
        "-o",
        "run",
        "-r",
        f"{inputs}/tiny.toml",
        *steps,
    ]


def test_without_a_terminal_progress_is_lines(inputs, workplace):
    """Also where a service says that its log can show colours."""
    environment = os.environ | {"FORCE_COLOR": "1", "TTY_COMPATIBLE": "1"}
    result = subprocess.run(training_command(inputs), capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    assert "\r" not in result.stderr and "\x1b" not in result.stderr + result.stdout
    lines = result.stderr.splitlines()
    assert lines[0].startswith("reading sequences: ") and lines[-1] == "self-tests: 100%"
    assert any(line.startswith("training: 100%  step 12/12") for line in lines)
    assert all(re.match(r"[a-z -]+: \d+%", line) for line in lines), lines
    assert len(lines) < 14, "a line now and then, not for each step"
    assert result.stdout.startswith("The plan:\n")


def test_on_a_terminal_progress_is_a_bar_with_the_time_left(inputs, workplace):
    """Also on a narrow one, where the note must give way and not the time."""
    ours, theirs = pty.openpty()
    columns = 60
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = os.environ | {"TERM": "xterm"}
    for name in ("COLUMNS", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        environment.pop(name, None)
    process = subprocess.Popen(training_command(inputs), stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    shown = bytearray()
    while block := _read(ours):
        shown += block
    os.close(ours)
    assert process.wait() == 0, shown
    text = ANSI.sub("", shown.decode())
    frames = re.findall(r"training [━╸╺ ]+ *\d+% (\d:\d\d:\d\d|-:--:--) left  step \d+/12", text)
    assert frames, text
    assert "100% 0:00:00 left  step 12/12" in text
    assert "\x1b[" in shown.decode() and "\r" in shown.decode()
    assert max(len(frame) for frame in re.findall(r"training ━[^\r\n]*", text)) <= columns
    assert "The plan:" in text and "The model is run/final" in text


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65_536)
    except OSError:  # so a terminal says that the other side has left
        return b""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_outside_of_training(number, code, primase, inputs, workplace, monkeypatch):
    def read(*_: object) -> None:
        signal.raise_signal(number)

    monkeypatch.setattr("primase.corpus.prepare.cut_windows", read)
    for command in ("prepare", "pretrain"):
        outcome = primase(command, inputs / "genome.fa", "-o", "out", "-r", inputs / "tiny.toml")
        assert outcome.code == code and "Traceback" not in outcome.err
        assert list(workplace.iterdir()) == []


def test_ctrl_c_in_a_real_process(inputs, workplace):
    """While a byte-pair vocabulary is learnt: the longest part of preparing."""
    bases = (inputs / "genome.fa").read_text().splitlines()[1]
    Path("genome.fa").write_text("".join(f">chr{n}\n{bases[n:]}{bases[:n]}\n" for n in range(300)))
    arguments = ["prepare", "genome.fa", "-o", "out", "-r", f"{inputs}/tiny.toml", "--set", "tokenizer.kind=byte-pair"]
    # A test that runs in the background hands on that SIGINT is ignored.
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from primase.cli import main; main()"
    )
    process = subprocess.Popen([sys.executable, "-c", program, *arguments], stderr=subprocess.PIPE, text=True)
    while not process.stderr.readline().startswith("training the tokenizer"):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in rest
    assert [entry.name for entry in workplace.iterdir()] == ["genome.fa"]


def test_a_reader_that_goes_away_is_no_error(workplace):
    """As in `primase doctor | head -1`."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "primase", "--help"]
    result = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (result.returncode, result.stderr) == (1, "")
