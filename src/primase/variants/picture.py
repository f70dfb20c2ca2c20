"""Scores of a region as a picture: a heat map of all changes; above it the reference, tall where change is costly."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from primase import dna
from primase.errors import InputError
from primase.formats import Region

PICTURE_SUFFIXES = (".png", ".svg")
MOST_BASES = 1000
COLORS = {"A": "#109648", "C": "#255c99", "G": "#f7b32b", "T": "#d62839"}
"""The usual colours of sequence logos (Schneider and Stephens 1990), as in the schemes of today's programs."""


def require_picture(file: Path, regions: Sequence[Region]) -> None:
    """Raises InputError for a name that is no picture's, and for more than what one picture can show."""
    if file.suffix not in PICTURE_SUFFIXES:
        raise InputError(
            f"{file}: a picture is written as {' or '.join(PICTURE_SUFFIXES)}; choose one of these endings"
        )
    if len(regions) != 1:
        raise InputError(f"{file}: a picture shows one region, and {len(regions)} are given; leave --picture out")
    bases = regions[0].end - regions[0].start
    if bases > MOST_BASES:
        raise InputError(f"{file}: a picture shows at most {MOST_BASES:,} bases, and the region has {bases:,}; cut it")


def importance(nats: np.ndarray) -> np.ndarray:
    """float64 [bases]: how much less likely the three changes of a base are than the reference, on average, in nats.

    `nats` [bases, 4] are the scores, NaN for the reference. Negative where the model would rather have another base; 0
    where nothing was scored.
    """
    scored = np.isfinite(nats)
    return -np.where(scored, nats, 0.0).sum(axis=1) / np.maximum(scored.sum(axis=1), 1)


def write_picture(file: Path, region: Region, letters: bytes, nats: np.ndarray, model: str) -> None:
    """Draw `nats` float64 [bases, 4] of a region whose reference is `letters`, as PNG or SVG by the name."""
    from matplotlib.figure import Figure

    bases = len(letters)
    width = min(4 + 0.11 * bases, 60)
    figure = Figure(figsize=(max(width, 7), 3.6), layout="constrained")
    logo, heat = figure.subplots(2, 1, sharex=True, height_ratios=[1.3, 1])
    _draw_logo(logo, letters, importance(nats))
    _draw_heat_map(figure, logo, heat, nats)
    ticks = _round_places(region, bases)
    heat.set_xticks([tick - region.start - 1 for tick in ticks], [f"{tick:,}" for tick in ticks])
    heat.set_xlim(-0.5, bases - 0.5)
    heat.set_xlabel(f"{region.record}, position counted from 1")
    logo.set_title(f"Each base changed to each other one: log-likelihood ratio by {model}", loc="left", fontsize=10)
    kind = file.suffix.removeprefix(".")
    # Without the date and with a fixed salt the same scores give the same bytes.
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "primase"}):
        figure.savefig(file, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None)


def _draw_logo(axes, letters: bytes, heights: np.ndarray) -> None:
    """Each reference base as a letter of its height; below the line where that is negative."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.patches import PathPatch
    from matplotlib.textpath import TextPath
    from matplotlib.transforms import Affine2D

    font = FontProperties(family="DejaVu Sans", weight="bold")
    outlines = {base: TextPath((0, 0), base, size=1, prop=font) for base in COLORS}
    for place, (letter, height) in enumerate(zip(letters.decode().replace("U", "T"), heights, strict=True)):
        if letter not in COLORS or height == 0:
            continue
        box = outlines[letter].get_extents()
        fit = Affine2D().translate(-box.x0, -box.y0).scale(0.92 / box.width, height / box.height)
        outline = fit.translate(place - 0.46, 0).transform_path(outlines[letter])
        axes.add_patch(PathPatch(outline, color=COLORS[letter], linewidth=0))
    low, high = min(heights.min(), 0.0), max(heights.max(), 0.0)
    margin = 0.05 * (high - low) or 1.0
    axes.set_ylim(low - margin, high + margin)
    axes.axhline(0, color="#444444", linewidth=0.6)
    axes.set_ylabel("importance\n(nats)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(bottom=False, labelbottom=False)


def _draw_heat_map(figure, logo, heat, nats: np.ndarray) -> None:
    """Red: less likely than the reference; blue: likelier; grey: the reference."""
    scored = nats[np.isfinite(nats)]
    limit = float(np.percentile(np.abs(scored), 99)) if len(scored) else 1.0
    heat.set_facecolor("#d0d0d0")
    image = heat.imshow(
        np.ma.masked_invalid(nats.T), aspect="auto", cmap="RdBu", vmin=-limit, vmax=limit, interpolation="nearest"
    )
    heat.set_yticks(range(4), list(dna.ACGT.decode()))
    heat.set_ylabel("changed to")
    heat.tick_params(left=False)
    figure.colorbar(image, ax=[logo, heat], label="nats", shrink=0.8, extend="both", pad=0.01)


def _round_places(region: Region, bases: int) -> list[int]:
    """About ten round positions, counted from 1."""
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 200) if bases / s <= 12 or s == 200)
    return list(range(-(-(region.start + 1) // step) * step, region.end + 1, step))
