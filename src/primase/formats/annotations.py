"""What each base of a record is: coding, exon, intron or intergenic (GFF3, GTF, BED12), or a class named in a BED file.

Formats are told by their content, plain or gzip; here is what they have in common, and the telling apart.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import numpy as np

from primase.errors import InputError
from primase.formats.bed import browser_line, read_bed
from primase.formats.bed import split as split_bed
from primase.formats.genes import CLASSES
from primase.formats.gff import read_gff
from primase.formats.opening import open_stream, require_file
from primase.formats.segments import Segments, paint

MAX_LINE_BYTES = 1 << 20

_WANTED = "give GFF3, GTF or BED, plain or gzip"
_STRANDS = (b"+", b"-", b".", b"?")
_GTF_ATTRIBUTE = re.compile(rb'(?:^|;)\s*(?:gene_id|transcript_id)\s+"?[^=]')
_NUMBER = re.compile(rb"-?[0-9]+")
_ALLELES = re.compile(rb"[ACGTNacgtn.,*<>]+")
_PREFIX = re.compile("chr", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Annotations:
    """Classes of bases by place. Where classes overlap, the first in `classes` wins; the last is what is left."""

    classes: tuple[str, ...]
    """Names; code i of `labels` means classes[i]."""
    _segments: dict[str, Segments] = field(repr=False)

    @property
    def records(self) -> tuple[str, ...]:
        """Names of the records in the file, in order of first appearance."""
        return tuple(self._segments)

    def has(self, record: str) -> bool:
        """Whether the file says anything about this record, be it under its name with or without chr."""
        return self._find(record) is not None

    def labels(self, record: str, start: int, length: int) -> np.ndarray:
        """uint8 [length]: class code of each base of the 0-based half-open stretch start:start+length of a record.

        A record is looked for under its own name, then with or without chr (1 and chr1, MT and chrM). All bases of
        a record that the file does not name are of the last class.
        """
        if start < 0 or length < 0:
            raise ValueError(f"start and length must not be negative, not {start} and {length}")
        segments = self._find(record)
        if segments is None:
            return np.full(length, len(self.classes) - 1, np.uint8)
        return segments.labels(start, length)

    def _find(self, record: str) -> Segments | None:
        return self._segments.get(record) or self._by_bare_name.get(bare_name(record))

    @cached_property
    def _by_bare_name(self) -> dict[str, Segments]:
        names: dict[str, Segments] = {}
        for name, segments in self._segments.items():
            names.setdefault(bare_name(name), segments)
        return names


def read_annotations(file: str | Path) -> Annotations:
    """Read a GFF3, GTF or BED file, plain or gzip.

    GFF3, GTF and BED12 give the classes coding (CDS of any transcript), exon (of any transcript, never coding: UTRs and
    RNA genes), intron (within a gene or a transcript, in no exon) and intergenic. A gene with no exon or CDS is one
    exon; see `primase.formats.genes` for what else is settled there. Shorter BED gives one class for each name of
    column 4, up to 8, or else the one class annotated; and elsewhere. Names go first that come first in the file.

    Raises MissingFileError where there is no file, and InputError, with the line, for what cannot be used.
    """
    file, source = Path(file), str(file)
    require_file(file)
    with open_stream(file) as stream:
        numbered = text_lines(stream, source)
        head = _head(numbered, source)
        lines = chain(head, numbered)
        format_ = _format(head, file)
        if format_ == "bed":
            classes, layers = read_bed(lines, source)
        else:
            classes, layers = CLASSES, read_gff(lines, source, gtf=format_ == "gtf")
    return Annotations(classes, {name: paint(record) for name, record in layers.items()})


def text_lines(stream: BinaryIO, source: str) -> Iterator[tuple[int, bytes]]:
    """Lines without their ends, numbered from 1; blank ones and those for the genome browser are left out."""
    for number, line in enumerate(iter(partial(stream.readline, MAX_LINE_BYTES), b""), 1):
        if len(line) == MAX_LINE_BYTES:
            raise InputError(
                f"{source}: line {number}: more than {MAX_LINE_BYTES:,} bytes; is this a text of lines? {_WANTED}"
            )
        line = line.rstrip(b"\r\n")
        if b"\r" in line:
            raise InputError(
                f"{source}: line {number}: lines end in a lone carriage return; convert them with tr '\\r' '\\n'"
            )
        if line and not line.isspace() and not browser_line(line):
            yield number, line


def _head(lines: Iterator[tuple[int, bytes]], source: str) -> list[tuple[int, bytes]]:
    """The lines up to the first that is no comment."""
    head: list[tuple[int, bytes]] = []
    for number, line in lines:
        head.append((number, line))
        if not line.startswith(b"#"):
            return head
    if head:
        _refuse_variants(head, source)
    raise InputError(f"{source}: the file is empty or has only comments; {_WANTED}")


def _format(head: list[tuple[int, bytes]], file: Path) -> str:
    """gff3, gtf or bed: by the first line that is no comment or, where that is broken, by the suffix."""
    number, line = head[-1]
    _refuse_variants(head, str(file))
    is_gff3 = any(header.startswith(b"##gff-version 3") for _, header in head)
    if line.startswith(b">"):
        if is_gff3:
            raise InputError(f"{file}: line {number}: no features before the sequences; give a file that has some")
        raise InputError(f"{file}: line {number}: sequences (FASTA) and no annotations; {_WANTED}")
    if any(byte < ord("\t") for byte in line):
        raise InputError(f"{file}: line {number}: not text; the file is damaged or binary; {_WANTED}")
    columns = split_bed(line)
    numbers = [bool(_NUMBER.fullmatch(column)) for column in columns[1:3]]
    if len(columns) >= 3 and all(numbers):
        return "bed"
    if len(columns) >= 8 and columns[6] in _STRANDS:
        return "gtf" if not is_gff3 and _GTF_ATTRIBUTE.search(columns[-1]) else "gff3"
    if len(columns) >= 3 and any(numbers):
        return "bed"
    suffixes = [suffix.lower() for suffix in file.suffixes]
    if is_gff3 or ".gff" in suffixes or ".gff3" in suffixes:
        return "gff3"
    if ".gtf" in suffixes:
        return "gtf"
    if ".bed" in suffixes:
        return "bed"
    raise InputError(f"{file}: line {number}: neither GFF3, GTF nor BED; {_WANTED}, with columns separated by tabs")


def _refuse_variants(head: list[tuple[int, bytes]], source: str) -> None:
    columns = head[-1][1].split(b"\t")
    if head[0][1].startswith(b"##fileformat=VCF") or (
        len(columns) >= 5
        and columns[1].isdigit()
        and not columns[2].isdigit()
        and all(_ALLELES.fullmatch(allele) for allele in columns[3:5])
    ):
        raise InputError(f"{source}: line {head[-1][0]}: variants (VCF) and no annotations; {_WANTED}")


def bare_name(record: str) -> str:
    """Without chr, and with one name for the mitochondrion; chr alone stays."""
    bare = record[3:] if len(record) > 3 and _PREFIX.match(record) else record
    return "MT" if bare == "M" else bare
