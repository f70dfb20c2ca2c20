"""`primase tracks`: what a model says of every base of a genome, for a genome browser.

`primase.base_values` computes; here each record is streamed into the files, forward, reverse or both.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from primase import processes
from primase.base_values import QUANTITIES, BaseValues
from primase.errors import InputError
from primase.formats import Genome
from primase.formats.track_hub import HUB_FILES, HubTrack, hub_texts, require_assembly
from primase.formats.tracks import BIGWIG_SUFFIXES, TrackWriter, in_track_order, track_suffix, writing_track
from primase.results import Result
from primase.scoring import LoadedModel, Precision, load_model
from primase.whole_files import refuse_existing, refuse_unwritable, write_whole, written_whole

PIECE_BASES = 1 << 18
"""Bases whose values are held at once."""

STRANDS = ("forward", "reverse", "both")

Progress = Callable[[str, float], None]


class TracksResult(Result):
    """What `primase tracks` wrote. All values are in bits."""

    schema_version: int = 1
    model: str
    files: dict[str, str]
    """For each quantity, its file."""
    hub: list[str]
    """Files of the track hub and the IGV session, where asked for."""
    strands: str
    records: int
    bases: int
    """A, C, G and T that have a value."""
    mean_bits: dict[str, float]
    precision: str
    """fp32, or bf16 where it was asked for."""
    window_bases: int
    """Bases that are read at once; each base has at least half of them before it."""
    seconds: float


def tracks(
    model: str | Path | LoadedModel,
    genome: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    what: Sequence[str] | str = ("surprisal",),
    strands: str = "forward",
    hub: str | None = None,
    precision: Precision = "fp32",
    overwrite: bool = False,
    progress: Progress = lambda what, share: None,
    piece_bases: int = PIECE_BASES,
) -> TracksResult:
    """Write a value for every A, C, G and T of a genome as bigWig or bedGraph, by the name of `output`.

    `what`: surprisal, -log2 of the probability of the base that is there, given those before it; entropy, of the four
    probabilities; information, 2 - entropy. One is written to `output`; of several each to a file with its name before
    the suffix (out.surprisal.bw, out.entropy.bw). `strands`: forward, reverse (each base given those after it, on the
    reverse complement), or both, their mean. `hub`: an assembly as hg38, for a UCSC track hub and an IGV session
    beside bigWigs. `precision`: as `load_model` takes it; a model already loaded has its own. `piece_bases` changes
    the memory and nothing else.

    Several processes share the pieces and write the bytes of one. Nothing is left at the outputs unless all went well.
    Raises InputError, OutputExistsError, ModelError.
    """
    begun = time.perf_counter()
    processes.start()
    files = output_files(Path(output), _wanted(what))
    if strands not in STRANDS:
        raise InputError(f"strands {strands!r}: choose {', '.join(STRANDS)}")
    hub_files = _hub_files(Path(output), hub)
    for file in (*files.values(), *hub_files):
        refuse_existing(file, overwrite=overwrite)
    with Genome(genome, progress=lambda bases: progress("reading the genome", 0.0)) as opened, ExitStack() as stack:
        loaded = model if isinstance(model, LoadedModel) else load_model(model, precision=precision)
        reader = BaseValues(loaded, opened)
        processes.by_main(lambda: refuse_unwritable(Path(output)))
        lengths = in_track_order(opened.lengths)
        own_files = files.items() if processes.is_main() else ()
        partials = {name: stack.enter_context(written_whole(file)) for name, file in own_files}
        # All are finished before the first takes its place: the stack ends from behind.
        writers = {name: stack.enter_context(writing_track(file, lengths)) for name, file in partials.items()}
        bases, totals = _write(reader, lengths, list(files), writers, strands, piece_bases, progress)
        if not bases:
            raise InputError(f"{genome}: no A, C, G or T in it, so there is nothing that a model could predict")
    # A hub is published: the folders that a model lies in are nobody's business.
    title = f"model {'(in memory)' if isinstance(model, LoadedModel) else Path(model).name}, strands: {strands}"
    hub_contents = [text.encode() for text in (_hub_texts(hub, title, files) if hub else ())]
    processes.by_main(lambda: _write_hub(hub_files, hub_contents))
    return TracksResult(
        model="(in memory)" if isinstance(model, LoadedModel) else str(model),
        files={name: str(file) for name, file in files.items()},
        hub=[str(file) for file in hub_files],
        strands=strands,
        records=len(lengths),
        bases=bases,
        mean_bits={name: total / bases for name, total in totals.items()},
        precision=loaded.precision,
        window_bases=reader.window_bases,
        seconds=time.perf_counter() - begun,
    )


def _write_hub(files: list[Path], contents: list[bytes]) -> None:
    for file, content in zip(files, contents, strict=True):
        write_whole(file, content)


def output_files(output: Path, what: Sequence[str]) -> dict[str, Path]:
    """The file of each quantity: `output` for one; of several, each has its name before the suffix."""
    suffix = track_suffix(output)
    if len(what) == 1:
        return {what[0]: output}
    stem = output.name.removesuffix(suffix)
    return {name: output.with_name(f"{stem}.{name}{suffix}") for name in what}


def _write(
    reader: BaseValues,
    lengths: dict[str, int],
    what: list[str],
    writers: dict[str, TrackWriter],
    strands: str,
    piece_bases: int,
    progress: Progress,
) -> tuple[int, dict[str, float]]:
    """The number of bases with a value, and the sum of each quantity over them.

    Several processes share the pieces, and the main one has the `writers`.
    """
    chosen = {"forward": (0,), "reverse": (1,), "both": (0, 1)}[strands]

    def values_of(piece: tuple[str, int, int]) -> dict[str, np.ndarray]:
        parts = [reader.values(piece[0], strand, *piece[1:], what) for strand in chosen]
        return {name: np.mean([part[name] for part in parts], axis=0, dtype=np.float32) for name in what}

    pieces = [
        (record, start, min(start + piece_bases, length))
        for record, length in lengths.items()
        for start in range(0, length, piece_bases)
    ]
    totals, bases, done, of_all = dict.fromkeys(what, 0.0), 0, 0, sum(lengths.values())
    for (record, start, end), values in zip(pieces, processes.shared(pieces, values_of), strict=False):
        for name, writer in writers.items():
            writer.write(record, start, values[name])
            totals[name] += float(np.nansum(values[name], dtype=np.float64))
        bases += int(np.isfinite(values[what[-1]]).sum())
        done += end - start
        progress("writing tracks", done / of_all)
    return processes.by_main(lambda: (bases, totals))


def _wanted(what: Sequence[str] | str) -> list[str]:
    names = [name.strip() for name in (what.split(",") if isinstance(what, str) else what)]
    for name in names:
        if name not in QUANTITIES:
            raise InputError(f"what {name!r}: choose from {', '.join(QUANTITIES)}, with commas in between")
    return list(dict.fromkeys(names))


def _hub_files(output: Path, hub: str | None) -> list[Path]:
    if hub is None:
        return []
    require_assembly(hub)
    if track_suffix(output) not in BIGWIG_SUFFIXES:
        raise InputError(f"{output}: a track hub shows bigWig; choose an output that ends in .bw, or leave --hub out")
    return [output.with_name(name) for name in HUB_FILES]


def _hub_texts(hub: str, title: str, files: dict[str, Path]) -> list[str]:
    shown = [
        HubTrack(file.name, name, 0, 4 if name == "surprisal" else 2)  # 4 bits: a base that was given 1 in 16
        for name, file in files.items()
    ]
    return list(hub_texts(hub, title, shown).values())
