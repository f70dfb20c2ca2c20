"""Charts of single places and single experts: surprisal along a locus, its bases one by one, the load of experts."""

from markupsafe import Markup

from primase.report import figures
from primase.report.drawing import NARROW, Axis, Drawing, both_sizes, left_axis
from primase.results import LayerRouting, Locus

POINTS = 180
"""Points of a smoothed line."""
SMOOTHED_SHARE = 25
"""A point is the mean of about a 25th of the locus."""
LEVELS = 10
"""Shades of a heat map, from no choice to three times an equal share."""
MOST_CELLS = 6_000
"""Cells of a heat map: layers beyond are left out, and the page says so."""

LINES = (("copy-mixture", "copy_bits"), ("markov", "markov_bits"), ("model", "model_bits"))


def lines_of(locus: Locus) -> list[tuple[str, list[float]]]:
    """Kind and bits of each predictor that was scored here, the model last, so that it is drawn on top."""
    found = [(kind, getattr(locus, name)) for kind, name in LINES]
    return [(kind, values) for kind, values in found if values]


def mean(values: list[float]) -> float:
    return sum(values) / max(len(values), 1)


def span_of(locus: Locus) -> int:
    """Bases that a point of the smoothed lines is the mean of."""
    return max(1, len(locus.model_bits) // SMOOTHED_SHARE)


def locus_lines(locus: Locus, key: str) -> Markup:
    """Smoothed surprisal along the locus."""
    said = "; ".join(f"{kind}: mean {figures.bits(mean(values))} bits" for kind, values in lines_of(locus))
    title = f"Surprisal along {locus.record}, bases {locus.start:,} to {locus.start + len(locus.sequence):,}"
    return both_sizes(key, title, f"{said}.", lambda width: _locus(locus, width))


def _locus(locus: Locus, width: float) -> Drawing:
    narrow = width == NARROW
    height, left, right, top = (190, 30, width - 4, 10) if narrow else (210, 34, width - 4, 10)
    bottom = height - 24
    drawing = Drawing(width, height)
    bases = len(locus.model_bits)
    lines = [(kind, _smoothed(values, span_of(locus))) for kind, values in lines_of(locus)]
    across = Axis(0, max(bases, 1), left, right)
    down = Axis(0, max([2.2, *(value for _, points in lines for _, value in points)]), bottom, top)
    for first, last in _soft_masked(locus.sequence):
        drawing.rectangle(across(first), top, across(last) - across(first), bottom - top, "masked")
    left_axis(drawing, down, left, right, 4)
    drawing.line(left, down(2), right, down(2), "level k-uniform")
    for kind, points in lines:
        css = "stroke" if kind == "model" else "thin"
        drawing.polyline([(across(x), down(y)) for x, y in points], f"{css} k-{kind}")
    first, last = zoom_of(locus, narrow)
    drawing.line(across(first), bottom + 2, across(last), bottom + 2, "bracket")
    start = locus.start
    ticks = Axis(start, start + max(bases, 1), left, right)
    for tick in ticks.ticks(2 if narrow else 5):
        anchor = "end" if ticks(tick) > right - 30 else "start" if ticks(tick) < left + 20 else "middle"
        drawing.text(ticks(tick), bottom + 18, figures.count(tick), "tick", anchor)
    return drawing


def _smoothed(values: list[float], span: int) -> list[tuple[float, float]]:
    """Centred running means [(base, bits)], at most POINTS of them."""
    sums = [0.0]
    for value in values:
        sums.append(sums[-1] + value)
    points = []
    for centre in _places(len(values), POINTS):
        low, high = max(0, centre - span // 2), min(len(values), centre + span // 2 + 1)
        points.append((centre + 0.5, (sums[high] - sums[low]) / (high - low)))
    return points


def _places(length: int, most: int) -> list[int]:
    if length <= most:
        return list(range(length))
    return [round(index * (length - 1) / (most - 1)) for index in range(most)]


def _soft_masked(sequence: str) -> list[tuple[int, int]]:
    """Half-open runs of lower-case letters."""
    runs: list[tuple[int, int]] = []
    for place, letter in enumerate(sequence):
        if letter.islower():
            if runs and runs[-1][1] == place:
                runs[-1] = (runs[-1][0], place + 1)
            else:
                runs.append((place, place + 1))
    return runs


def zoom_of(locus: Locus, narrow: bool) -> tuple[int, int]:
    """The stretch that is shown base by base: where the model and its first rival differ most, for good or ill."""
    bases = len(locus.model_bits)
    length = min(24 if narrow else 60, bases)
    others = [values for kind, values in lines_of(locus) if kind == "markov"] or [
        values for kind, values in lines_of(locus) if kind != "model"
    ]
    rival = others[0] if others else [0.0] * bases
    difference = [ours - theirs for ours, theirs in zip(locus.model_bits, rival, strict=False)]
    window = sum(difference[:60])
    best, first = abs(window), 0
    for start in range(1, bases - min(60, bases) + 1):
        window += difference[start + 59] - difference[start - 1]
        if abs(window) > best:
            best, first = abs(window), start
    middle = first + min(60, bases) // 2
    begin = max(0, min(middle - length // 2, bases - length))
    return begin, begin + length


def locus_bases(locus: Locus, key: str) -> Markup:
    """The zoomed part: a column a base for the model, steps for the rivals, the letters below."""
    first, last = zoom_of(locus, False)
    title = f"Bases {locus.start + first:,} to {locus.start + last:,} of {locus.record}, one by one"
    said = f"Sequence {locus.sequence[first:last]}. Columns: bits that the model needed for each base."
    return both_sizes(key, title, said, lambda width: _bases(locus, width))


def _bases(locus: Locus, width: float) -> Drawing:
    narrow = width == NARROW
    first, last = zoom_of(locus, narrow)
    left, right, top, height = (30 if narrow else 34), width - 4, 8, 150
    bottom = height - 22
    drawing = Drawing(width, height)
    lines = [(kind, values[first:last]) for kind, values in lines_of(locus)]
    slot = (right - left) / max(last - first, 1)
    down = Axis(0, max([2.2, *(value for _, values in lines for value in values)]), bottom, top)
    left_axis(drawing, down, left, right, 3)
    drawing.line(left, down(2), right, down(2), "level k-uniform")
    for kind, values in lines:
        if kind == "model":
            for index, value in enumerate(values):
                x = left + index * slot + 0.15 * slot
                drawing.rectangle(x, down(value), 0.7 * slot, bottom - down(value), "column k-model")
    for kind, values in lines:
        if kind != "model":
            steps = [(left + (i + side) * slot, down(value)) for i, value in enumerate(values) for side in (0, 1)]
            drawing.polyline(steps, f"thin k-{kind}")
    for index, letter in enumerate(locus.sequence[first:last]):
        css = "base soft" if letter.islower() else "base"
        drawing.text(left + (index + 0.5) * slot, bottom + 15, letter, css, "middle")
    return drawing


def expert_load(layers: list[LayerRouting]) -> Markup:
    """Layers by experts, darker where more tokens go; a ring where none does."""
    experts = max(len(layer.load) for layer in layers)
    dead = sum(layer.dead_experts for layer in layers)
    said = (
        f"{figures.plural(len(layers), 'layer')} of {figures.plural(experts, 'expert')}; the busiest expert has "
        f"{max(max(layer.load) for layer in layers) * experts:.1f} times an equal share; {dead} receive no token."
    )
    title = "Load of the experts, by layer"
    shown = layers[: max(1, MOST_CELLS // experts)]
    return both_sizes("experts", title, said, lambda width: _heat_map(shown, experts, width))


def _heat_map(layers: list[LayerRouting], experts: int, width: float) -> Drawing:
    left, right, top = 34, width - 2, 4
    slot = min((right - left) / experts, 40)
    row = 18 if len(layers) <= 16 else min(max(slot, 9), 26)
    bottom = top + row * len(layers)
    gap = 1 if slot > 5 else 0.3
    drawing = Drawing(width, bottom + 64)
    by_shade: dict[int, list[tuple[float, float]]] = {}
    empty: list[tuple[float, float]] = []
    for index, layer in enumerate(layers):
        y = top + index * row
        if len(layers) <= 16 or index % 4 == 0:
            drawing.text(left - 8, y + row / 2 + 4, str(layer.layer), "tick", "end")
        for expert, load in enumerate(layer.load):
            corner = (left + expert * slot, y)
            if load > 0:
                by_shade.setdefault(shade(load * experts), []).append(corner)
            else:
                empty.append(corner)
    for level, corners in sorted(by_shade.items()):
        drawing.cells(corners, slot - gap, row - gap, f"heat h{level}")
    drawing.cells(empty, slot - gap, row - gap, "heat dead")
    step = max(1, experts // (8 if width == NARROW else 16))
    for expert in range(0, experts, step):
        drawing.text(left + (expert + 0.5) * slot, bottom + 15, str(expert), "tick", "middle")
    drawing.text(0, bottom + 15, "layer", "tick")
    _key(drawing, left, bottom + 30)
    return drawing


def shade(times: float) -> int:
    """Level 0 to LEVELS for a load of so many equal shares; from three of them up it is the darkest."""
    return min(LEVELS, max(1, round(times / 3 * LEVELS)))


def _key(drawing: Drawing, left: float, y: float) -> None:
    """What the shades mean."""
    for level in range(1, LEVELS + 1):
        drawing.rectangle(left + (level - 1) * 14, y, 13, 12, f"heat h{level}")
    for times, text in ((0, "0"), (1, "1 (equal)"), (3, "3 times and more")):
        x = left + times / 3 * LEVELS * 14
        drawing.text(x, y + 26, text, "tick", "start" if times == 0 else "middle")
    drawing.rectangle(left + 200, y, 13, 12, "heat dead")
    drawing.text(left + 219, y + 11, "no token", "tick")
