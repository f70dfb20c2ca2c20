"""Broken input by a seed: 2,000 cases through the command line, and any text through the readers of each format.

docs/reliability.md has the table of 100,000 cases. `python -m benchmarks.fuzz --only N` repeats case N of this test.
"""

import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.fuzz.__main__ import cases
from benchmarks.fuzz.damage import BYTE_DAMAGES, TEXT_DAMAGES, damaged
from benchmarks.fuzz.inputs import Inputs, make_inputs
from benchmarks.fuzz.kinds import KINDS
from benchmarks.fuzz.verdict import FAILED, REFUSED, SUCCESS, run
from primase.errors import InputError, RecipeError
from primase.formats import VariantFile, read_annotations, read_records
from primase.formats.bed_regions import read_bed_regions
from primase.recipe import Recipe

CASES = 2_000


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return make_inputs(tmp_path_factory.mktemp("good"))


@pytest.fixture(autouse=True)
def quick_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("primase.hardware.matrix_product_flops", lambda device, precision: 1e10)


def test_every_case_ends_well_or_in_one_line(good, tmp_path):
    failures, ended = [], {SUCCESS: set(), REFUSED: set(), FAILED: set()}
    for case in cases(good, tmp_path, range(CASES), seed=0, kinds=list(KINDS)):
        ended[case.outcome.kind].add(case.kind)
        if case.outcome.kind == FAILED:
            failures.append(f"case {case.number} ({case.kind}): {case.outcome.complaint}")
    assert not failures, "\n".join(failures)
    assert ended[REFUSED] == set(KINDS), "each kind breaks something"
    assert len(ended[SUCCESS]) > len(KINDS) / 2, "not everything is broken beyond reading"


@pytest.mark.parametrize(
    ("program", "complaint"),
    [
        (lambda: {}["x"], "traceback: KeyError: 'x'"),
        (lambda: Path("left").touch() or _refuse("bad"), "a refusal left left"),
        (lambda: _refuse("a\nb") or None, ""),
        (lambda: print("Traceback") or _refuse("bad"), "something on stdout"),
        (lambda: Path("out.tsv").write_text("a\tnan\n"), "not finite: out.tsv"),
        (lambda: Path("other.tsv").write_text("a\t1\n"), "a success wrote other.tsv"),
        (lambda: _wait(), "hang of 20 s"),
    ],
)
def test_what_is_broken_is_seen(program, complaint, tmp_path, monkeypatch):
    """A program that does what it must not; the time limit is not waited for."""
    monkeypatch.setattr("primase.cli.app", lambda prog_name: program())
    outcome = run(["x"], tmp_path, may_change=["out.tsv"], limit=0.2)
    assert outcome.complaint == complaint and (outcome.kind == FAILED) == bool(complaint), outcome


def _refuse(text: str) -> None:
    raise InputError(text)


def _wait() -> None:
    while True:
        sum(range(1000))


READERS = {
    ".fa": lambda file: list(read_records(file)),
    ".csv": lambda file: list(read_records(file)),
    ".tsv": lambda file: list(read_records(file)),
    ".parquet": lambda file: list(read_records(file)),
    ".vcf": lambda file: list(VariantFile(file).records()),
    ".gff3": read_annotations,
    ".bed": lambda file: list(read_bed_regions(file)),
    ".toml": Recipe.load,
}
ANYTHING = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.text(alphabet='ACGTN>\t\n\r,"#=[]0123456789.chrX ', max_size=300).map(str.encode),
)
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("suffix", READERS)
@QUICK
@given(data=ANYTHING)
def test_readers_take_anything(suffix, data, tmp_path):
    """A list, or an InputError that names the file."""
    _read(tmp_path / f"x{suffix}", data, suffix)


@pytest.mark.parametrize("suffix", [".fa", ".csv", ".tsv", ".vcf", ".gff3", ".bed", ".toml"])
@QUICK
@given(seed=st.integers(0, 2**32))
def test_readers_take_damaged_files(suffix, seed, good, tmp_path):
    names = {".fa": "g.fa", ".csv": "t.csv", ".tsv": "t.tsv", ".vcf": "v.vcf", ".gff3": "a.gff3", ".bed": "a.bed"}
    text = good.read(names.get(suffix, "base.toml"))
    _read(tmp_path / f"x{suffix}", damaged(random.Random(seed), text, TEXT_DAMAGES + BYTE_DAMAGES), suffix)


def _read(file: Path, data: bytes, suffix: str) -> None:
    file.write_bytes(data)
    try:
        READERS[suffix](file)
    except (InputError, RecipeError) as error:
        assert str(file) in str(error)
