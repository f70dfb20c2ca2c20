"""The first reading of a VCF, without a model: does it belong to this genome, and how much is there to score?"""

from collections import Counter

from primase.errors import InputError
from primase.formats import Genome, VariantFile, VariantRecord
from primase.variants.alleles import NO_CONTIG, PAST_END, REF_MISMATCH, SCORED, place_status

LEAST_AGREEING = 0.5
"""Share of located records whose REF must agree; by chance about 3 of 10 single bases do."""


class Survey:
    """What a first reading of the VCF finds, without a model."""

    def __init__(self, variants: VariantFile, genome: Genome, *, strict_ref: bool) -> None:
        """Raises InputError for a VCF of another genome; with `strict_ref` for the first REF that differs."""
        self.records = self.alternatives = self.without_alternative = 0
        self.renamed: dict[str, str] = {}
        self.absent: dict[str, int] = {}
        self.variants = variants
        statuses: Counter[str] = Counter()
        for record in variants.records():
            self.records += 1
            self.alternatives += len(record.alts)
            self.without_alternative += not record.alts
            status = place_status(genome, record)
            statuses[status] += 1
            name = genome.named(record.contig)
            if name is None:
                self.absent[record.contig] = self.absent.get(record.contig, 0) + 1
            elif name != record.contig:
                self.renamed[record.contig] = name
            if strict_ref and status in (REF_MISMATCH, PAST_END):
                raise self._strict(record, genome, status)
        self._refuse_other_genome(statuses, genome)

    def _strict(self, record: VariantRecord, genome: Genome, status: str) -> InputError:
        name = genome.named(record.contig)
        there = genome.bases(name, record.start, record.start + len(record.ref)).tobytes().decode()
        found = (
            f"the genome has {there[:40]}" if status == REF_MISMATCH else f"{name} has {genome.lengths[name]:,} bases"
        )
        return InputError(
            f"{self.variants.file}: record {record.number}: {record.contig} position {record.start + 1}: REF is "
            f"{record.ref[:40]} and {found}; give the genome of these variants, or leave out --strict-ref"
        )

    def _refuse_other_genome(self, statuses: Counter[str], genome: Genome) -> None:
        file, remedy = self.variants.file, "give the genome that the variants were called on"
        if not self.records:
            raise InputError(f"{file}: no records, only a header; nothing to score")
        if not self.alternatives:
            raise InputError(f"{file}: no alternative alleles in {self.records:,} records; nothing to score")
        located = self.records - statuses[NO_CONTIG]
        if not located:
            theirs, ours = (", ".join(list(names)[:3]) for names in (self.absent, genome.lengths))
            raise InputError(f"{file}: none of its contigs ({theirs}) is in the genome ({ours}); {remedy}")
        if statuses[SCORED] < LEAST_AGREEING * located:
            past = f", {statuses[PAST_END]:,} lie past the end of their contig" if statuses[PAST_END] else ""
            raise InputError(
                f"{file}: of {located:,} records on contigs of the genome, {statuses[REF_MISMATCH]:,} have another REF "
                f"than the genome{past}: this is another genome or another version of it; {remedy}"
            )
