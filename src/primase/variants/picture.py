"""Scores of a region as a picture: a heat map of all changes; above it the reference, tall where change is costly."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from primase import dna
from primase.errors import InputError
from primase.formats import Region
from primase.pictures.drawing import draw_letters, figure_to, label_positions, require_picture_name

MOST_BASES = 1000


def require_picture(file: Path, regions: Sequence[Region]) -> None:
    """Raises InputError for a name that is no picture's, and for more than what one picture can show."""
    require_picture_name(file)
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
    bases = len(letters)
    with figure_to(file, min(max(4 + 0.11 * bases, 7), 60), 3.6) as figure:
        logo, heat = figure.subplots(2, 1, sharex=True, height_ratios=[1.3, 1])
        _draw_logo(logo, letters, importance(nats))
        _draw_heat_map(figure, logo, heat, nats)
        label_positions(heat, region)
        logo.set_title(f"Each base changed to each other one: log-likelihood ratio by {model}", loc="left", fontsize=10)


def _draw_logo(axes, letters: bytes, heights: np.ndarray) -> None:
    """Each reference base as a letter of its height; below the line where that is negative."""
    draw_letters(axes, letters, heights)
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
