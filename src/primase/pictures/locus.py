"""`primase picture locus`: what a model expects along a stretch of a genome, base by base, as a picture."""

import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from primase.base_values import BaseValues
from primase.errors import InputError
from primase.formats import Annotations, Genome, Region, read_annotations
from primase.formats.genes import CLASSES
from primase.formats.regions import parse_region
from primase.pictures.drawing import (
    COLOURS,
    GREY,
    PALE_GREY,
    draw_letters,
    figure_to,
    label_positions,
    legend_name,
    require_picture_name,
)
from primase.pictures.results import LocusPicture
from primase.scoring import LoadedModel, load_model
from primase.whole_files import refuse_existing, refuse_unwritable, written_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_BASES = 100_000
MOST_LETTERS = 150
"""Bases up to which their letters can be read."""

PIECE_BASES = 1 << 12
QUANTITIES = {"surprisal": COLOURS[0], "entropy": COLOURS[4]}
GENE_HEIGHTS = dict(zip(CLASSES[:-1], (0.9, 0.5, 0.1), strict=True))
"""Coding bases, other exons and introns, as genome browsers draw them."""


def picture_locus(
    model: str | Path | LoadedModel,
    genome: str | Path,
    output: str | Path,
    *,
    region: str,
    annotations: str | Path | None = None,
    smooth_bases: int | None = None,
    overwrite: bool = False,
    progress: Callable[[str, float], None] = lambda what, share: None,
) -> LocusPicture:
    """Draw surprisal and entropy (bits) of each base of `region` (chr2:101-200) as .png or .svg.

    The values are those of `primase tracks`, forward strand: each base given those before it, also those before the
    region. The thick line is the mean over `smooth_bases` around a base (a fiftieth of the region, 5 at least).
    `annotations` (GFF3, GTF, BED) are drawn below.

    Nothing is left at `output` unless all went well. Raises InputError, OutputExistsError, ModelError.
    """
    begun = time.perf_counter()
    output, asked = Path(output), _checked(parse_region(region))
    require_picture_name(output)
    refuse_existing(output, overwrite=overwrite)
    bases = asked.end - asked.start
    if smooth_bases is not None and smooth_bases < 1:
        raise InputError(f"smooth_bases {smooth_bases}: a mean is over 1 base or more")
    smooth_bases = smooth_bases or max(5, bases // 50)
    marks = read_annotations(annotations) if annotations is not None else None
    with Genome(genome, progress=lambda read: progress("reading the genome", 0.0)) as opened:
        place = opened.place(asked)
        if marks and not marks.has(place.record):
            raise InputError(
                f"{annotations}: nothing on record {place.record}; it names {', '.join(marks.records[:5])}: give the "
                "annotations of this genome"
            )
        refuse_unwritable(output)
        loaded = model if isinstance(model, LoadedModel) else load_model(model)
        loaded.refuse_rounding("a picture")
        reader = BaseValues(loaded, opened)
        values = _read(reader, place, progress)
        letters = opened.bases(*place).tobytes().upper()
    known = np.isfinite(values["surprisal"])
    if not known.any():
        raise InputError(f"region {place}: no A, C, G or T in it, so there is nothing that a model could predict")
    name = "(in memory)" if isinstance(model, LoadedModel) else str(model)
    lanes = 2 + (bases <= MOST_LETTERS) + (marks is not None)
    with (
        written_whole(output) as partial,
        figure_to(partial, min(max(4 + 0.11 * bases, 7), 12), 3.4 + 0.5 * lanes) as figure,
    ):
        draw_locus(figure, place, letters, values, smooth_bases, marks)
        figure.suptitle(f"What {name} expects of each base", x=0.01, ha="left", fontsize=10)
    return LocusPicture(
        model=name,
        output=str(output),
        record=place.record,
        start=place.start,
        end=place.end,
        bases=int(known.sum()),
        mean_surprisal_bits=float(values["surprisal"][known].mean(dtype=np.float64)),
        mean_entropy_bits=float(values["entropy"][known].mean(dtype=np.float64)),
        smooth_bases=smooth_bases,
        window_bases=reader.window_bases,
        seconds=time.perf_counter() - begun,
    )


def _checked(region: Region) -> Region:
    bases = region.end - region.start
    if bases > MOST_BASES:
        raise InputError(
            f"region {region}: a picture shows at most {MOST_BASES:,} bases, and the region has {bases:,}; cut it, or "
            "write a track for a genome browser with primase tracks"
        )
    return region


def smoothed(values: np.ndarray, bases: int) -> np.ndarray:
    """float64: the mean of the `bases` values around each, without those that are NaN; NaN where the value is.

    An even number has one more after the base than before it. At the ends there are fewer.
    """
    known = np.isfinite(values)
    sums, counts = (
        np.concatenate([[0.0], np.cumsum(part, dtype=np.float64)]) for part in (np.where(known, values, 0), known)
    )
    first = np.maximum(np.arange(len(values)) - (bases - 1) // 2, 0)
    after = np.minimum(np.arange(len(values)) + bases // 2 + 1, len(values))
    total, count = sums[after] - sums[first], counts[after] - counts[first]
    return np.where(known, total / np.maximum(count, 1), np.nan)


def draw_locus(
    figure: "Figure",
    region: Region,
    letters: bytes,
    values: dict[str, np.ndarray],
    smooth_bases: int,
    annotations: Annotations | None,
) -> None:
    """Lanes from top to bottom: surprisal, entropy, the letters of a short region, and the annotations."""
    has_letters = len(letters) <= MOST_LETTERS
    heights = [3, 1.8] + [0.4] * has_letters + [0.5] * (annotations is not None)
    lanes = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    for axes, (quantity, colour) in zip(lanes[:2], QUANTITIES.items(), strict=True):
        _draw_values(axes, quantity, values[quantity], smooth_bases, colour)
    lanes[0].legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False, fontsize=8)
    if has_letters:
        draw_letters(lanes[2], letters, np.ones(len(letters)))
        lanes[2].set_ylim(-0.1, 1.1)
        lanes[2].spines[:].set_visible(False)
    if annotations is not None:
        _draw_annotations(lanes[-1], annotations, region)
    for axes in lanes[2:]:
        axes.set_yticks([])
    for axes in lanes[:-1]:
        axes.tick_params(bottom=False, labelbottom=False)
    label_positions(lanes[-1], region)


def _read(reader: BaseValues, place: Region, progress: Callable[[str, float], None]) -> dict[str, np.ndarray]:
    """For each quantity float32 [bases], in pieces for the sake of the progress."""
    pieces = []
    for start in range(place.start, place.end, PIECE_BASES):
        progress("reading the locus", (start - place.start) / (place.end - place.start))
        end = min(start + PIECE_BASES, place.end)
        pieces.append(reader.values(place.record, 0, start, end, list(QUANTITIES)))
    progress("reading the locus", 1.0)
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in QUANTITIES}


def _draw_values(axes: "Axes", quantity: str, values: np.ndarray, smooth_bases: int, colour: str) -> None:
    places = np.arange(len(values))
    # Steps from edge to edge: of a line, a base between two N would not be seen.
    look = {"color": colour, "alpha": 0.45, "linewidth": 0.7}
    axes.stairs(values, np.arange(len(values) + 1) - 0.5, baseline=None, label="each base", **look)
    axes.plot(places, smoothed(values, smooth_bases), color=colour, label=f"mean of {smooth_bases:,}", linewidth=1.8)
    axes.axhline(2, color=GREY, linewidth=0.8, linestyle="--", label="guessing")
    axes.set_ylim(0, max(2.2, 1.05 * float(np.nanmax(values))))
    axes.set_ylabel(f"{quantity}\n(bits)")
    axes.spines[["top", "right"]].set_visible(False)


def _draw_annotations(axes: "Axes", annotations: Annotations, region: Region) -> None:
    """A box for each run of bases of a class; the last class, which is what is left, stays empty."""
    codes = annotations.labels(region.record, region.start, region.end - region.start)
    edges = np.concatenate([[0], np.flatnonzero(np.diff(codes)) + 1, [len(codes)]])
    is_genes = annotations.classes == CLASSES
    for code, name in enumerate(annotations.classes[:-1]):
        boxes = [(first - 0.5, after - first) for first, after in pairwise(edges) if codes[first] == code]
        if not boxes:
            continue
        height = GENE_HEIGHTS[name] if is_genes else 0.7
        colour = COLOURS[2] if is_genes else (*COLOURS, GREY, PALE_GREY)[code]
        axes.broken_barh(boxes, (0.5 - height / 2, height), color=colour, linewidth=0.4, label=legend_name(name))
    axes.set_ylim(0, 1)
    axes.spines[["top", "right", "left"]].set_visible(False)
    if is_genes:
        axes.set_ylabel("genes", rotation=0, ha="right", va="center")
    elif axes.collections:
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=8)
