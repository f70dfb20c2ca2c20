"""What a folder held when it was written, file by file, and which of its files is no longer that.

`files` in a marker is a pair of mappings: `bytes_of_file` and `sha256_of_file`, by the path of a file below the folder.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

SIZES, CHECKSUMS = "bytes_of_file", "sha256_of_file"


def sha256(file: Path) -> str:
    """The checksum of a file in hexadecimal, in constant memory."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def files_of(folder: Path, known: Mapping[str, str] | None = None) -> dict[str, dict]:
    """Sizes and checksums of all files below `folder`. `known` are checksums that need not be computed again."""
    files = {str(file.relative_to(folder)): file for file in sorted(folder.rglob("*")) if file.is_file()}
    known = known or {}
    return {
        SIZES: {name: file.stat().st_size for name, file in files.items()},
        CHECKSUMS: {name: known.get(name) or sha256(file) for name, file in files.items()},
    }


def is_sound(marker: Mapping) -> bool:
    """Whether sizes and checksums, where there are any, are of the kind that `files_of` writes."""
    for part, kind in ((SIZES, int), (CHECKSUMS, str)):
        noted = marker.get(part, {})
        if not isinstance(noted, dict) or not all(isinstance(value, kind) for value in noted.values()):
            return False
    return True


def name_outside(marker: Mapping) -> str | None:
    """The first name in a sound marker that leads out of its folder, or None."""
    names = [*marker.get(SIZES, {}), *marker.get(CHECKSUMS, {})]
    return next((name for name in names if Path(name).is_absolute() or ".." in Path(name).parts or "\0" in name), None)


def wrong_size(folder: Path, marker: Mapping) -> str | None:
    """The first file that is missing or of another length than `marker` says, in words; None where all are there.

    Takes no time: nothing is read. Markers of an older Primase may know no sizes.
    """
    for name, size in marker.get(SIZES, {}).items():
        try:
            found = (folder / name).stat().st_size
        except OSError:
            return f"{folder / name} is missing"
        if found != size:
            return f"{folder / name} has {found:,} bytes, not {size:,}"
    return None


def damage(folder: Path, marker: Mapping) -> str | None:
    """The first file that is not what it was when `marker` was written, in words; None where all are.

    Sizes first, then checksums, which reads every file. Markers of an older Primase may know no checksums.
    """
    found = wrong_size(folder, marker)
    if found:
        return found
    for name, checksum in marker.get(CHECKSUMS, {}).items():
        try:
            now = sha256(folder / name)
        except OSError as error:
            return f"{folder / name} cannot be read ({error.strerror})"
        if now != checksum:
            return f"{folder / name} has changed since it was written (SHA-256 {now[:12]}, not {checksum[:12]})"
    return None
