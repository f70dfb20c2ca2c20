"""bigWig as another implementation (pyBigWig) reads it: values, gaps, many records, zooming out, memory."""

import errno
import resource
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pyBigWig
import pytest

from primase.formats.tracks import in_track_order, writing_track


def some_values(bases: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=bases).astype(np.float32)


def written(file: Path, values: dict[str, np.ndarray], piece_bases: int = 1 << 18) -> str:
    lengths = in_track_order({name: len(each) for name, each in values.items()})
    with writing_track(file, lengths) as writer:
        for name, length in lengths.items():
            for start in range(0, length, piece_bases):
                writer.write(name, start, values[name][start : start + piece_bases])
    return str(file)


@pytest.fixture(scope="module")
def values() -> dict[str, np.ndarray]:
    """A record with more than one node of the index, one with gaps, one base, nothing at all, and 300 small ones."""
    gaps = some_values(30_000, 1)
    gaps[np.random.default_rng(2).random(30_000) < 0.01] = np.nan
    gaps[10_000:20_000] = np.nan
    long = some_values(1_100_000, 3)
    small = {f"scaffold{number}": some_values(40, 100 + number) for number in range(300)}
    return {"long": long, "gaps": gaps, "base": some_values(1, 4), "empty": np.full(50, np.nan, np.float32)} | small


@pytest.fixture(scope="module")
def file(values, tmp_path_factory) -> str:
    return written(tmp_path_factory.mktemp("bigwig") / "out.bw", values)


def test_every_value_is_read_again(values, file):
    with pyBigWig.open(file) as track:
        assert track.chroms() == {name: len(each) for name, each in values.items()}
        for name, expected in values.items():
            np.testing.assert_array_equal(np.array(track.values(name, 0, len(expected)), np.float32), expected)
        header = track.header()
    everything = np.concatenate([each[np.isfinite(each)] for each in values.values()]).astype(np.float64)
    assert header["nBasesCovered"] == len(everything) and header["nLevels"] == 8
    assert header["sumData"] == pytest.approx(everything.sum(), abs=1)  # pyBigWig gives whole numbers


def test_a_stretch_is_found_by_the_index(values, file):
    with pyBigWig.open(file) as track:
        for start, end in ((0, 1), (4095, 4097), (700_001, 700_100), (1_099_999, 1_100_000)):
            np.testing.assert_array_equal(
                np.array(track.values("long", start, end), np.float32), values["long"][start:end]
            )
        assert track.intervals("empty") is None and track.intervals("gaps", 12_000, 13_000) is None


@pytest.mark.parametrize("bins", [4, 64, 512])
@pytest.mark.parametrize("name", ["long", "gaps"])
def test_zooming_out(name, bins, values, tmp_path):
    """Where the bins are whole summaries, summaries give what the values give."""
    chosen = values[name][: 2**18 if name == "long" else 2**14].astype(np.float64)
    in_bins = chosen.reshape(bins, -1)
    with pyBigWig.open(written(tmp_path / "whole.bw", {"a": chosen.astype(np.float32)})) as track:
        assert track.header()["nLevels"] == (7 if name == "long" else 5)
        for kind, expected in {
            "mean": np.nanmean,
            "min": np.nanmin,
            "max": np.nanmax,
            "std": lambda part, axis: np.nanstd(part, axis=axis, ddof=1),
            "coverage": lambda part, axis: np.isfinite(part).mean(axis=axis),
        }.items():
            found = np.array(track.stats("a", 0, len(chosen), type=kind, nBins=bins), np.float64)
            with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
                by_hand = expected(in_bins, axis=1)
            if kind == "coverage":
                found = np.nan_to_num(found)
            np.testing.assert_allclose(found, by_hand, atol=1e-4, err_msg=kind)


def test_the_size_of_the_pieces_does_not_matter(values, tmp_path):
    few = {name: values[name] for name in ("gaps", "base", "scaffold7")}
    whole = Path(written(tmp_path / "a.bw", few)).read_bytes()
    pieces = written(tmp_path / "b.bw", few, piece_bases=37)
    with pyBigWig.open(pieces) as track:
        np.testing.assert_array_equal(np.array(track.values("gaps", 0, 30_000), np.float32), few["gaps"])
    assert abs(len(Path(pieces).read_bytes()) - len(whole)) < 100


def test_memory_does_not_grow_with_the_genome(tmp_path):
    """Ten times the bases take no more than the entries of the index in addition: 32 bytes for 4,096 bases."""
    piece = some_values(1 << 16, 5)
    peaks = []
    for pieces in (4, 40):
        tracemalloc.start()
        with writing_track(tmp_path / f"{pieces}.bw", {"a": pieces * len(piece)}) as writer:
            for number in range(pieces):
                writer.write("a", number * len(piece), piece)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 200_000 and peaks[0] < 50e6, peaks
    assert (tmp_path / "40.bw").stat().st_size > 2.5 * 40 * len(piece), "what was written does not fit in that memory"


def test_what_was_not_finished_is_no_bigwig(tmp_path):
    with pytest.raises(KeyError), writing_track(tmp_path / "x.bw", {"a": 5}) as writer:
        writer.write("b", 0, some_values(5, 6))
    with pytest.raises(RuntimeError):
        pyBigWig.open(str(tmp_path / "x.bw"))
    assert [file.name for file in tmp_path.iterdir()] == ["x.bw"], "the waiting summaries are gone"


@pytest.mark.parametrize("share", [0.001, 0.5, 0.9, 0.999])
def test_a_disk_that_refuses_is_an_error_wherever_in_the_file(share, values, tmp_path):
    """Among the values, and among what comes after them; a limit on the size of files stands for the disk."""
    few = {"long": values["long"][:50_000]}
    whole = Path(written(tmp_path / "whole.bw", few)).stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(share * whole), before[1]))
    try:
        with pytest.raises(OSError) as raised:
            written(tmp_path / "x.bw", few)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert raised.value.errno == errno.EFBIG
    assert {file.name for file in tmp_path.iterdir()} == {"whole.bw", "x.bw"}
