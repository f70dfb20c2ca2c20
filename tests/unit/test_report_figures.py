"""What the report is written and drawn with: figures in words, command lines, axes, labels."""

import pytest

from primase.report import figures
from primase.report.drawing import Axis, decimals_of, spread
from primase.report.page import command_line


def test_command_lines():
    assert command_line(["/a/b/__main__.py", "pretrain", "my genome.fa"]) == "primase pretrain 'my genome.fa'"
    assert command_line(["/home/me/train.py", "x"]) == "train.py x"
    assert [command_line(strange) for strange in (None, "primase", ["primase"], ["primase", 3])] == [None] * 4


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (figures.bits(1.88644), "1.8864"),
        (figures.millibits(-1161.52), "−1,161.5"),  # noqa: RUF001
        (figures.count(1234567.4), "1,234,567"),
        (figures.short(4_896_000), "4.9 M"),
        (figures.short(999_700), "1 M"),
        (figures.short(999_400), "999 k"),
        (figures.short(-999.5), "-1 k"),
        (figures.percent(0.0), "0.0 %"),
        (figures.percent(0.0001), "under 0.1 %"),
        (figures.percent(0.9999), "over 99.9 %"),
        (figures.percent(1.0), "100.0 %"),
        (figures.duration(89), "89 s"),
        (figures.duration(582), "9.7 min"),
        (figures.duration(400_000), "5 days"),
        (figures.power(7e-10), "7.0·10⁻¹⁰"),
        (figures.power(0.013), "0.0130"),
        (figures.power(0), "0"),
        (figures.plural(1, "base"), "1 base"),
        (figures.listed(["a", "b", "c"]), "a, b and c"),
    ],
)
def test_figures(written, expected):
    assert written.replace(figures.THIN, " ") == expected


def test_axes_have_round_numbers():
    assert Axis(1.83, 2.08, 0, 1).ticks(5) == [1.85, 1.9, 1.95, 2.0, 2.05]
    assert Axis(0, 4_896_000, 0, 1).ticks(5) == [0, 1e6, 2e6, 3e6, 4e6]
    assert [decimals_of(ticks) for ticks in ([1.95], [2.0], [1.85, 1.9], [0, 1e6], [])] == [2, 0, 2, 0, 0]
    assert Axis(2.0, 1.8, 0, 100)(1.9) == pytest.approx(50)
    assert Axis(2.0, 1.8, 0, 100).clipped(2.5) == pytest.approx(0)


def test_labels_are_moved_apart_and_keep_their_order():
    assert spread([10, 11, 50], 14, 0, 100) == [10, 24, 50]
    assert spread([99, 98], 14, 0, 100) == [100, 86]
    places = spread([5, 5, 5, 5], 14, 0, 56)
    assert sorted(b - a for a, b in zip(sorted(places), sorted(places)[1:], strict=False)) == [14, 14, 14]
