"""The .prm file: a magic number, the length of the header, the header as JSON, side stream, payload, checksum.

offset 0   8 bytes   magic
       8   uint32    version of the format, little-endian
      12   uint32    bytes of the header
      16   header    JSON, UTF-8
           side      everything but the bases (see formats.fasta_layout)
           payload   the range coder's uint32 words, little-endian
           32 bytes  SHA-256 of all that stands before
"""

import hashlib
import struct
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from primase.errors import InputError, MissingFileError

MAGIC = b"PRIMASE\n"
VERSION = 1
_START = struct.Struct("<8sII")
_CHECKSUM_BYTES = 32
_WORD_BYTES = 4


class Header(BaseModel):
    """What the decoder must know, and what must be the same on its machine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    primase: str
    machine: dict[str, str]
    threads: int
    model_sha256: str
    tokenizer_sha256: str
    context_tokens: int
    stride_fraction: float
    bases: int
    text_bytes: int
    text_sha256: str
    token_counts: list[int]
    """Of each lane."""
    block_checks: list[int]
    """CRC-32 of the tokens of each block, so that a decoder that goes astray is stopped early."""
    expected_bits: float
    """Sum of -log2 of the probabilities of all tokens."""
    side_bytes: int
    payload_bytes: int


@dataclass(frozen=True)
class Container:
    """A .prm file in memory."""

    header: Header
    side: bytes
    payload: bytes

    def to_bytes(self) -> bytes:
        header = self.header.model_dump_json().encode()
        content = _START.pack(MAGIC, VERSION, len(header)) + header + self.side + self.payload
        return content + hashlib.sha256(content).digest()


def read_container(file: str | Path) -> Container:
    """Raises MissingFileError where nothing is there, InputError for anything but a whole .prm file of this version."""
    content = _read(Path(file))
    if not content.startswith(MAGIC[: max(1, len(content))]):
        raise InputError(f"{file}: not a file of primase compress; give a .prm file")
    if len(content) < _START.size + _CHECKSUM_BYTES:
        raise InputError(f"{file}: truncated after {len(content):,} bytes; copy it again")
    _, version, header_bytes = _START.unpack_from(content)
    if version > VERSION:
        raise InputError(
            f"{file}: format version {version}, and this Primase reads up to {VERSION}; update Primase to decompress it"
        )
    side_start = _START.size + header_bytes
    try:
        header = Header.model_validate_json(content[_START.size : side_start])
    except ValidationError:
        raise InputError(f"{file}: the header is damaged or cut off; copy the file again") from None
    payload_start = side_start + header.side_bytes
    end = payload_start + header.payload_bytes
    if len(content) != end + _CHECKSUM_BYTES:
        raise InputError(f"{file}: {len(content):,} bytes instead of {end + _CHECKSUM_BYTES:,}; copy it again")
    if hashlib.sha256(content[:end]).digest() != content[end:] or header.payload_bytes % _WORD_BYTES:
        raise InputError(f"{file}: damaged (its checksum does not agree); copy it again")
    return Container(header, content[side_start:payload_start], content[payload_start:end])


def _read(file: Path) -> bytes:
    if not file.exists():
        raise MissingFileError(f"{file}: no such file; check the path")
    if not file.is_file():
        raise InputError(f"{file}: not a file; give a .prm file")
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); check its permissions and the disk") from None
