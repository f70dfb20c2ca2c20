"""The user's files, opened: decompressed where gzip, freed of byte order marks, every trouble explained.

The only place that knows gzip. Whatever is wrong with a file leaves here as an InputError.
"""

import gzip
import io
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from primase.errors import InputError, MissingFileError

_GZIP_MAGIC = b"\x1f\x8b"
_UNREADABLE_STARTS = {
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ": "compressed with xz",
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
    b"PK\x03\x04": "a zip archive",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_BUFFER_BYTES = 1 << 16


def require_file(file: Path) -> None:
    """Raises MissingFileError where nothing is there, and InputError for a folder, a pipe or a device."""
    with errors_explained(file):
        if not file.exists():
            raise MissingFileError(f"{file}: no such file; check the path")
        if file.is_dir():
            raise InputError(f"{file}: a folder; name the file in it")
        if not file.is_file():
            raise InputError(f"{file}: a pipe or a device; write its content to a file first")


def open_stream(file: Path) -> io.BufferedReader:
    """The content, decompressed if gzip and without a byte order mark; any trouble is an InputError."""
    stream = io.BufferedReader(_UserFile(file), _BUFFER_BYTES)
    try:
        start = stream.peek(len(_BYTE_ORDER_MARK))
        for magic, kind in _UNREADABLE_STARTS.items():
            if start.startswith(magic):
                raise InputError(f"{file}: {kind}; convert it to plain UTF-8 text, or to gzip of it")
        if start.startswith(_BYTE_ORDER_MARK):
            stream.read(len(_BYTE_ORDER_MARK))
    except BaseException:
        stream.close()
        raise
    return stream


def read_whole(file: Path) -> tuple[bytes, bool]:
    """Every byte of the content, a byte order mark too, decompressed where it is gzip, and whether it was."""
    with open_stream(file) as stream:  # for what it says of formats that cannot be read
        stream.peek(1)
    with io.BufferedReader(_UserFile(file), _BUFFER_BYTES) as stream:
        return stream.read(), stream.raw.is_gzip


@contextmanager
def open_seekable(file: Path) -> Iterator[BinaryIO]:
    """As `open_stream`, for a reader that jumps: what is compressed goes into a temporary file first."""
    with open_stream(file) as stream:
        if not stream.raw.is_gzip:
            stream.raw.file.seek(0)
            yield stream.raw.file
            return
        with tempfile.TemporaryFile() as copy:
            try:
                shutil.copyfileobj(stream, copy, _BUFFER_BYTES)
            except OSError as error:
                raise InputError(
                    f"{file}: cannot be decompressed ({error.strerror}); set TMPDIR to a roomier folder"
                ) from None
            copy.seek(0)
            yield copy


class _UserFile(io.RawIOBase):
    """Bytes of a file, decompressed where it is gzip (told by its first bytes, of any number of members)."""

    def __init__(self, file: Path) -> None:
        self._name = file
        with errors_explained(file):
            self.file = open(file, "rb", buffering=_BUFFER_BYTES)  # noqa: SIM115 (closed by close)
            self.is_gzip = self.file.peek(2).startswith(_GZIP_MAGIC)
        self._stream = gzip.GzipFile(fileobj=self.file, mode="rb") if self.is_gzip else self.file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        with errors_explained(self._name):
            return self._stream.readinto(buffer)

    def close(self) -> None:
        if not self.closed:
            self.file.close()
        super().close()


@contextmanager
def errors_explained(file: Path) -> Iterator[None]:
    """What the system or gzip has against a file becomes an InputError."""
    try:
        yield
    except InputError:
        raise
    except EOFError:
        raise InputError(f"{file}: truncated: the gzip data stop before their end; download or copy it again") from None
    except (zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{file}: corrupt gzip data ({error}); download or copy it again") from None
    except PermissionError:
        raise InputError(f"{file}: no permission to read it; change its mode or its owner") from None
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror or error}); check the path and the disk") from None
