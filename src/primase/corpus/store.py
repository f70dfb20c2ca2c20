"""The corpus folder as its readers see it: bases, windows and their parts, and tokens where tokenizing is slow.

corpus.json       sources with checksums, split, counts, tokenizer checksum, schema version; written last
bases.bin         all records one after another, one byte a base: ACGTN, lower case where soft-masked
records.parquet   name, source, start and length of each record
windows.npy       start (int64), length (int32), part (uint8) of each window, in genome order
tokens.bin        token ids of each window, and token_starts.npy where each begins (byte-pair tokenizers only:
                  the tokens of base and k-mer tokenizers are arithmetic on the bases, faster than reading them)
tokenizer/        the tokenizer, as transformers saves it
leakage.json      how much of the held-out part can be read in the training part, and leakage.npy for each window
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from primase import checksums
from primase.corpus.cut import CHUNK_WINDOWS, WINDOW_DTYPE, chunks
from primase.corpus.description import checked_description
from primase.corpus.split import PARTS, UNUSED, ReadBases
from primase.errors import InputError, MissingFileError
from primase.own_files import one_line, read_array, read_json
from primase.results import Leakage

SCHEMA_VERSION = 1
REMEDY = "run primase prepare again, or pretrain again"

RUN_BASES = 50_000
"""Of neighbouring windows that are drawn together."""

LEAKAGE_DTYPE = np.dtype([("window", "<i8"), ("kmer_share", "<f4"), ("is_exact", "?")])
"""A window that was looked at for leakage: its index, the share of its k-mers that the training part has on either
strand (0 to 1), and whether it stands there letter for letter."""


@dataclass(frozen=True)
class Corpus:
    """An open corpus folder. Bases and tokens are read from disk as they are asked for."""

    folder: Path
    description: dict

    @classmethod
    def open(cls, folder: str | Path) -> "Corpus":
        """Raises MissingFileError where there is no complete corpus, InputError where it is newer than this program."""
        folder = Path(folder)
        try:
            description = read_json(folder / "corpus.json", schema=SCHEMA_VERSION, remedy=REMEDY)
        except MissingFileError:
            raise MissingFileError(f"{folder}: no corpus here (corpus.json is missing); run primase prepare") from None
        description = checked_description(folder / "corpus.json", description)
        if not checksums.is_sound(description) or checksums.name_outside(description) is not None:
            raise InputError(f"{folder / 'corpus.json'}: damaged: the list of its files; {REMEDY}")
        problem = checksums.wrong_size(folder, description)
        if problem:
            raise InputError(f"{problem}; {REMEDY}")
        bases = sum(description["base_counts"][letter] for letter in "ACGTN")
        for name, size in (("bases.bin", bases), ("windows.npy", None), ("records.parquet", None)):
            file = folder / name
            if not file.is_file() or (size is not None and file.stat().st_size != size):
                raise InputError(f"{file}: missing or cut off; run primase prepare again, or pretrain again")
        return cls(folder, description)

    def damage(self) -> str | None:
        """The first file that is not what it was when the corpus was prepared, in words; every file is read for it.

        None where all is well, or where an older Primase prepared the corpus and noted no checksums.
        """
        return checksums.damage(self.folder, self.description)

    @cached_property
    def windows(self) -> np.ndarray:
        """Structured array [windows] of `cut.WINDOW_DTYPE`, in genome order. Raises InputError where it is damaged."""
        windows = read_array(self.folder / "windows.npy", dtype=WINDOW_DTYPE, remedy=REMEDY)
        bases, part_codes = (self.folder / "bases.bin").stat().st_size, [*PARTS.values(), UNUSED]
        for chunk in chunks(windows):
            starts, lengths = chunk["start"], chunk["length"]
            is_inside = (starts >= 0) & (lengths > 0) & (starts <= bases - lengths) & (chunk["record"] >= 0)
            if not (is_inside & np.isin(chunk["part"], part_codes)).all():
                raise InputError(f"{self.folder / 'windows.npy'}: damaged: windows outside of the bases; {REMEDY}")
        return windows

    def iterate_windows(self) -> Iterator[np.ndarray]:
        """The table of windows from the file, CHUNK_WINDOWS at a time, for who cannot hold it in memory."""
        with open(self.folder / "windows.npy", "rb") as stream:
            np.lib.format.read_magic(stream)
            _, _, dtype = np.lib.format.read_array_header_1_0(stream)
            while len(chunk := np.frombuffer(stream.read(CHUNK_WINDOWS * dtype.itemsize), dtype)):
                yield chunk

    def part(self, name: str) -> np.ndarray:
        """Indices into `windows` of one part: train, validation or heldout."""
        return np.flatnonzero(self.windows["part"] == PARTS[name])

    def part_bases(self, name: str) -> int:
        """A, C, G and T (and N, where kept) in the windows of a part."""
        return self.description["bases"][name]

    @cached_property
    def _bases(self) -> np.ndarray:
        return np.memmap(self.folder / "bases.bin", np.uint8, mode="r")

    def bases(self, window: int, start: int = 0, stop: int | None = None) -> np.ndarray:
        """ASCII bases [bases] of a window, case kept, or of the stretch start:stop within it."""
        row = self.windows[window]
        first = int(row["start"])
        stop = int(row["length"]) if stop is None else stop
        return np.asarray(self._bases[first + start : first + stop])

    def iterate(self, indices: np.ndarray) -> Iterator[np.ndarray]:
        """The bases of the windows, one after another.

        Reads the file instead of mapping it: pages of a map stay counted as memory of the process.
        """
        with open(self.folder / "bases.bin", "rb") as stream:
            for some in chunks(indices):  # numbers of Python for all of a genome's windows would outgrow the table
                for start, length in self.windows[some][["start", "length"]].tolist():
                    stream.seek(start)
                    yield np.frombuffer(stream.read(length), np.uint8)

    def stretches(self, indices: np.ndarray) -> np.ndarray:
        """int64 [stretches, 2]: half-open ranges of `indices` whose windows touch one another in one record.

        `indices` are in genome order. What is next to each other in the genome is read as one sequence.
        """
        rows = self.windows[indices]
        touches = (rows["start"][1:] == rows["start"][:-1] + rows["length"][:-1]) & (
            rows["record"][1:] == rows["record"][:-1]
        )
        edges = np.r_[0, np.flatnonzero(~touches) + 1, len(indices)] if len(indices) else np.zeros(1, np.int64)
        return np.stack([edges[:-1], edges[1:]], axis=1)

    def iterate_stretches(self, indices: np.ndarray) -> Iterator[np.ndarray]:
        """The bases of each stretch of windows, one after another: uint8 [bases], case kept."""
        with open(self.folder / "bases.bin", "rb") as stream:
            for first, after in self.stretches(indices).tolist():
                start = int(self.windows["start"][indices[first]])
                last = self.windows[indices[after - 1]]
                stream.seek(start)
                yield np.frombuffer(stream.read(int(last["start"]) + int(last["length"]) - start), np.uint8)

    @cached_property
    def _tokens(self) -> np.ndarray:
        return np.memmap(self.folder / "tokens.bin", np.dtype(self._token_dtype), mode="r")

    @property
    def _token_dtype(self) -> str:
        if (name := self.description.get("token_dtype")) is None:
            raise InputError(f"{self.folder / 'corpus.json'}: no tokens in it, and its tokenizer needs them; {REMEDY}")
        return name

    @cached_property
    def token_starts(self) -> np.ndarray:
        """int64 [windows + 1]: where each window's tokens begin in tokens.bin; InputError where that cannot be."""
        file, tokens = self.folder / "token_starts.npy", self.folder / "tokens.bin"
        starts = read_array(file, dtype=np.int64, remedy=REMEDY)
        fits = len(starts) == len(self.windows) + 1 and starts[0] == 0 and (np.diff(starts) >= 0).all()
        size = np.dtype(self._token_dtype).itemsize * int(starts[-1]) if fits else -1
        if not tokens.is_file() or tokens.stat().st_size != size:
            raise InputError(f"{file}: damaged, or tokens.bin is cut off; {REMEDY}")
        return starts

    def tokens(self, window: int) -> np.ndarray:
        """Token ids [tokens] of a window, without special tokens. Only where `prepare` wrote them: byte pairs."""
        first, last = self.token_starts[window : window + 2]
        return np.asarray(self._tokens[first:last])

    def record_names(self) -> list[str]:
        return self._records("name")["name"].to_pylist()

    def _records(self, *columns: str) -> pa.Table:
        """Raises InputError where records.parquet is damaged."""
        file = self.folder / "records.parquet"
        try:
            return pq.read_table(file, columns=list(columns))
        except (pa.ArrowException, OSError, ValueError) as error:
            raise InputError(f"{file}: not readable ({one_line(error)}); {REMEDY}") from None

    def places(self, windows: np.ndarray) -> list[tuple[str, int]]:
        """Of each window, the name of the record that it was cut from, and its 0-based start in it."""
        records, rows = self._records("name", "start"), self.windows[windows]
        if len(rows) and int(rows["record"].max()) >= len(records):
            raise InputError(f"{self.folder / 'records.parquet'}: damaged: fewer records than windows name; {REMEDY}")
        names = records["name"].take(pa.array(rows["record"])).to_pylist()
        starts = rows["start"] - records["start"].to_numpy()[rows["record"]]
        return list(zip(names, starts.tolist(), strict=True))

    def place(self, window: int) -> tuple[str, int]:
        """As `places`, of one window."""
        return self.places(np.array([window]))[0]

    def leakage(self) -> tuple[Leakage, np.ndarray] | None:
        """The leakage certificate, and a structured array [windows] of LEAKAGE_DTYPE in genome order.

        None where there is none: nothing was held out, or an older Primase prepared the corpus. Raises InputError where
        it cannot be read.
        """
        files = self.folder / "leakage.json", self.folder / "leakage.npy"
        if not files[0].is_file():
            return None
        values = read_json(files[0], schema=Leakage.model_fields["schema_version"].default, remedy=REMEDY)
        try:
            certificate = Leakage.model_validate(values)
        except ValueError as error:
            raise InputError(f"{files[0]}: damaged ({one_line(error)}); {REMEDY}") from None
        return certificate, read_array(files[1], dtype=LEAKAGE_DTYPE, remedy=REMEDY)

    @property
    def digest(self) -> str:
        """Checksum of the bases, the windows and their parts: the same corpus gives the same digest anywhere."""
        return self.description["digest"]


@contextmanager
def bases_reader(folder: Path) -> Iterator[ReadBases]:
    """Reads stretches of bases.bin. Not mapped: pages of a map stay counted as memory of the process."""
    with open(folder / "bases.bin", "rb") as stream:

        def read(start: int, stop: int) -> bytes:
            stream.seek(start)
            return stream.read(stop - start)

        yield read


def draw_windows(corpus: Corpus, part: str, max_bases: int | None, seed: int) -> np.ndarray:
    """Indices of the windows of a part, or of a fixed draw of about `max_bases` bases of it, in genome order."""
    indices = corpus.part(part)
    return indices[draw(corpus.windows["length"][indices], max_bases, seed)]


def draw_runs(corpus: Corpus, part: str, max_bases: int | None, seed: int) -> np.ndarray:
    """As `draw_windows`, but runs of neighbouring windows, since a model has no context at the start of each run.

    A run has RUN_BASES, or a twentieth of `max_bases` where that is less; a stretch that is shorter is one run.
    """
    indices = corpus.part(part)
    if max_bases is None:
        return indices
    run_bases = max(1, min(RUN_BASES, max_bases // 20))
    lengths = corpus.windows["length"][indices].astype(np.int64)
    run, runs = np.empty(len(indices), np.int64), 0
    for first, after in corpus.stretches(indices).tolist():
        if after - first == 1:  # a table has millions
            run[first], runs = runs, runs + 1
            continue
        begins = np.cumsum(lengths[first:after]) - lengths[first:after]
        # What is left over at the end of a stretch goes with the run before it.
        last = max(int(lengths[first:after].sum()) // run_bases - 1, 0)
        _, own = np.unique(np.minimum(begins // run_bases, last), return_inverse=True)
        run[first:after] = runs + own
        runs += int(own[-1]) + 1
    drawn = draw(np.bincount(run, weights=lengths).astype(np.int64), max_bases, seed)
    return indices[np.isin(run, drawn)]


def draw(lengths: np.ndarray, max_bases: int | None, seed: int) -> np.ndarray:
    """Places, in order, of `lengths` that add up to about `max_bases`; a larger draw of a seed holds a smaller one."""
    if max_bases is None:
        return np.arange(len(lengths))
    order = np.random.default_rng(seed).permutation(len(lengths))
    bases = np.cumsum(lengths[order], dtype=np.int64)
    return np.sort(order[: max(1, int(np.searchsorted(bases, max_bases)) + 1)])
