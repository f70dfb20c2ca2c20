"""Numbers and words as a reader sees them: one form for each unit."""

import math

MINUS = "\N{MINUS SIGN}"
"""As wide as a plus."""
THIN = "\N{NARROW NO-BREAK SPACE}"


def bits(value: float) -> str:
    """Bits per base: four decimals."""
    return f"{value:.4f}".replace("-", MINUS)


def millibits(value: float) -> str:
    """With its sign, one decimal."""
    return f"{value:+,.1f}".replace("-", MINUS)


def count(value: float) -> str:
    return f"{round(value):,}"


def short(value: float) -> str:
    """A count for an axis: 1,200 is 1.2 k, 3,400,000 is 3.4 M."""
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if round(abs(value) / limit, 3) >= 1:  # what three digits round up to a unit is written in it
            return f"{value / limit:.3g}{THIN}{unit}"
    return f"{value:.3g}"


def percent(share: float, decimals: int = 1) -> str:
    """A share of 0 to 1. What is neither none nor all is never rounded to it."""
    smallest = 10**-decimals / 100
    if 0 < share < smallest:
        return f"under {100 * smallest:g}{THIN}%"
    if 1 - smallest < share < 1:
        return f"over {100 * (1 - smallest):g}{THIN}%"
    return f"{100 * share:.{decimals}f}{THIN}%"


def plural(number: float, one: str, many: str | None = None) -> str:
    """'1 window', '3,000 windows'."""
    return f"{count(number)} {one if number == 1 else many or one + 's'}"


def duration(seconds: float) -> str:
    """'42 s', '7 min', '3.5 h', '12 days'."""
    for limit, unit, name in ((90, 1, "s"), (5400, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            digits = 0 if seconds >= 10 * unit or unit == 1 else 1
            return f"{seconds / unit:.{digits}f}{THIN}{name}"
    return f"{seconds / 86_400:.0f} days"


def size(number: float) -> str:
    """Bytes: '12.3 MB'."""
    for limit, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if number >= limit:
            return f"{number / limit:.1f}{THIN}{unit}"
    return f"{number:.0f}{THIN}bytes"


def power(value: float) -> str:
    """Any positive figure in a few signs: 0.0120, 7.0·10⁻¹⁰."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if 1e-3 <= abs(value) < 1e5:
        return f"{value:#.3g}".removesuffix(".")
    mantissa, exponent = f"{value:.1e}".split("e")
    raised = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{mantissa}·10{raised}"


def listed(words: list[str], joint: str = "and") -> str:
    """'a, b and c'."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {joint} {words[-1]}" if words else ""
