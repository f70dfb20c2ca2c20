"""What is done to a good file: to its bytes, its lines, or a value of its JSON. All chance comes from one generator."""

import gzip
import json
import random
import re
from collections.abc import Callable
from typing import Any

HOSTILE_TEXTS = (
    "", " ", ".", "..", "../../etc/passwd", "/etc/passwd", "<script>alert(1)</script>", "a\x00b", "\x1b[31mred\x1b[0m",
    "NaN", "inf", "-1", "0", "1e309", "99999999999999999999", "\u202egnp", "\U0001f600",
    "A" * 5000, "'; drop table", "%s%n", "chr1:1-", "~", "{}", "[]", "null", "\n", "\t",
)  # fmt: skip
HOSTILE_NUMBERS = (0, -1, 1, 2**31, 2**63, 2**64, 10**30, -(10**30), 0.5, -0.0, 1e308, float("inf"), float("nan"))
HOSTILE_VALUES = (*HOSTILE_NUMBERS, *HOSTILE_TEXTS, None, True, False, [], {}, [[]], [None], {"a": 1}, [1, 2, 3])

_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?")
_LONG_LINE_BYTES = 300_000

Damage = Callable[[random.Random, bytes], bytes]


def _flip_bits(chance: random.Random, data: bytes) -> bytes:
    content = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 8))):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    return bytes(content)


def _cut_off(chance: random.Random, data: bytes) -> bytes:
    return data[: chance.randrange(len(data))]


def _insert(chance: random.Random, data: bytes) -> bytes:
    place = chance.randrange(len(data) + 1)
    return data[:place] + chance.randbytes(chance.choice((1, 2, 7, 64))) + data[place:]


def _insert_text(chance: random.Random, data: bytes) -> bytes:
    place = chance.randrange(len(data) + 1)
    return data[:place] + chance.choice(HOSTILE_TEXTS).encode("utf-8", "replace") + data[place:]


def _remove(chance: random.Random, data: bytes) -> bytes:
    place = chance.randrange(len(data))
    return data[:place] + data[place + chance.choice((1, 2, 9, 100)) :]


def _repeat(chance: random.Random, data: bytes) -> bytes:
    place, size = chance.randrange(len(data)), chance.choice((1, 10, 100))
    return data[:place] + 2 * data[place : place + size] + data[place + size :]


def _nul(chance: random.Random, data: bytes) -> bytes:
    place = chance.randrange(len(data) + 1)
    return data[:place] + b"\x00" + data[place:]


def _no_utf8(chance: random.Random, data: bytes) -> bytes:
    place = chance.randrange(len(data) + 1)
    return data[:place] + chance.choice((b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\xf5")) + data[place:]


def _lines(change: Callable[[random.Random, list[bytes]], None]) -> Damage:
    def damage(chance: random.Random, data: bytes) -> bytes:
        lines = data.split(b"\n")
        change(chance, lines)
        return b"\n".join(lines)

    return damage


def _swap_lines(chance: random.Random, lines: list[bytes]) -> None:
    one, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]


def _drop_line(chance: random.Random, lines: list[bytes]) -> None:
    del lines[chance.randrange(len(lines))]


def _double_line(chance: random.Random, lines: list[bytes]) -> None:
    place = chance.randrange(len(lines))
    lines.insert(place, lines[place])


def _long_line(chance: random.Random, lines: list[bytes]) -> None:
    place = chance.randrange(len(lines))
    lines[place] += chance.choice((b"A", b" ", b"\t", b"x,")) * _LONG_LINE_BYTES


def _drop_column(chance: random.Random, lines: list[bytes]) -> None:
    delimiter = b"\t" if any(b"\t" in line for line in lines) else b","
    place, column = chance.randrange(len(lines)), chance.randrange(4)
    everywhere = chance.random() < 0.3
    for number, line in enumerate(lines):
        if everywhere or number == place:
            values = line.split(delimiter)
            lines[number] = delimiter.join(values[:column] + values[column + 1 :])


def _hostile_cell(chance: random.Random, lines: list[bytes]) -> None:
    delimiter = b"\t" if any(b"\t" in line for line in lines) else b","
    place = chance.randrange(len(lines))
    values = lines[place].split(delimiter)
    values[chance.randrange(len(values))] = str(chance.choice((*HOSTILE_TEXTS, *HOSTILE_NUMBERS))).encode()
    lines[place] = delimiter.join(values)


def _other_number(chance: random.Random, data: bytes) -> bytes:
    found = list(_NUMBER.finditer(data[:100_000]))
    if not found:
        return _insert(chance, data)
    number = chance.choice(found)
    return data[: number.start()] + str(chance.choice(HOSTILE_NUMBERS)).encode() + data[number.end() :]


def _other_line_ends(chance: random.Random, data: bytes) -> bytes:
    return data.replace(b"\n", chance.choice((b"\r\n", b"\r", b"\n\n", b"\n\r", b"\x0b")))


def _wrapped(chance: random.Random, data: bytes) -> bytes:
    """The whole as something else."""
    ways: tuple[Callable[[bytes], bytes], ...] = (
        lambda _: b"",
        lambda _: b"\n",
        lambda _: chance.randbytes(chance.choice((1, 16, 300))),
        lambda text: b"\xef\xbb\xbf" + text,
        lambda text: text.decode("utf-8", "replace").encode("utf-16"),
        lambda text: gzip.compress(text, mtime=0),
        lambda text: gzip.compress(gzip.compress(text, mtime=0), mtime=0),
        lambda text: text.lower(),
        lambda text: text + text,
        lambda text: b"\n" * 3 + text,
        lambda text: text.rstrip(b"\n"),
        lambda text: text.replace(b"\t", b" "),
        lambda text: text.replace(b",", b";"),
        lambda text: text + b'"',
    )
    return chance.choice(ways)(data)


BYTE_DAMAGES: tuple[Damage, ...] = (_flip_bits, _cut_off, _insert, _remove, _repeat, _nul)
TEXT_DAMAGES: tuple[Damage, ...] = (
    *BYTE_DAMAGES,
    _insert_text,
    _no_utf8,
    _other_number,
    _other_line_ends,
    _wrapped,
    *(_lines(change) for change in (_swap_lines, _drop_line, _double_line, _drop_column, _hostile_cell)),
    *(_lines(change) for change in (_hostile_cell, _drop_column)),
)


def damaged(chance: random.Random, data: bytes, damages: tuple[Damage, ...] = TEXT_DAMAGES) -> bytes:
    """The bytes after one to three of the damages; seldom with a line of 300,000 letters."""
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        if data:
            data = chance.choice(damages)(chance, data)
    if damages is TEXT_DAMAGES and chance.random() < 0.01:
        data = _lines(_long_line)(chance, data)
    return data


def damaged_json(chance: random.Random, data: bytes) -> bytes:
    """Another value, no value, or a value too many at some place of a JSON text; or damaged as any text is."""
    if chance.random() < 0.35:
        return damaged(chance, data)
    values = json.loads(data)
    place, key = _some_place(chance, values)
    if place is None:
        return json.dumps(chance.choice(HOSTILE_VALUES)).encode()
    what = chance.random()
    if what < 0.25:
        del place[key]
    elif what < 0.35 and isinstance(place, dict):
        place["unheard_of"] = chance.choice(HOSTILE_VALUES)
    else:
        place[key] = chance.choice(HOSTILE_VALUES)
    return json.dumps(values).encode()


def _some_place(chance: random.Random, values: Any) -> tuple[Any, Any]:
    """A container within `values`, and a key or number of it; None where there is none."""
    places: list[tuple[Any, Any]] = []
    waiting = [values]
    while waiting:
        one = waiting.pop()
        keys = list(one) if isinstance(one, dict) else range(min(len(one), 5)) if isinstance(one, list) else ()
        for key in keys:
            places.append((one, key))
            waiting.append(one[key])
    return chance.choice(places) if places else (None, None)
