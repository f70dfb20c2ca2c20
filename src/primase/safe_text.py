"""Text from outside on its way to a terminal, a log or a file: nothing that acts on a terminal, and no secret in it."""

import os
import re
from collections.abc import Iterable, Mapping

HIDDEN = "[secret]"

_SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|CREDENTIAL", re.IGNORECASE)
_SHORTEST_SECRET = 8
"""A variable with fewer letters, `false` for one, is no secret, and its letters stand in other words."""

_SECRETS = re.compile(
    r"\b(hf_[A-Za-z0-9]{8,}|api_org_[A-Za-z0-9]{8,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|sk-[\w-]{20,}"
    r"|AKIA[A-Z0-9]{16})"
)
_PASSWORD_IN_ADDRESS = re.compile(r"(?<=://)[^/\s@]+(?=@)")
_OPTION = re.compile(r"(?i)(?<=token=)\S+|(?<=password=)\S+|(?<=api_key=)\S+|(?<=secret=)\S+")


def printable(text: str) -> str:
    """What would move the cursor, colour the terminal, end the line or turn the writing round is spelled out."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def without_secrets(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """`text` without the values of variables such as HF_TOKEN, tokens of known services, and passwords in addresses."""
    values = {
        value
        for name, value in environment.items()
        if _SECRET_NAME.search(name) and len(value) >= _SHORTEST_SECRET and not os.path.exists(value)
    }
    for value in sorted(values, key=len, reverse=True):
        text = text.replace(value, HIDDEN)
    for pattern in (_SECRETS, _PASSWORD_IN_ADDRESS, _OPTION):
        text = pattern.sub(HIDDEN, text)
    return text


def command_without_secrets(arguments: Iterable[str]) -> list[str]:
    """A command line for a log, argument by argument; what follows an option named --token is one too."""
    safe: list[str] = []
    for argument in arguments:
        follows = bool(safe) and safe[-1].startswith("-") and "=" not in safe[-1] and _SECRET_NAME.search(safe[-1])
        safe.append(HIDDEN if follows else without_secrets(argument))
    return safe
