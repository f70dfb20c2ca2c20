"""The records of a VCF, a chunk at a time: scored, and written with their INFO fields and as rows of a table."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from primase import processes
from primase.formats import Genome, InfoField, VariantFile, VariantRecord
from primase.formats.names import name_of
from primase.formats.output_tables import TableWriter
from primase.formats.variants import VariantWriter, info_values
from primase.variants.alleles import NO_ROOM, REF_MISMATCH, Allele, alleles_of
from primase.variants.layout import Layout
from primase.variants.strands import StrandScorer

CHANGES_OF_A_CHUNK = 2048
RECORDS_OF_A_CHUNK = 8192
"""Records are held, and scored together, until there are so many changes with the random likes of indels, or so many
records."""

FEWEST_LIKES = 5
"""With fewer random likes their spread says nothing."""

MISMATCH = "PRIMASE_REF_MISMATCH"
INDEL_Z = "PRIMASE_INDEL_Z"
COLUMNS = {
    "record": str,
    "position": int,
    "id": str,
    "ref": str,
    "alt": str,
    "llr_nats": float,
    "llr_forward_nats": float,
    "llr_reverse_nats": float,
    "indel_z": float,
    "status": str,
}

Progress = Callable[[str, float], None]


Chunk = list[tuple[VariantRecord, list[Allele]]]


def info_fields(model: str, layout: Layout, token_scores: bool, likes: int) -> list[InfoField]:
    """The INFO fields, with what a reader of the file needs to know."""
    unit = "tokens" if token_scores else "bases"
    of_what = (
        f"log-likelihood ratio (nats) of ALT against REF by the DNA language model {model}, sum over {unit} to "
        f"{layout.after_bases} bases after the variant, at least {layout.before_bases} bases before it where there are"
    )
    fields = [
        InfoField("PRIMASE_LLR", "A", "Float", f"Mean over both strands of the {of_what}"),
        InfoField("PRIMASE_LLR_FWD", "A", "Float", f"Forward strand: {of_what}"),
        InfoField("PRIMASE_LLR_REV", "A", "Float", f"Reverse complement: {of_what}"),
        InfoField(MISMATCH, "0", "Flag", "REF is not what the genome given to Primase has there; not scored"),
    ]
    if likes:
        text = f"Indels: PRIMASE_LLR in standard deviations from the mean of {likes} random changes of the same lengths"
        fields.insert(3, InfoField(INDEL_Z, "A", "Float", f"{text} nearby ({model})"))
    return fields


@dataclass
class Tally:
    """What was scored, for the summary."""

    statuses: Counter[str] = field(default_factory=Counter)
    """Alternatives by status."""
    total_nats: float = 0.0
    indels_with_z: int = 0

    def add(self, alleles: list[Allele]) -> None:
        self.statuses.update(allele.status for allele in alleles)
        self.total_nats += sum(allele.mean_nats or 0.0 for allele in alleles)
        self.indels_with_z += sum(allele.indel_z is not None for allele in alleles)


def annotate(
    variants: VariantFile,
    genome: Genome,
    scorer: StrandScorer,
    *,
    likes: int,
    alternatives: int,
    writer: VariantWriter | None,
    tables: Sequence[TableWriter],
    progress: Progress,
) -> Tally:
    """Score all records and write them in order; `alternatives` is how many there are.

    Several processes share the chunks; the main one writes, and its tally alone is complete.
    """
    tally, done = Tally(), 0

    def scored(chunk: Chunk) -> Chunk:
        _score([allele for _, alleles in chunk for allele in alleles], scorer)
        return chunk

    chunks = processes.shared(_chunks(variants, genome, scorer.layout, likes), scored)
    progress("scoring variants", 0.0)
    for chunk in chunks:
        for record, alleles in chunk:
            tally.add(alleles)
            if writer:
                writer.write(record, _info(alleles, likes))
            for table in tables:
                _write_rows(table, record, alleles)
            done += len(alleles)
        progress("scoring variants", done / alternatives)
    return tally


def _chunks(variants: VariantFile, genome: Genome, layout: Layout, likes: int) -> Iterator[Chunk]:
    chunk: Chunk = []
    changes = 0
    for record in variants.records():
        alleles = alleles_of(genome, record, layout, likes)
        chunk.append((record, alleles))
        changes += sum(1 + len(allele.likes) for allele in alleles)
        if changes >= CHANGES_OF_A_CHUNK or len(chunk) >= RECORDS_OF_A_CHUNK:
            yield chunk
            chunk, changes = [], 0
    if chunk:
        yield chunk


def _score(alleles: list[Allele], scorer: StrandScorer) -> None:
    """All changes of the alleles together, so that those which share a window find each other."""
    asked = [allele for allele in alleles if allele.change]
    changes = [allele.change for allele in asked]
    changes.extend(allele.reference for allele in asked if allele.reference)
    changes.extend(change for allele in asked for change in allele.likes)
    nats = scorer.nats(changes)
    values, others = nats[: len(asked)], iter(nats[len(asked) :])
    values = values - np.array([next(others) if allele.reference else np.zeros(2) for allele in asked]).reshape(-1, 2)
    for allele, both in zip(asked, values, strict=True):
        likes = np.array([next(others) for _ in allele.likes]).reshape(-1, 2).mean(axis=1)
        if not np.isfinite(both).all():
            allele.status = NO_ROOM
            continue
        allele.forward_nats, allele.reverse_nats = both.tolist()
        likes = likes[np.isfinite(likes)]
        if len(likes) >= FEWEST_LIKES and likes.std(ddof=1) > 0:
            allele.indel_z = float((both.mean() - likes.mean()) / likes.std(ddof=1))


def _info(alleles: list[Allele], likes: int) -> dict[str, str | None]:
    if not alleles:
        return {}
    values: dict[str, str | None] = {
        "PRIMASE_LLR": info_values(allele.mean_nats for allele in alleles),
        "PRIMASE_LLR_FWD": info_values(allele.forward_nats for allele in alleles),
        "PRIMASE_LLR_REV": info_values(allele.reverse_nats for allele in alleles),
    }
    if likes and any(allele.likes for allele in alleles):
        values[INDEL_Z] = info_values(allele.indel_z for allele in alleles)
    if alleles[0].status == REF_MISMATCH:
        values[MISMATCH] = None
    return values


def _write_rows(table: TableWriter, record: VariantRecord, alleles: list[Allele]) -> None:
    name = None if record.name == "." else name_of(record.name.encode("utf-8", "surrogateescape"))
    place = (record.contig, record.start + 1, name, record.ref)
    for alt, allele in zip(record.alts, alleles, strict=True):
        alt = name_of(alt.encode("utf-8", "surrogateescape"))
        nats = (allele.mean_nats, allele.forward_nats, allele.reverse_nats)
        table.write((*place, alt, *nats, allele.indel_z, allele.status))
