"""primase compress and primase decompress as users meet them: what is printed, and one line for each mistake."""

import gzip
import json
import re
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from primase.codec.container import MAGIC, VERSION


@pytest.fixture
def genome(workplace: Path) -> Path:
    """A hundred bases, and two in a record of their own, in the working directory."""
    bases = "".join(np.random.default_rng(0).choice(list("ACGT"), 100))
    Path("genome.fa").write_bytes(f">chr1 a name\n{bases[:60]}\n{bases[60:].lower()}\r\n\n>chr2\nNNAC".encode())
    return Path("genome.fa")


@pytest.fixture
def packed(primase: Callable, genome: Path, finished_run: Path) -> Path:
    assert primase("compress", finished_run, genome, "-o", "genome.prm").code == 0
    return Path("genome.prm")


def test_there_and_back(primase, genome, finished_run, workplace):
    there = primase("compress", finished_run, genome, "-o", "sub/genome.prm")
    assert there.code == 0, there.err
    assert there.out.startswith("sub/genome.prm: 102 bases in 1 lane, 102 tokens")
    assert re.search(r"^bases in 2 bits each +26 bytes$", there.out, re.MULTILINE)
    assert re.search(r"^bases as coded +\d+ bytes   \d\.\d{4} bits per base$", there.out, re.MULTILINE)
    assert re.search(r"says \d\.\d{4} bits per base \([+-]\d\.\d\d%\): too short a text to prove", there.out)
    assert "WARNING" not in there.err and there.out.isascii()
    back = primase("decompress", finished_run, "sub/genome.prm", "-o", "back.fa")
    assert back.code == 0, back.err
    assert "back.fa: 127 bytes, 102 bases, the very bytes that were compressed" in back.out
    assert Path("back.fa").read_bytes() == genome.read_bytes()
    assert primase("decompress", finished_run, "sub/genome.prm", "-o", "back.fa.gz").code == 0
    assert gzip.decompress(Path("back.fa.gz").read_bytes()) == genome.read_bytes()
    assert not list(workplace.rglob("*.partial"))


def test_json_is_alone_on_stdout(primase, genome, finished_run):
    outcome = primase("compress", finished_run, genome, "-o", "genome.prm", "--lanes", "3", "--json")
    result = json.loads(outcome.out)
    expected = {"bases": 102, "lanes": 3, "agrees": True, "was_gzip": False, "text_bytes": 127}
    assert {key: result[key] for key in expected} == expected
    assert result["total_bytes"] == Path("genome.prm").stat().st_size


def test_disagreement_is_a_loud_warning(primase, genome, finished_run, monkeypatch):
    monkeypatch.setattr("primase.codec.compress._scored_bits", lambda *_: 1.0)
    outcome = primase("compress", finished_run, genome, "-o", "genome.prm")
    assert outcome.code == 0 and "WARNING: the file takes" in outcome.err
    assert "DO NOT TRUST THE PRINTED FIGURE" in outcome.out


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("absent.fa", "absent.fa: no such file; check the path"),
        ("table.csv", "table.csv: does not begin with > as FASTA does; give a FASTA file"),
        ("empty.fa", "empty.fa: does not begin with >"),
        ("unknown.fa", "unknown.fa: no A, C, G or T in it"),
        ("archive.fa", "archive.fa: a zip archive; convert it"),
        (".", ".: a folder; name the file in it"),
    ],
)
def test_sources_that_cannot_be_compressed(source, message, primase, finished_run, workplace, contents):
    Path("table.csv").write_text("sequence\nACGT\n")
    Path("empty.fa").write_text("")
    Path("unknown.fa").write_text(">a\nNNN\n")
    Path("archive.fa").write_bytes(b"PK\x03\x04")
    before = contents(workplace)
    assert message in primase("compress", finished_run, source, "-o", "out.prm").refusal
    assert contents(workplace) == before


def cut(content: bytes) -> bytes:
    return content[:-50]


def flip_in(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


DAMAGE = {
    "half": (lambda content: content[: len(content) // 2], "copy the file again|copy it again"),
    "a little cut off": (cut, r"bytes instead of [\d,]+; copy it again"),
    "a few bytes": (lambda content: content[:10], "truncated after 10 bytes; copy it again"),
    "nothing": (lambda content: b"", "not a file of primase compress|truncated"),
    "something more": (lambda content: content + b"x", "copy it again"),
    "payload": (lambda content: flip_in(content, len(content) - 40), r"damaged \(its checksum does not agree\)"),
    "checksum": (lambda content: flip_in(content, len(content) - 1), r"damaged \(its checksum does not agree\)"),
    "magic": (lambda content: flip_in(content, 0), "not a file of primase compress; give a .prm file"),
    "header": (lambda content: flip_in(content, 17), "the header is damaged or cut off; copy the file again"),
    "length of the header": (lambda content: flip_in(content, 12), "copy the file again|copy it again"),
    "newer": (
        lambda content: struct.pack("<8sI", MAGIC, VERSION + 1) + content[12:],
        f"format version {VERSION + 1}, and this Primase reads up to {VERSION}; update Primase",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_files(damage, primase, packed, finished_run, workplace, contents):
    change, message = DAMAGE[damage]
    packed.write_bytes(change(packed.read_bytes()))
    before = contents(workplace)
    refusal = primase("decompress", finished_run, packed, "-o", "back.fa").refusal
    assert refusal.startswith("primase: genome.prm: ") and re.search(message, refusal)
    assert contents(workplace) == before


def test_every_flipped_byte_is_noticed(packed, tmp_path):
    from primase.codec.container import read_container
    from primase.errors import InputError

    content, damaged = packed.read_bytes(), tmp_path / "damaged.prm"
    for place in range(0, len(content), 7):
        damaged.write_bytes(flip_in(content, place))
        with pytest.raises(InputError):
            read_container(damaged)


def test_what_is_there_is_kept(primase, packed, genome, finished_run, workplace, contents):
    before = contents(workplace)
    for arguments in (
        ["compress", finished_run, genome, "-o", packed],
        ["decompress", finished_run, packed, "-o", genome],
    ):
        refusal = primase(*arguments).refusal
        assert f"{arguments[-1]}: already exists; pass --overwrite to replace it, or choose another file" in refusal
    assert contents(workplace) == before
    assert primase("decompress", finished_run, packed, "-o", genome, "--overwrite").code == 0
    Path("folder").mkdir()
    assert "folder: is a folder" in primase("decompress", finished_run, packed, "-o", "folder", "--overwrite").refusal


def test_another_model(primase, packed, genome, inputs, finished_run, workplace):
    other = ["pretrain", inputs / "genome.fa", "-o", "other", "-r", inputs / "tiny.toml", "--set", "seed=1"]
    assert primase(*other).code == 0
    refusal = primase("decompress", "other", packed, "-o", "back.fa").refusal
    assert re.search(
        r"genome\.prm: compressed with another model \(model \w{12}, not \w{12}\); give the model", refusal
    )
    assert "no such folder; check the path" in primase("decompress", "./absent", packed, "-o", "back.fa").refusal
    assert "absent.prm: no such file" in primase("decompress", finished_run, "absent.prm", "-o", "back.fa").refusal
    assert not Path("back.fa").exists()


def test_another_machine(primase, packed, finished_run, monkeypatch):
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "SVE256")
    refusal = primase("decompress", finished_run, packed, "-o", "back.fa").refusal
    assert re.search(r"compressed with instruction set \w+, and here it is SVE256", refusal)
    assert primase("decompress", finished_run, packed, "-o", "back.fa", "--other-machine").code == 0


def test_ctrl_c_leaves_nothing(primase, genome, finished_run, workplace, monkeypatch, contents):
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    before = contents(workplace)
    monkeypatch.setattr("primase.codec.compress.code_lanes", interrupted)
    assert primase("compress", finished_run, genome, "-o", "genome.prm").code == 130
    assert contents(workplace) == before
