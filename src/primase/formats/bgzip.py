"""Writing bytes to a file, compressed in blocks where its suffix says so (bgzip; Li 2011), which tabix can index."""

import errno
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO

from primase.whole_files import written_whole

GZIP_SUFFIXES = (".gz", ".bgz")


def no_space(file: Path) -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))


def open_to_write(file: Path) -> "BinaryIO | BgzipFile":
    """A file to write bytes to; bgzip where it ends in .gz or .bgz."""
    return BgzipFile(file) if file.suffix in GZIP_SUFFIXES else open(file, "wb")


def write_output(file: Path, content: bytes) -> None:
    """Write `file`, bgzip where it ends in .gz or .bgz; nothing is left of it, or the old one, unless all went well."""
    with written_whole(file) as partial, closing(open_to_write(partial)) as out:
        out.write(content)


class BgzipFile:
    """htslib's, with a reason where it cannot write: on a full disk it gives none."""

    def __init__(self, file: Path) -> None:
        import pysam

        self._file = file
        file.open("wb").close()  # htslib ends the process where it cannot open its file
        self._out = pysam.BGZFile(str(file), "wb")

    def write(self, content: bytes) -> None:
        with self._reason():
            self._out.write(content)

    def close(self) -> None:
        with self._reason():
            self._out.close()

    @contextmanager
    def _reason(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise error if error.errno else no_space(self._file) from None
