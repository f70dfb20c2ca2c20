"""Names of records as the user's files have them, made fit for every file and terminal that they may end up in."""

from primase.safe_text import printable


def name_of(raw: bytes | str) -> str:
    """Bytes that are no UTF-8, and control characters, are spelled out: every one shows, and two names stay two."""
    return printable(raw.decode("utf-8", errors="backslashreplace") if isinstance(raw, bytes) else raw)
