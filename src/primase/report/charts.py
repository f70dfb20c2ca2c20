"""The charts of the measurement: scale of the headline, learning curve, Markov orders, calibration, leakage."""

from collections.abc import Sequence

from markupsafe import Markup

from primase.report import figures
from primase.report.drawing import NARROW, Axis, Drawing, both_sizes, decimals_of, left_axis, spread
from primase.report.gather import Course, Point
from primase.report.predictors import GUESSING_BITS, Predictor, predictors
from primase.results import CalibrationBin, Evaluation, Leakage

MOST_POINTS = 240
"""Points of a curve: more than a screen tells apart would only make the page heavy."""


def scale(evaluation: Evaluation) -> Markup:
    """Every predictor as a bar from guessing to its bits per base, the worst first."""
    shown = predictors(evaluation)
    said = ", ".join(f"{one.name} {figures.bits(one.bits_per_base)}" for one in shown)
    title = "Bits per base of this model and its rivals"
    return both_sizes("scale", title, f"From worst to best: {said}.", lambda width: _scale(evaluation, shown, width))


def _scale(evaluation: Evaluation, shown: list[Predictor], width: float) -> Drawing:
    narrow = width == NARROW
    row, left, right = (42, 2, width - 2) if narrow else (28, 150, width - 66)
    top, height = 22, 22 + (42 if narrow else 28) * len(shown) + 8
    drawing = Drawing(width, height)
    values = [one.bits_per_base for one in shown]
    worst = min(max(values), GUESSING_BITS + 0.15)
    best = min(*values, evaluation.forward.low) if evaluation.forward.has_interval else min(values)
    pad = 0.04 * max(worst - best, 0.01)
    axis = Axis(worst + pad, best - pad, left, right)
    ticks = [-tick for tick in reversed(Axis(-axis.low, -axis.high, 0, 1).ticks(3 if narrow else 6))]
    for tick in ticks:
        drawing.line(axis(tick), top, axis(tick), height - 4, "grid")
        anchor = "start" if axis(tick) < 16 else "end" if axis(tick) > width - 16 else "middle"
        drawing.text(axis(tick), 13, f"{tick:.{decimals_of(ticks)}f}", "tick", anchor)
    drawing.line(axis(GUESSING_BITS), top, axis(GUESSING_BITS), height - 4, "axis")
    for index, one in enumerate(shown):
        y = top + index * row + (30 if narrow else row / 2)
        kind = f"k-{one.kind}"
        strong = "strong" if one.kind == "model" else ""
        zero, place = axis(GUESSING_BITS), axis.clipped(one.bits_per_base)
        drawing.rectangle(min(zero, place), y - 4, abs(place - zero), 8, f"bar {kind}")
        if one.bits_per_base > axis.low:  # off the scale
            drawing.text(place - 4, y + 4, "\N{BLACK LEFT-POINTING SMALL TRIANGLE}", f"label {kind}", "middle")
        else:
            drawing.circle(place, y, 6 if strong else 5, f"dot {kind}")
        if one.kind == "model" and evaluation.forward.has_interval:
            low, high = axis.clipped(evaluation.forward.low), axis.clipped(evaluation.forward.high)
            drawing.line(low, y, high, y, "whisker")
        x, text_y, anchor = (0, y - 13, "start") if narrow else (left - 12, y + 4, "end")
        drawing.text(x, text_y, one.name, f"halo {strong}", anchor)
        drawing.text(width, text_y, figures.bits(one.bits_per_base), f"figure halo {strong}", "end")
    return drawing


def learning_curve(course: Course, evaluation: Evaluation | None) -> Markup:
    """Training and validation in bits per base against the bases read, with the rivals as level lines."""
    levels = [one for one in predictors(evaluation) if one.kind not in ("model", "untrained")] if evaluation else []
    levels = levels or [Predictor("uniform", "guessing", GUESSING_BITS)]
    last = course.training[-1]
    said = (
        f"After {figures.count(last.bases)} bases and {figures.duration(last.seconds)} the training stands at "
        f"{figures.bits(smoothed(course.training)[-1].bits_per_base)} bits per base"
    )
    if course.validation:
        said += f", the validation part at {figures.bits(course.validation[-1].bits_per_base)}"
    rivals = ", ".join(f"{one.name} {figures.bits(one.bits_per_base)}" for one in levels)
    title = "Bits per base during the training"
    return both_sizes("curve", title, f"{said}. Level lines: {rivals}.", lambda width: _curve(course, levels, width))


def smoothed(points: Sequence[Point]) -> list[Point]:
    """Running means over about a twelfth of the lines, at about MOST_POINTS places."""
    reach = len(points) // 25
    stride = max(1, len(points) // MOST_POINTS)
    means = []
    for place in [*range(0, len(points) - 1, stride), len(points) - 1]:
        # The same number on both sides, so that a falling curve is not moved to the right.
        around = min(reach, place, max(len(points) - 1 - place, reach // 2))
        near = points[place - around : place + around + 1]
        mean = sum(point.bits_per_base for point in near) / len(near)
        means.append(Point(points[place].step, points[place].bases, points[place].seconds, mean))
    return means


def _curve(course: Course, levels: list[Predictor], width: float) -> Drawing:
    narrow = width == NARROW
    height, left, right, top = (300, 40, width - 88, 26) if narrow else (360, 46, width - 172, 28)
    bottom = height - 38
    drawing = Drawing(width, height)
    curve = smoothed(course.training)
    values = [point.bits_per_base for point in [*curve, *course.validation]]
    floor = min([*values, *(one.bits_per_base for one in levels)])
    ceiling = max(GUESSING_BITS, min(max(values), GUESSING_BITS + 0.12))
    pad = 0.05 * (ceiling - floor)
    across = Axis(0, max(point.bases for point in [*curve, *course.validation]) or 1, left, right)
    down = Axis(ceiling + pad, floor - pad, top, bottom)
    left_axis(drawing, Axis(down.high, down.low, down.end, down.start), left, right, 6)
    _bases_and_time(drawing, course.training, across, bottom, top, 3 if narrow else 6)
    for one in levels:
        drawing.line(left, down(one.bits_per_base), right, down(one.bits_per_base), f"level k-{one.kind}")
    raw = course.training[:: max(1, len(course.training) // MOST_POINTS)]
    drawing.polyline([(across(p.bases), down.clipped(p.bits_per_base)) for p in raw], "raw k-model")
    drawing.polyline([(across(p.bases), down.clipped(p.bits_per_base)) for p in curve], "stroke k-model")
    measured = [(across(p.bases), down.clipped(p.bits_per_base)) for p in course.validation]
    drawing.polyline(measured, "thin k-validation")
    for x, y in measured[:: max(1, len(measured) // 60)]:
        drawing.circle(x, y, 3, "dot k-validation")
    labels = [(one.kind, one.name, one.bits_per_base) for one in levels]
    labels.append(("model", "training", curve[-1].bits_per_base))
    if measured:
        labels.append(("validation", "validation", course.validation[-1].bits_per_base))
    _labels_at_the_right(drawing, labels, down, right, (top, bottom), narrow)
    return drawing


def _labels_at_the_right(
    drawing: Drawing,
    labels: list[tuple[str, str, float]],
    down: Axis,
    right: float,
    within: tuple[float, float],
    narrow: bool,
) -> None:
    """A name at the end of each line, moved apart where two would touch."""
    ends = [down.clipped(value) for _, _, value in labels]
    places = spread(ends, 15 if not narrow else 14, within[0] + 4, within[1])
    for (kind, name, value), end, place in zip(labels, ends, places, strict=True):
        drawing.polyline([(right, end), (right + 8, place)], f"leader k-{kind}")
        drawing.text(right + 11, place + 4, name.replace(", order", "") if narrow else name, f"label k-{kind}")
        if not narrow:
            drawing.text(drawing.width, place + 4, figures.bits(value), "figure", "end")


def _bases_and_time(
    drawing: Drawing, training: list[Point], across: Axis, bottom: float, top: float, wanted: int
) -> None:
    """Bases read below the plot, training time above it."""
    drawing.line(across.start, bottom, across.end, bottom, "axis")
    for tick in across.ticks(wanted):
        drawing.line(across(tick), bottom, across(tick), bottom + 4, "axis")
        drawing.text(across(tick), bottom + 17, figures.short(tick), "tick", "middle")
    drawing.text((across.start + across.end) / 2, bottom + 34, "bases read in training", "tick", "middle")
    seconds = training[-1].seconds
    unit, name = next(
        pair
        for pair in ((86_400, "days"), (3600, "h"), (60, "min"), (1, "s"))
        if seconds >= 2 * pair[0] or pair[0] == 1
    )
    for tick in Axis(0, seconds / unit, 0, 1).ticks(max(2, wanted - 1)):
        x = across(_bases_at_time(training, tick * unit))
        drawing.line(x, top, x, top - 4, "axis")
        drawing.text(x, top - 9, f"{tick:g} {name}", "tick", "start" if tick == 0 else "middle")
    drawing.line(across.start, top, across(training[-1].bases), top, "axis")


def _bases_at_time(training: list[Point], seconds: float) -> float:
    before = Point(0, 0.0, 0.0, 0.0)
    for point in training:
        if point.seconds >= seconds:
            share = (seconds - before.seconds) / max(point.seconds - before.seconds, 1e-9)
            return before.bases + share * (point.bases - before.bases)
        before = point
    return before.bases


def markov_orders(evaluation: Evaluation) -> Markup:
    """Bits per base of the Markov models by order, with the model as a level line."""
    orders = evaluation.markov_bits_per_base or []
    said = (
        f"From {figures.bits(orders[0])} at order 0 to {figures.bits(min(orders))} at order "
        f"{orders.index(min(orders))}; this model has {figures.bits(evaluation.forward.bits_per_base)}."
    )
    title = "Bits per base of the Markov models, by order"
    return both_sizes("orders", title, said, lambda width: _orders(orders, evaluation.forward.bits_per_base, width))


def _orders(orders: list[float], model: float, width: float) -> Drawing:
    narrow = width == NARROW
    height, left, right, top = 230, 40, width - 14, 14
    bottom = height - 38
    drawing = Drawing(width, height)
    low, high = min(*orders, model), max(*orders, model)
    pad = 0.2 * max(high - low, 0.01)
    across = Axis(0, max(len(orders) - 1, 1), left + 12, right - 8)
    down = Axis(low - pad, high + pad, bottom, top)
    left_axis(drawing, down, left, right, 4)
    drawing.line(left, down(model), right, down(model), "level k-model")
    drawing.text(left + 4, down(model) - 6, f"this model {figures.bits(model)}", "label k-model halo")
    drawing.polyline([(across(order), down(value)) for order, value in enumerate(orders)], "thin k-markov")
    best = orders.index(min(orders))
    for order, value in enumerate(orders):
        drawing.circle(across(order), down(value), 5 if order == best else 3, "dot k-markov")
        if not narrow or order % 2 == 0:
            drawing.text(across(order), bottom + 17, str(order), "tick", "middle")
    anchor = "end" if best > len(orders) / 2 else "start"
    place = down(orders[best])
    is_free_below = not 0 <= down(model) - place < 34
    drawing.text(
        across(best),
        place + (19 if is_free_below else -13),
        f"best: {figures.bits(orders[best])}",
        "label k-markov halo",
        anchor,
    )
    drawing.text((left + right) / 2, bottom + 34, "order: bases looked back", "tick", "middle")
    return drawing


def calibration(bins: list[CalibrationBin], error: float) -> Markup:
    """Accuracy against confidence; area of a point by its tokens."""
    said = f"Mean distance from the diagonal: {figures.percent(error, 2)}. " + " ".join(
        f"Given {figures.percent(one.mean_confidence)}, right {figures.percent(one.accuracy)}." for one in bins
    )
    title = "Calibration: how often the likeliest token is right, by how sure the model was"
    return both_sizes("calibration", title, said, lambda width: _calibration(bins, width), "square")


def _calibration(bins: list[CalibrationBin], width: float) -> Drawing:
    height, left, top = 320, 46, 12
    plot = min(width - left - 16, height - top - 40)
    drawing = Drawing(left + plot + 24, height)
    right, bottom = left + plot, top + plot
    reached = max([0.1, *(max(one.mean_confidence, one.accuracy) for one in bins)])
    limit = next(limit for limit in (0.1, 0.2, 0.5, 1.0) if reached <= limit or limit == 1.0)
    across, down = Axis(0, limit, left, right), Axis(0, limit, bottom, top)
    for tick in down.ticks(5):
        drawing.line(left, down(tick), right, down(tick), "grid")
        drawing.text(left - 6, down(tick) + 4, f"{100 * tick:g} %", "tick", "end")
        drawing.text(across(tick), bottom + 17, f"{100 * tick:g} %", "tick", "middle")
    drawing.line(left, bottom, right, top, "diagonal")
    drawing.text(across(0.68 * limit), down(0.8 * limit), "too modest", "tick halo", "end")
    drawing.text(across(0.7 * limit), down(0.42 * limit), "too sure", "tick halo", "start")
    drawing.polyline([(across(one.mean_confidence), down(one.accuracy)) for one in bins], "thin k-model")
    most = max((one.tokens for one in bins), default=1)
    for one in bins:
        radius = 2.5 + 7 * (one.tokens / most) ** 0.5
        drawing.circle(across(one.mean_confidence), down(one.accuracy), radius, "bubble k-model")
    drawing.text((left + right) / 2, bottom + 35, "how sure the model was", "tick", "middle")
    return drawing


def leakage_histogram(leakage: Leakage) -> Markup:
    """Windows by the share of their k-mers that stands in the training part."""
    counts = leakage.kmer_share_histogram
    said = " ".join(
        f"{10 * index} to {10 * index + 10} %: {figures.plural(number, 'window')}."
        for index, number in enumerate(counts)
    )
    title = "Held-out windows by the share of their k-mers that stands in the training part"
    return both_sizes("leakage", title, said, lambda width: _histogram(counts, width))


def _histogram(counts: list[int], width: float) -> Drawing:
    height, left, right, top = 210, 2, width - 2, 24
    bottom = height - 40
    drawing = Drawing(width, height)
    slot = (right - left) / max(len(counts), 1)
    up = Axis(0, max([1, *counts]), bottom, top)
    drawing.line(left, bottom, right, bottom, "axis")
    for index, number in enumerate(counts):
        x = left + index * slot
        hit = "k-hit" if index >= len(counts) / 2 else "k-clean"
        # A single window among many must still be seen.
        bar = max(bottom - up(number), 2) if number else 0
        drawing.rectangle(x + 1.5, bottom - bar, slot - 3, bar, f"column {hit}")
        drawing.text(x + slot / 2, bottom - bar - 5, figures.short(number), "tick", "middle")
        if index % (2 if width == NARROW else 1) == 0:
            drawing.text(x, bottom + 17, f"{10 * index}", "tick", "start" if index == 0 else "middle")
    drawing.text(right, bottom + 17, "100 %", "tick", "end")
    words = "share of a window's k-mers found in training"
    drawing.text((left + right) / 2, bottom + 35, words, "tick", "middle")
    return drawing
