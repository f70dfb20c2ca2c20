"""What all pictures share: a figure into a .png or .svg, letters of bases, positions of a region, colours."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from primase.errors import InputError
from primase.formats import Region

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PICTURE_SUFFIXES = (".png", ".svg")

BASE_COLOURS = {"A": "#109648", "C": "#255c99", "G": "#f7b32b", "T": "#d62839"}
"""The usual colours of sequence logos (Schneider and Stephens 1990), as in the schemes of today's programs."""

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9")
"""Told apart by the colour-blind too (Okabe and Ito 2008)."""

GREY, PALE_GREY = "#444444", "#c4c4c4"


def require_picture_name(file: Path) -> None:
    """Raises InputError for a name that is no picture's."""
    if file.suffix not in PICTURE_SUFFIXES:
        raise InputError(
            f"{file}: a picture is written as {' or '.join(PICTURE_SUFFIXES)}; choose one of these endings"
        )


@contextmanager
def figure_to(file: Path, width_inches: float, height_inches: float) -> Iterator["Figure"]:
    """An empty figure that is written at the end, as PNG or SVG by the name; the same drawing gives the same bytes."""
    import matplotlib
    from matplotlib.figure import Figure

    kind = file.suffix.removeprefix(".")
    # A salt in place of random names, no date; and a $ in the name of a record or a label is no formula.
    with matplotlib.rc_context({"svg.hashsalt": "primase", "text.parse_math": False}):
        figure = Figure(figsize=(width_inches, height_inches), layout="constrained")
        yield figure
        figure.savefig(file, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None)


def draw_letters(axes: "Axes", letters: bytes, heights: np.ndarray) -> None:
    """Letter i between 0 and heights[i], centred at x = i; only A, C, G and T (or U, as T)."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.patches import PathPatch
    from matplotlib.textpath import TextPath
    from matplotlib.transforms import Affine2D

    font = FontProperties(family="DejaVu Sans", weight="bold")
    outlines = {base: TextPath((0, 0), base, size=1, prop=font) for base in BASE_COLOURS}
    for place, (letter, height) in enumerate(zip(letters.decode().replace("U", "T"), heights, strict=True)):
        if letter not in BASE_COLOURS or height == 0:
            continue
        box = outlines[letter].get_extents()
        fit = Affine2D().translate(-box.x0, -box.y0).scale(0.92 / box.width, height / box.height)
        outline = fit.translate(place - 0.46, 0).transform_path(outlines[letter])
        axes.add_patch(PathPatch(outline, color=BASE_COLOURS[letter], linewidth=0))


def label_positions(axes: "Axes", region: Region) -> None:
    """An axis on which x = 0 is the region's first base, labelled with round positions counted from 1."""
    ticks = round_positions(region)
    axes.set_xticks([tick - region.start - 1 for tick in ticks], [f"{tick:,}" for tick in ticks])
    axes.set_xlim(-0.5, region.end - region.start - 0.5)
    axes.set_xlabel(f"{region.record}, position counted from 1")


def round_positions(region: Region) -> list[int]:
    """At most about a dozen positions, counted from 1, that are multiples of 1, 2 or 5 times a power of ten."""
    steps = (factor * 10**power for power in range(12) for factor in (1, 2, 5))
    step = next(step for step in steps if (region.end - region.start) / step <= 12)
    return list(range(-(-(region.start + 1) // step) * step, region.end + 1, step))


def legend_name(name: str) -> str:
    """A name for a legend: short, and not with the underscore first that would hide it there."""
    short = name if len(name) <= 30 else f"{name[:29]}…"
    return f" {short}" if short.startswith("_") else short
