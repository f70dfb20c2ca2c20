"""What a disk refuses while a command writes, as one line that names the output and the remedy.

Only conditions that a user can mend are named here; any other error of the operating system stays a traceback.
"""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from primase.errors import PrimaseError

_FREE_SPACE = "free some space, or choose an output on another disk"
_REMEDIES = {
    errno.ENOSPC: _FREE_SPACE,
    errno.EDQUOT: _FREE_SPACE,
    errno.EFBIG: _FREE_SPACE,
    errno.EACCES: "change the permissions, or choose another output",
    errno.EPERM: "change the permissions, or choose another output",
    errno.EROFS: "choose an output on a disk that can be written to",
    errno.ENOTDIR: "a folder on the way to it is a file; choose another output",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOENT: "nothing can be made there; choose another output",
    errno.EIO: "the disk is failing or was unplugged; choose an output on another one",
}

# A full disk, without an errno: in the words of tokenizers and safetensors, and in those of numpy.
_FULL_DISK = re.compile(rf"{os.strerror(errno.ENOSPC)}|^\d+ requested and \d+ written$")


@contextmanager
def writing(output: Path) -> Iterator[None]:
    """Raises PrimaseError in place of an error by which the disk refuses `output`; other errors pass."""
    try:
        yield
    except PrimaseError:
        raise
    except Exception as error:
        number = _number(error)
        if isinstance(error, FileNotFoundError) and error.filename in map(str, (output, *output.parents)):
            number = errno.ENOENT  # the system has folders in which nothing can be made
        if number is None:
            raise
        place = getattr(error, "filename", None)
        if not place or ".partial" in str(place):  # hidden, and no concern of the user's
            place = output
        raise PrimaseError(f"{place}: {os.strerror(number)}; {_REMEDIES[number]}") from error


def _number(error: Exception) -> int | None:
    """The errno among those with a remedy that the error stands for, or None."""
    if isinstance(error, FileExistsError) and error.filename and not Path(error.filename).is_dir():
        return errno.ENOTDIR  # so says the making of a folder below a file
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno if error.errno in _REMEDIES and error.errno != errno.ENOENT else None
    return errno.ENOSPC if _FULL_DISK.search(str(error)) else None
