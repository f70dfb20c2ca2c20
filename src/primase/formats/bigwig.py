"""Writing values of single bases as bigWig, in memory that does not grow with the genome.

Format: Kent et al. 2010, "BigWig and BigBed: enabling browsing of large distributed datasets". In the file: header,
tree of the records, compressed blocks of values, their index; then, for each zoom level, summaries and their index.
"""

import shutil
import struct
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import numpy as np

VALUES_PER_BLOCK = 4096
SUMMARIES_PER_BLOCK = 1024
BRANCHES = 256
"""Items of a node in the trees."""
FIRST_ZOOM_BASES, ZOOM_STEP, ZOOM_LEVELS = 32, 4, 10

_FILE, _RECORDS, _INDEX = 0x888FFC26, 0x78CA8C91, 0x2468ACE0
"""The numbers by which readers know the file, the tree of the records and an index."""
_FIXED_STEP, _VARIABLE_STEP = 3, 2
_BLOCK_HEADER_BYTES, _FILE_HEADER_BYTES, _ZOOM_HEADER_BYTES, _TOTALS_BYTES = 24, 64, 24, 40
_LARGEST_BLOCK_BYTES = _BLOCK_HEADER_BYTES + 8 * VALUES_PER_BLOCK

_RANGE = [("first_record", "<u4"), ("start", "<u4"), ("end_record", "<u4"), ("end", "<u4")]
_INDEX_LEAF = np.dtype([*_RANGE, ("offset", "<u8"), ("bytes", "<u8")])
_INDEX_NODE = np.dtype([*_RANGE, ("offset", "<u8")])


def _summary_type(whole: str, real: str) -> np.dtype:
    fields = [(name, whole) for name in ("record", "start", "end", "bases")]
    return np.dtype(fields + [(name, real) for name in ("low", "high", "sum", "squares")])


_SUMMARY, _SUMMARY_IN_FILE = _summary_type("<i8", "<f8"), _summary_type("<u4", "<f4")


class BigWig:
    """A bigWig that is being written: `write` in the order of the records, `finish` at the end, `close` in any case."""

    def __init__(self, file: Path, lengths: Mapping[str, int]) -> None:
        """`lengths`: bases of each record, in the order of the bytes of their names, as browsers look them up."""
        self._files = ExitStack()
        self._out = self._files.enter_context(file.open("wb"))
        self._ids = {name: number for number, name in enumerate(lengths)}
        self._lengths = list(lengths.values())
        self._record: int | None = None
        self._positions, self._values = np.empty(0, np.int64), np.empty(0, "<f4")
        self._totals = np.zeros(0, _SUMMARY)
        self._zooms: list[_Zoom] = []
        for bases in reversed(_zoom_bases(max(self._lengths, default=0))):
            # On the disk of the output, and without a name: a process that is killed leaves nothing.
            waiting = self._files.enter_context(tempfile.TemporaryFile(dir=file.parent))  # noqa: SIM115
            self._zooms.insert(0, _Zoom(bases, self._lengths, waiting, coarser=self._zooms[:1]))
        self._records_offset = _FILE_HEADER_BYTES + _ZOOM_HEADER_BYTES * len(self._zooms)
        self._out.write(bytes(self._records_offset))  # filled in at the end
        self._out.write(_record_tree(lengths, self._records_offset))
        self._totals_offset = self._out.tell()
        self._out.write(bytes(_TOTALS_BYTES + 8))  # the number of blocks comes after the totals
        self._blocks = _Blocks(self._out)

    def write(self, record: str, start: int, values: np.ndarray) -> None:
        """float32 [bases] from `start` (0-based) on, records in their order and each from left to right."""
        if self._ids[record] != self._record:
            self._end_record()
            self._record = self._ids[record]
        there = np.flatnonzero(np.isfinite(values))
        if not len(there):
            return
        positions, values = start + there, values[there].astype("<f4")
        summaries = np.zeros(len(there), _SUMMARY)
        summaries["record"], summaries["start"], summaries["end"] = self._record, positions, positions + 1
        summaries["bases"] = 1
        for name in ("low", "high", "sum"):
            summaries[name] = values
        summaries["squares"] = summaries["sum"] ** 2
        self._totals = _merged(np.concatenate([self._totals, summaries]), np.zeros(1, np.int64))
        for zoom in self._zooms[:1]:
            zoom.take(summaries)
        self._positions = np.concatenate([self._positions, positions])
        self._values = np.concatenate([self._values, values])
        whole = len(self._values) // VALUES_PER_BLOCK * VALUES_PER_BLOCK
        for begin in range(0, whole, VALUES_PER_BLOCK):
            self._write_block(slice(begin, begin + VALUES_PER_BLOCK))
        self._positions, self._values = self._positions[whole:], self._values[whole:]

    def finish(self) -> None:
        """Write what comes after the values: without it the file is none."""
        self._end_record()
        index_offset = self._blocks.write_index(1)
        zoom_headers = b"".join(zoom.write_to(self._out) for zoom in self._zooms)
        self._out.write(struct.pack("<I", _FILE))
        self._out.seek(self._totals_offset)
        bases, *sums = [self._totals[name].sum() for name in ("bases", "low", "high", "sum", "squares")]
        self._out.write(struct.pack("<QddddQ", bases, *sums, self._blocks.count))
        data_offset = self._totals_offset + _TOTALS_BYTES
        self._out.seek(0)
        offsets = (self._records_offset, data_offset, index_offset)
        # What is 0 is of bigBed, or reserved.
        self._out.write(struct.pack("<IHHQQQHH", _FILE, 4, len(self._zooms), *offsets, 0, 0))
        self._out.write(struct.pack("<QQIQ", 0, self._totals_offset, _LARGEST_BLOCK_BYTES, 0))
        self._out.write(zoom_headers)

    def close(self) -> None:
        self._files.close()

    def _end_record(self) -> None:
        if len(self._values):
            self._write_block(slice(None))
            self._positions, self._values = self._positions[:0], self._values[:0]
        for zoom in self._zooms:
            zoom.end_record()

    def _write_block(self, chosen: slice) -> None:
        positions, values = self._positions[chosen], self._values[chosen]
        start, end = int(positions[0]), int(positions[-1]) + 1
        if end - start == len(values):
            kind, content = _FIXED_STEP, values.tobytes()
        else:
            kind = _VARIABLE_STEP
            pairs = np.zeros(len(values), [("position", "<u4"), ("value", "<f4")])
            pairs["position"], pairs["value"] = positions, values
            content = pairs.tobytes()
        step = 1 if kind == _FIXED_STEP else 0
        header = struct.pack("<IIIIIBBH", self._record, start, end, step, 1, kind, 0, len(values))
        self._blocks.add(self._record, start, end, header + content)


class _Zoom:
    """One zoom level: summaries of `bases` bases each, in a file `out` where they wait until the values are written."""

    def __init__(self, bases: int, lengths: Sequence[int], out: BinaryIO, coarser: "list[_Zoom]") -> None:
        self._bases, self._lengths, self._out, self._coarser = bases, lengths, out, coarser
        self._blocks = _Blocks(self._out)
        self._count = 0
        self._open = np.empty(0, _SUMMARY)
        """The summary that may not be complete, in its parts."""
        self._unwritten = np.empty(0, _SUMMARY)

    def take(self, finer: np.ndarray) -> None:
        """Summaries of fewer bases, of one record, from left to right."""
        parts = np.concatenate([self._open, finer])
        numbers = parts["start"] // self._bases
        complete = int(np.searchsorted(numbers, numbers[-1]))
        self._open = parts[complete:]
        if complete:
            self._add(parts[:complete], numbers[:complete])

    def end_record(self) -> None:
        if len(self._open):
            self._add(self._open, self._open["start"] // self._bases)
            self._open = self._open[:0]
        if len(self._unwritten):
            self._write_block(self._unwritten)
            self._unwritten = self._unwritten[:0]

    def write_to(self, out: BinaryIO) -> bytes:
        """Append all to the bigWig; returns the level's header."""
        data_offset = out.tell()
        out.write(struct.pack("<I", self._count))
        self._out.seek(0)
        shutil.copyfileobj(self._out, out)
        index_offset = self._blocks.write_index(SUMMARIES_PER_BLOCK, out, data_offset + 4)
        return struct.pack("<IIQQ", self._bases, 0, data_offset, index_offset)

    def _add(self, parts: np.ndarray, numbers: np.ndarray) -> None:
        firsts = np.flatnonzero(np.diff(numbers, prepend=-1))
        summaries = _merged(parts, firsts)
        summaries["start"] = numbers[firsts] * self._bases
        length = self._lengths[int(summaries["record"][0])]
        summaries["end"] = np.minimum((numbers[firsts] + 1) * self._bases, length)
        for zoom in self._coarser:
            zoom.take(summaries)
        self._count += len(summaries)
        self._unwritten = np.concatenate([self._unwritten, summaries])
        whole = len(self._unwritten) // SUMMARIES_PER_BLOCK * SUMMARIES_PER_BLOCK
        for begin in range(0, whole, SUMMARIES_PER_BLOCK):
            self._write_block(self._unwritten[begin : begin + SUMMARIES_PER_BLOCK])
        self._unwritten = self._unwritten[whole:]

    def _write_block(self, summaries: np.ndarray) -> None:
        content = summaries.astype(_SUMMARY_IN_FILE).tobytes()
        first, last = summaries[0], summaries[-1]
        self._blocks.add(int(first["record"]), int(first["start"]), int(last["end"]), content)


class _Blocks:
    """Compressed blocks in a row, and what an index says of each."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._entries = bytearray()

    @property
    def count(self) -> int:
        return len(self._entries) // _INDEX_LEAF.itemsize

    def add(self, record: int, start: int, end: int, content: bytes) -> None:
        packed = zlib.compress(content)
        entry = (record, start, record, end, self._out.tell(), len(packed))
        self._entries += np.array(entry, _INDEX_LEAF).tobytes()
        self._out.write(packed)

    def write_index(self, items_per_block: int, out: BinaryIO | None = None, shift: int = 0) -> int:
        """The index, at the end of `out` (the blocks' own file), where the blocks lie `shift` bytes on."""
        out = out or self._out
        leaves = np.frombuffer(bytes(self._entries), _INDEX_LEAF).copy()
        leaves["offset"] += shift
        begin = out.tell()
        bounds = (
            [int(part) for part in (*leaves[0].tolist()[:2], *leaves[-1].tolist()[2:4])] if len(leaves) else [0] * 4
        )
        out.write(struct.pack("<IIQIIIIQII", _INDEX, BRANCHES, len(leaves), *bounds, begin, items_per_block, 0))
        out.write(_tree(leaves, _INDEX_NODE, out.tell()))
        return begin


def _zoom_bases(longest: int) -> list[int]:
    """Bases of a summary at each zoom level, for a longest record of so many."""
    levels = [FIRST_ZOOM_BASES * ZOOM_STEP**level for level in range(ZOOM_LEVELS)]
    return [bases for bases in levels if bases < longest]


def _merged(summaries: np.ndarray, firsts: np.ndarray) -> np.ndarray:
    """One summary of each run that begins at one of `firsts`."""
    merged = summaries[firsts]
    for name, over in (
        ("bases", np.add),
        ("low", np.minimum),
        ("high", np.maximum),
        ("sum", np.add),
        ("squares", np.add),
    ):
        merged[name] = over.reduceat(summaries[name], firsts)
    return merged


def _record_tree(lengths: Mapping[str, int], begin: int) -> bytes:
    names = [name.encode() for name in lengths]
    key_bytes = max(map(len, names), default=1)
    leaf = np.dtype([("key", f"S{key_bytes}"), ("number", "<u4"), ("bases", "<u4")])
    leaves = np.array(list(zip(names, range(len(names)), lengths.values(), strict=True)), leaf)
    header = struct.pack("<IIIIQQ", _RECORDS, BRANCHES, key_bytes, 8, len(names), 0)
    return header + _tree(leaves, np.dtype([("key", f"S{key_bytes}"), ("offset", "<u8")]), begin + len(header))


def _tree(leaves: np.ndarray, inner: np.dtype, begin: int) -> bytes:
    """A tree over `leaves` as it lies in a file from `begin` on: the root, then level after level, nodes without gaps.

    An item of an inner node has the fields of the first item below it, those named end... of the last, and its offset.
    """
    levels = [leaves]
    while len(levels[0]) > BRANCHES:
        below = levels[0]
        firsts = np.arange(0, len(below), BRANCHES)
        lasts = np.minimum(firsts + BRANCHES, len(below)) - 1
        above = np.zeros(len(firsts), inner)
        for name in inner.names:
            if name != "offset":
                above[name] = below[lasts if name.startswith("end") else firsts][name]
        levels.insert(0, above)
    parts = []
    for level, items in enumerate(levels):
        nodes = range(0, max(1, len(items)), BRANCHES)
        is_leaf = level == len(levels) - 1
        begin += 4 * len(nodes) + items.nbytes
        if not is_leaf:
            size_below = 4 + BRANCHES * levels[level + 1].itemsize
            items["offset"] = begin + size_below * np.arange(len(items))
        for node in nodes:
            held = items[node : node + BRANCHES]
            parts.append(struct.pack("<BBH", is_leaf, 0, len(held)) + held.tobytes())
    return b"".join(parts)
