"""Names of records from the user's files, as the lines of a summary show them."""

from collections.abc import Iterable, Mapping

from primase.safe_text import printable

SHOWN = 5


def few(names: Iterable[str]) -> str:
    """The first names, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(map(printable, names[:SHOWN])) + more


def other_names(theirs_and_ours: Mapping[str, str]) -> str:
    """Of records that the genome has by another name: 1 = chr1."""
    return few(f"{theirs} = {ours}" for theirs, ours in theirs_and_ours.items())
