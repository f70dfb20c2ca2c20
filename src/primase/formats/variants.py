"""VCF and BCF: records in, and out again with further INFO fields, every other byte of a record as it was.

Text is read and written as text: a library that parses every field would also rewrite them. BCF is turned into text by
htslib. Format: VCF 4.3 specification, hts-specs. Positions count from 1 in the file, and from 0 in `VariantRecord`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from primase.errors import InputError
from primase.formats.bgzip import open_to_write
from primase.formats.names import name_of
from primase.formats.opening import open_stream, require_file

_COLUMNS_LINE = b"#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"
_BCF_MAGIC = b"BCF\x02"

_FARTHEST = 2**62
"""A position that is larger is taken for this one: past the end of any contig, and a table can hold it."""


@dataclass(frozen=True, slots=True)
class VariantRecord:
    """One line of a VCF."""

    number: int
    """From 1, the header left out."""
    columns: list[str]
    """All columns, as in the file."""
    start: int
    """0-based place of the first base of REF; -1 for the telomere that VCF calls position 0."""

    @property
    def contig(self) -> str:
        """As the genome has it, if it has it; bytes that are no UTF-8 are spelled out."""
        return name_of(self.columns[0].encode("utf-8", "surrogateescape"))

    @property
    def name(self) -> str:
        return self.columns[2]

    @property
    def ref(self) -> str:
        return self.columns[3]

    @property
    def alts(self) -> list[str]:
        """The alternatives; none where the file has a dot."""
        return [] if self.columns[4] == "." else self.columns[4].split(",")


@dataclass(frozen=True)
class InfoField:
    """A field for the INFO column, as its header line says."""

    name: str
    number: str
    type: str
    description: str

    @property
    def header_line(self) -> str:
        description = self.description.replace("\\", "\\\\").replace('"', '\\"')
        return f'##INFO=<ID={self.name},Number={self.number},Type={self.type},Description="{description}">'


class VariantFile:
    """A VCF (plain, gzip, bgzip) or BCF; its records can be read several times."""

    def __init__(self, file: str | Path) -> None:
        """Raises MissingFileError where nothing is there, InputError where it is no VCF."""
        self.file = Path(file)
        require_file(self.file)
        with open_stream(self.file) as stream:
            self._is_bcf = stream.peek(len(_BCF_MAGIC)).startswith(_BCF_MAGIC)
        self.header: list[str] = []
        lines = self._lines()
        for line in lines:
            if not line.startswith("#"):
                break
            self.header.append(line)
            if line.encode("utf-8", "surrogateescape").startswith(_COLUMNS_LINE):
                break
        if not self.header or not self.header[-1].encode("utf-8", "surrogateescape").startswith(_COLUMNS_LINE):
            raise InputError(
                f"{self.file}: not a VCF: no line #CHROM, POS, ID, REF, ALT, QUAL, FILTER, INFO with tabs in between; "
                "add the header, or write the variants as VCF"
            )
        if not self.header[0].startswith("##fileformat=VCF"):
            raise InputError(f"{self.file}: not a VCF: the first line is not ##fileformat=VCF...; add it")

    def records(self) -> Iterator[VariantRecord]:
        """The records in order. Raises InputError, with the record, for a line that is none."""
        width = self.header[-1].count("\t") + 1
        number = 0
        for line in self._lines():
            if not line or line.startswith("#"):
                continue
            number += 1
            if "\0" in line:  # htslib would take it for the end of the line
                raise InputError(f"{self.file}: record {number}: a NUL character in it; write the file again")
            columns = line.split("\t", 8)  # what is behind INFO is copied as it is, be it 200,000 samples
            found = line.count("\t") + 1
            if found != width:
                raise InputError(
                    f"{self.file}: record {number}: {found} columns where the header has {width}; correct the "
                    "line (columns are separated by tabs)"
                )
            if not (columns[1].isascii() and columns[1].isdigit()):
                raise InputError(f"{self.file}: record {number}: position {columns[1][:40]!r} is no number; correct it")
            if not (columns[3].isascii() and columns[3].isalpha()):
                raise InputError(f"{self.file}: record {number}: REF {columns[3][:40]!r} is no bases; correct it")
            position = _FARTHEST if len(columns[1]) > 18 else int(columns[1])
            yield VariantRecord(number, columns, position - 1)

    def _lines(self) -> Iterator[str]:
        if self._is_bcf:
            yield from self._bcf_lines()
            return
        with open_stream(self.file) as stream:
            for line in stream:
                # Bytes that are no UTF-8 come back as they were.
                yield line.rstrip(b"\r\n").decode("utf-8", "surrogateescape")

    def _bcf_lines(self) -> Iterator[str]:
        with _htslib(self.file) as pysam, pysam.VariantFile(str(self.file)) as records:
            yield from str(records.header).rstrip("\n").split("\n")
            for record in records:
                yield str(record).rstrip("\n")


@contextmanager
def _htslib(file: Path) -> Iterator:
    """pysam, quiet; what it has against a file becomes an InputError."""
    import pysam

    before = pysam.set_verbosity(0)
    try:
        yield pysam
    except Exception as error:  # of htslib and of pysam, a dozen types
        raise InputError(
            f"{file}: cannot be read by htslib ({' '.join(str(error).split())[:200]}); write it again"
        ) from None
    finally:
        pysam.set_verbosity(before)


class VariantWriter:
    """Writes records with further INFO fields. Use `writing_variants`."""

    def __init__(self, file: Path, header: Sequence[str], fields: Sequence[InfoField], replaced: Sequence[str]) -> None:
        self._names = {field.name for field in fields} | set(replaced)
        self._out = open_to_write(file)
        self.is_sorted, self._last, self._seen = True, ("", -1), set()
        ours = tuple(f"##INFO=<ID={name}," for name in self._names)
        for line in header[:-1]:
            if not line.startswith(ours):
                self._write(line)
        for line in (*(field.header_line for field in fields), header[-1]):
            self._write(line)

    def write(self, record: VariantRecord, values: Mapping[str, str | None]) -> None:
        """The record with `values` of INFO fields, None for a flag; fields of these names that were there give way."""
        kept = [entry for entry in record.columns[7].split(";") if entry.split("=", 1)[0] not in self._names]
        kept = [entry for entry in kept if entry not in ("", ".")]
        added = [name if value is None else f"{name}={value}" for name, value in values.items()]
        columns = [*record.columns[:7], ";".join([*kept, *added]) or ".", *record.columns[8:]]
        self._write("\t".join(columns))
        contig, start = self._last
        if record.contig != contig:
            self.is_sorted &= record.contig not in self._seen
            self._seen.add(record.contig)
        elif record.start < start:
            self.is_sorted = False
        self._last = (record.contig, record.start)

    def close(self) -> None:
        self._out.close()

    def _write(self, line: str) -> None:
        self._out.write(line.encode("utf-8", "surrogateescape") + b"\n")


@contextmanager
def writing_variants(
    file: Path, header: Sequence[str], fields: Sequence[InfoField], replaced: Sequence[str] = ()
) -> Iterator[VariantWriter]:
    """A writer to `file`: bgzip where it ends in .gz or .bgz, else text.

    INFO fields of the names of `fields` that are there already give way, and so do those of the names `replaced`.
    """
    writer = VariantWriter(file, header, fields, replaced)
    try:
        yield writer
    finally:
        writer.close()


def index_variants(file: Path) -> Path | None:
    """Index a sorted bgzip VCF for tabix: the .tbi file, or the .csi file where a record ends past the 2^29 bases that
    a .tbi reaches; None where htslib can make neither.
    """
    import pysam

    before = pysam.set_verbosity(0)
    try:
        for suffix in (".tbi", ".csi"):
            index = file.with_name(f"{file.name}{suffix}")
            try:
                pysam.tabix_index(str(file), preset="vcf", force=True, csi=suffix == ".csi")
                return index
            except OSError:
                index.unlink(missing_ok=True)
        return None
    finally:
        pysam.set_verbosity(before)


def info_values(values: Iterable[float | None], digits: int = 5) -> str:
    """Numbers for an INFO field, a dot where there is none."""
    return ",".join("." if value is None else f"{value:.{digits}g}" for value in values)
