"""What the tests of the command line share: a way to call it in this process, tiny inputs, a finished run."""

import contextlib
import io
import re
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest

from primase.cli import main

TINY_RECIPE = """
name = "tiny"
data = { window_bases = 60 }
split = { strategy = "random" }
tokenizer = { kind = "base" }
training = { steps = 2, rows_per_batch = 4 }
evaluation = { markov_max_order = 3, bootstrap_samples = 20, untrained_bases = 60 }
[model]
preset = "qwen3-tiny"
settings = { hidden_size = 16, intermediate_size = 32, num_hidden_layers = 1, num_attention_heads = 2, \
num_key_value_heads = 2, head_dim = 8 }
"""


@dataclass(frozen=True)
class Outcome:
    """What a call of the command line leaves its caller with."""

    code: int
    out: str
    err: str

    @property
    def refusal(self) -> str:
        """The one line of a user's mistake; an assertion fails for anything else."""
        said = [line for line in self.err.splitlines() if not re.fullmatch(r"[A-Za-z ]+: \d+%.*", line)]
        assert self.code == 2, self
        assert len(said) == 1 and said[0].startswith("primase: "), self.err
        assert self.out == ""
        return said[0]


def call(*arguments: str | Path) -> Outcome:
    """`primase ARGUMENTS` in this process. What would be a traceback is raised."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    handler = signal.getsignal(signal.SIGTERM)
    with (
        patch.object(sys, "argv", ["primase", *map(str, arguments)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        finally:
            signal.signal(signal.SIGTERM, handler)
    return Outcome(code, out.getvalue(), err.getvalue())


@pytest.fixture
def primase() -> Callable[..., Outcome]:
    """`primase("prepare", "genome.fa", "-o", "corpus")` calls the command line in this process."""
    return call


@pytest.fixture(autouse=True)
def quick_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real measurement of the peak speed takes longer than a tiny training."""
    monkeypatch.setattr("primase.hardware.matrix_product_flops", lambda device, precision: 1e10)


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with genome.fa (6,000 random bases, record chr1), tiny.toml, and labelled.csv (80 rows, two labels)."""
    folder = tmp_path_factory.mktemp("inputs")
    bases = "".join(np.random.default_rng(0).choice(list("ACGT"), 6000))
    (folder / "genome.fa").write_text(f">chr1 random\n{bases}\n", "utf-8")
    rows = [f"s{i},{bases[50 * i :][:30]}{'GGGG' if i % 2 else 'ATAT'},{i % 2}" for i in range(80)]
    (folder / "labelled.csv").write_text("\n".join(["name,sequence,label", *rows]) + "\n", "utf-8")
    (folder / "tiny.toml").write_text(TINY_RECIPE, "utf-8")
    return folder


@pytest.fixture(scope="session")
def finished_run(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was trained for two steps and not evaluated. Not to be changed."""
    run = tmp_path_factory.mktemp("runs") / "finished"
    with patch("primase.hardware.matrix_product_flops", lambda device, precision: 1e10):
        outcome = call("pretrain", inputs / "genome.fa", "-o", run, "-r", inputs / "tiny.toml")
    assert outcome.code == 0, outcome.err
    return run


@pytest.fixture(scope="session")
def contents() -> Callable[[Path], dict[str, tuple[int, int]]]:
    """`contents(folder)` names every file below a folder, with its size and its time of change in nanoseconds."""

    def look(folder: Path) -> dict[str, tuple[int, int]]:
        files = (file for file in sorted(folder.rglob("*")) if file.is_file())
        return {str(file.relative_to(folder)): (file.stat().st_size, file.stat().st_mtime_ns) for file in files}

    return look
