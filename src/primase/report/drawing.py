"""Inline SVG from a few strokes: a drawing with a title and a description, and axes with round numbers.

Colours are CSS classes of the page, so that one drawing serves light, dark and print. Every text is escaped.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

WIDE, NARROW = 720, 340
"""Widths in pixels of the two sizes in which a chart is drawn: letters must not shrink with a telephone's screen."""

Place = tuple[float, float]


class Drawing:
    """Strokes on a canvas whose origin is the top left corner; lengths are CSS pixels at full size."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self._parts: list[Markup] = []

    def line(self, x1: float, y1: float, x2: float, y2: float, css: str) -> None:
        self._add('<line class="{}" x1="{}" y1="{}" x2="{}" y2="{}"/>', css, *map(_n, (x1, y1, x2, y2)))

    def rectangle(self, x: float, y: float, width: float, height: float, css: str) -> None:
        """Nothing where it would be empty."""
        if width > 0 and height > 0:
            self._add('<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>', css, *map(_n, (x, y, width, height)))

    def circle(self, x: float, y: float, radius: float, css: str) -> None:
        self._add('<circle class="{}" cx="{}" cy="{}" r="{}"/>', css, *map(_n, (x, y, radius)))

    def polyline(self, points: Iterable[Place], css: str) -> None:
        """An open line through the points."""
        path = "L".join(f"{_n(x)} {_n(y)}" for x, y in points)
        if path:
            self._add('<path class="{}" d="M{}"/>', css, path)

    def cells(self, corners: Iterable[Place], width: float, height: float, css: str) -> None:
        """Many rectangles of one size and look, as one path."""
        path = "".join(f"M{_n(x)} {_n(y)}h{_n(width)}v{_n(height)}h-{_n(width)}z" for x, y in corners)
        if path:
            self._add('<path class="{}" d="{}"/>', css, path)

    def text(self, x: float, y: float, text: str, css: str = "", anchor: str = "start") -> None:
        self._add('<text class="{}" x="{}" y="{}" text-anchor="{}">{}</text>', css, _n(x), _n(y), anchor, text)

    def _add(self, form: str, *values: str) -> None:
        self._parts.append(Markup(form).format(*values))

    def svg(self, key: str, css: str, title: str, description: str) -> Markup:
        """The element. `key` is unique in the page: the title and the description are found by it."""
        return Markup(
            '<svg class="{css}" viewBox="0 0 {width} {height}" role="img" aria-labelledby="{key}-t {key}-d" '
            'xmlns="http://www.w3.org/2000/svg"><title id="{key}-t">{title}</title><desc id="{key}-d">{description}'
            "</desc>{parts}</svg>"
        ).format(
            css=css,
            width=_n(self.width),
            height=_n(self.height),
            key=key,
            title=title,
            description=description,
            parts=Markup("").join(self._parts),
        )


def both_sizes(key: str, title: str, description: str, draw: Callable[[float], Drawing], css: str = "") -> Markup:
    """A chart drawn for a page and for a telephone; the style sheet shows one of them."""
    sizes = (("wide", draw(WIDE)), ("narrow", draw(NARROW)))
    return Markup("").join(
        drawing.svg(f"{key}-{name}", f"chart {name} {css}".strip(), title, description) for name, drawing in sizes
    )


def _n(value: float) -> str:
    """A coordinate with one decimal, without what is not needed."""
    return f"{value:.1f}".removesuffix(".0") if abs(value) >= 0.05 else "0"


@dataclass(frozen=True)
class Axis:
    """A linear scale from values to pixels."""

    low: float
    high: float
    start: float
    """Pixel of `low`."""
    end: float
    """Pixel of `high`."""

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / ((self.high - self.low) or 1) * (self.end - self.start)

    def clipped(self, value: float) -> float:
        return self(min(max(value, min(self.low, self.high)), max(self.low, self.high)))

    def ticks(self, wanted: int) -> list[float]:
        """About so many round values (1, 2 or 5 times a power of ten apart) within the scale."""
        step = _round_step((self.high - self.low) / max(wanted, 1))
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [round(number * step, 12) for number in range(first, last + 1)]


def _round_step(rough: float) -> float:
    if rough <= 0 or not math.isfinite(rough):
        return 1.0
    power = 10 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)


def decimals_of(ticks: Sequence[float]) -> int:
    """Decimals that tell neighbouring ticks apart; of a single one those that it has."""
    if len(ticks) == 1:
        return next(decimals for decimals in range(13) if round(ticks[0], decimals) == ticks[0])
    step = min((b - a for a, b in pairwise(ticks)), default=1.0)
    return max(0, -math.floor(math.log10(step) + 1e-9))


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places for labels near where they are wanted, at least `gap` apart, in the order of `wanted`, within low:high."""
    order = sorted(range(len(wanted)), key=wanted.__getitem__)
    places = [min(max(wanted[index], low), high) for index in order]
    for _ in range(2):
        for index in range(1, len(places)):
            places[index] = max(places[index], places[index - 1] + gap)
        overshoot = places[-1] - high if places else 0
        if overshoot > 0:
            places[-1] = high
            for index in range(len(places) - 2, -1, -1):
                places[index] = min(places[index], places[index + 1] - gap)
    result = [0.0] * len(wanted)
    for place, index in zip(places, order, strict=True):
        result[index] = place
    return result


def left_axis(drawing: Drawing, axis: Axis, x: float, right: float, wanted: int, form: str | None = None) -> None:
    """Numbers at the left and a hairline across the plot at each."""
    ticks = axis.ticks(wanted)
    form = form or f"{{:.{decimals_of(ticks)}f}}"
    for tick in ticks:
        y = axis(tick)
        drawing.line(x, y, right, y, "grid")
        drawing.text(x - 6, y + 4, form.format(tick), "tick", "end")
