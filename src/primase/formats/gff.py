"""GFF3 and GTF, line by line: nine columns separated by tabs, 1-based closed places.

Follows the GFF3 specification 1.26 (Sequence Ontology) and GTF 2.2 as Ensembl, GENCODE and UCSC write it.
"""

from collections import Counter
from collections.abc import Iterable
from functools import cache
from urllib.parse import unquote_to_bytes

from primase.errors import InputError
from primase.formats.genes import GeneModels
from primase.formats.names import name_of
from primase.formats.segments import MAX_DIGITS, Intervals


def read_gff(lines: Iterable[tuple[int, bytes]], source: str, *, gtf: bool) -> dict[str, list[Intervals]]:
    """For each record the layers coding, exon and span of genes, from numbered lines without their ends.

    Raises InputError, with the line, for what is no feature, and where no feature is a gene or a part of one.
    """
    models: dict[bytes, GeneModels] = {}
    others: Counter[bytes] = Counter()
    found = False
    for number, line in lines:
        if line.startswith(b"#"):
            if line.startswith(b"##FASTA"):
                break
            continue
        if line.startswith(b">"):
            break
        columns = line.split(b"\t", 8)
        if len(columns) < 9:
            raise InputError(f"{source}: line {number}: {_too_few(line, len(columns))}")
        start, end = _place(columns[3], columns[4], number, source)
        kind = kind_of(columns[2])
        model = models.get(columns[0]) or models.setdefault(columns[0], GeneModels())
        if kind is None:
            others[columns[2]] += 1
            continue
        found = True
        if kind == "gene":
            name, parent = (_gtf_names if gtf else _gff_names)(columns)
            model.add_gene(start, end, columns[6], name, parent)
        else:
            owners = _gtf_owners(columns[8]) if gtf else _gff_owners(columns[8])
            model.add_part(start, end, columns[6], owners, coding=kind == "coding")
    if not found:
        raise InputError(f"{source}: {_nothing_found(others)}")
    return _by_record(models, gtf)


@cache
def kind_of(feature: bytes) -> str | None:
    """What a feature of this type says: coding, exon, gene (transcripts too), or None where it says nothing here.

    The many types of genes and transcripts (ncRNA_gene, pseudogenic_transcript, V_gene_segment, tRNA, ...) are told
    by how they end. A stop codon is coding in both formats, though GTF leaves it out of the CDS. CDS of pseudogenes
    are coding where the file has them.
    """
    feature = feature.lower()
    if feature in (b"cds", b"start_codon", b"stop_codon"):
        return "coding"
    if feature.endswith((b"exon", b"utr")):
        return "exon"
    if feature.endswith((b"gene", b"gene_segment", b"transcript", b"transcript_variant", b"rna")):
        return "gene"
    return None


def _by_record(models: dict[bytes, GeneModels], gtf: bool) -> dict[str, list[Intervals]]:
    layers: dict[str, list[Intervals]] = {}
    for raw_name, model in models.items():
        # Only GFF3 has escapes.
        name = name_of(raw_name if gtf else unquote_to_bytes(raw_name))
        if name not in layers:
            layers[name] = model.layers()
        else:
            for layer, more in zip(layers[name], model.layers(), strict=True):
                layer.extend(more)
    return layers


def _place(first: bytes, last: bytes, number: int, source: str) -> tuple[int, int]:
    """0-based start, and end. Both may be below 1: genes reach beyond a record that was cut out of a chromosome."""
    for name, text in (("start", first), ("end", last)):
        if not text.removeprefix(b"-").isdigit() or len(text) > MAX_DIGITS:
            shown = repr(text[:40].decode("utf-8", errors="backslashreplace"))
            raise InputError(
                f"{source}: line {number}: the {name} {shown} is no base number; write a whole number from 1"
            )
    start, end = int(first), int(last)
    if start == 0:
        raise InputError(
            f"{source}: line {number}: the start is 0, and GFF3 and GTF count bases from 1; add 1 to all starts, or "
            "write BED"
        )
    if start > end:
        raise InputError(
            f"{source}: line {number}: the start {start} is behind the end {end}; swap them, and write the strand in "
            "column 7"
        )
    return start - 1, end


def _gff_names(columns: list[bytes]) -> tuple[bytes | None, bytes | None]:
    """Name and parent of a gene or a transcript."""
    parents = _gff_value(columns[8], b"Parent=")
    return _gff_value(columns[8], b"ID="), parents.split(b",")[0] if parents else None


def _gff_owners(attributes: bytes) -> list[bytes]:
    parents = _gff_value(attributes, b"Parent=")
    return parents.split(b",") if parents else []


def _gff_value(attributes: bytes, key: bytes) -> bytes | None:
    return _value(attributes, key).strip() or None


def _gtf_names(columns: list[bytes]) -> tuple[bytes | None, bytes | None]:
    gene = _gtf_value(columns[8], b"gene_id ")
    # Old GENCODE files give genes a transcript_id too.
    transcript = None if columns[2].lower() == b"gene" else _gtf_value(columns[8], b"transcript_id ")
    return (transcript, gene) if transcript else (gene, None)


def _gtf_owners(attributes: bytes) -> list[bytes]:
    owner = _gtf_value(attributes, b"transcript_id ") or _gtf_value(attributes, b"gene_id ")
    return [owner] if owner else []


def _gtf_value(attributes: bytes, key: bytes) -> bytes | None:
    return _value(attributes, key).strip(b' "') or None


def _value(attributes: bytes, key: bytes) -> bytes:
    """What stands between `key` and the next semicolon; a longer key that ends alike does not count."""
    at = attributes.find(key)
    while at > 0 and attributes[at - 1] not in b"; ":
        at = attributes.find(key, at + 1)
    if at < 0:
        return b""
    end = attributes.find(b";", at)
    return attributes[at + len(key) : end if end >= 0 else None]


def _too_few(line: bytes, columns: int) -> str:
    if b"\x00" in line:
        return "a byte 0x00; the file is damaged, binary or not plain text"
    if columns == 1 and len(line.split()) >= 8:
        return "columns are separated by blanks; GFF3 and GTF separate them by tabs"
    return f"{columns} column{'s' * (columns > 1)} where GFF3 and GTF have 9; complete the line or remove it"


def _nothing_found(others: Counter[bytes]) -> str:
    if not others:
        return "no features; give a file that has some"
    types = ", ".join(type_.decode("utf-8", errors="backslashreplace")[:40] for type_, _ in others.most_common(5))
    return (
        f"none of its {others.total():,} features is a gene, transcript, exon or CDS (there are: {types}); for other "
        "classes give a BED file with names"
    )
