"""The alternatives of a VCF record, asked one by one whether they can be scored, and as which changes of the genome."""

from dataclasses import dataclass, field

from primase import dna
from primase.formats import Genome, VariantRecord
from primase.variants.changes import Change, change_of, random_likes, trim
from primase.variants.layout import Layout

SCORED = "scored"
SYMBOLIC = "symbolic"
"""<DEL>, *, a breakend, or letters other than A, C, G and T."""
REF_MISMATCH = "ref_mismatch"
NO_CONTIG = "no_contig"
PAST_END = "past_end"
TOO_LONG = "too_long"
NO_ROOM = "no_room"
"""The context has no room for the change: too many N before it, each a token."""

NULL_NEAR_BASES = 256
"""How far from an indel its random likes are, at most."""


@dataclass
class Allele:
    """One alternative of a record."""

    status: str
    change: Change | None = None
    reference: Change | None = None
    """What REF makes of a genome that has ambiguity codes there; the change is compared with it."""
    likes: list[Change] = field(default_factory=list)
    """Random changes of the same lengths, for an indel."""
    forward_nats: float | None = None
    reverse_nats: float | None = None
    indel_z: float | None = None

    @property
    def mean_nats(self) -> float | None:
        return None if self.forward_nats is None else (self.forward_nats + self.reverse_nats) / 2


def place_status(genome: Genome, record: VariantRecord) -> str:
    """Whether the record's REF is what the genome has there, in any case; an ambiguity code agrees with each base."""
    name = genome.named(record.contig)
    if name is None:
        return NO_CONTIG
    end = record.start + len(record.ref)
    if record.start < 0 or end > genome.lengths[name]:
        return PAST_END
    theirs, ours = dna.codes(record.ref.encode()), dna.codes(genome.bases(name, record.start, end))
    known = (theirs < dna.UNKNOWN_CODE) & (ours < dna.UNKNOWN_CODE)
    return REF_MISMATCH if (theirs != ours)[known].any() else SCORED


def alleles_of(genome: Genome, record: VariantRecord, layout: Layout, likes: int) -> list[Allele]:
    """The alternatives in order; those that can be scored have a change, and an indel up to `likes` random ones."""
    status = place_status(genome, record)
    return [
        Allele(status) if status != SCORED else _allele(genome, record, alt.encode("utf-8", "replace"), layout, likes)
        for alt in record.alts
    ]


def _allele(genome: Genome, record: VariantRecord, alt: bytes, layout: Layout, likes: int) -> Allele:
    ref, alt, name = record.ref.upper().encode(), alt.upper(), genome.named(record.contig)
    if (ref + alt).translate(None, dna.ACGT) or not alt:
        return Allele(SYMBOLIC)
    _, short_ref, short_alt = trim(record.start, ref, alt)
    if max(len(short_ref), len(short_alt)) > layout.after_bases:
        return Allele(TOO_LONG)
    most = layout.most_changed_bases
    if not dna.is_acgt(genome.bases(name, record.start, record.start + len(ref))).all():
        if max(len(ref), len(alt)) > layout.after_bases:
            return Allele(TOO_LONG)
        place = record.start, record.start + len(ref)
        return Allele(SCORED, Change(name, *place, alt), Change(name, *place, ref))
    allele = Allele(SCORED, change_of(genome, name, record.start, ref, alt, most))
    if likes and len(ref) != len(alt):
        allele.likes = random_likes(
            genome, name, record.start, ref, alt, count=likes, near_bases=NULL_NEAR_BASES, most_bases=most
        )
    return allele
