"""Genes, transcripts, exons and CDS of a record become three layers: coding, exon, intron.

Which bases of a gene are exons is told by its family: the gene, its transcripts, and the exons and CDS that name one of
them. What a family leaves open is settled in `GeneModels.layers`.
"""

from array import array
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from primase.formats.segments import Intervals

CLASSES = ("coding", "exon", "intron", "intergenic")


class _Gene(NamedTuple):
    """A gene or a transcript."""

    start: int
    end: int
    strand: bytes
    name: bytes | None
    parent: bytes | None


@dataclass(slots=True)
class _Hull:
    """From the first to the last base of exons and CDS that belong together."""

    start: int
    end: int
    strand: bytes
    has_exon: bool

    def take_in(self, start: int, end: int, has_exon: bool) -> None:
        self.start, self.end = min(self.start, start), max(self.end, end)
        self.has_exon |= has_exon


@dataclass(slots=True)
class _Orphans:
    """Exons and CDS of one strand, or hulls of them, that name no gene of the record."""

    intervals: Intervals = field(default_factory=Intervals)
    has_exon: array = field(default_factory=lambda: array("b"))

    def add(self, start: int, end: int, has_exon: bool) -> None:
        self.intervals.add(start, end)
        self.has_exon.append(has_exon)


class GeneModels:
    """The features of one record, in any order. Places are 0-based and half-open."""

    def __init__(self) -> None:
        self._coding, self._exons, self._spans = Intervals(), Intervals(), Intervals()
        self._genes: list[_Gene] = []
        self._parent_of: dict[bytes, bytes] = {}
        self._hull_of: dict[bytes, _Hull] = {}
        self._orphans: dict[bytes, _Orphans] = {}

    def add_gene(self, start: int, end: int, strand: bytes, name: bytes | None, parent: bytes | None) -> None:
        """A gene, or a transcript of the gene `parent`."""
        self._genes.append(_Gene(start, end, strand, name, parent))
        if name and parent:
            self._parent_of[name] = parent

    def add_part(self, start: int, end: int, strand: bytes, owners: list[bytes], *, coding: bool) -> None:
        """An exon or a CDS of the transcripts or genes `owners`."""
        (self._coding if coding else self._exons).add(start, end)
        for owner in owners:
            hull = self._hull_of.get(owner)
            if hull:
                hull.take_in(start, end, not coding)
            else:
                self._hull_of[owner] = _Hull(start, end, strand, not coding)
        if not owners:
            self._orphans.setdefault(strand, _Orphans()).add(start, end, not coding)

    def layers(self) -> list[Intervals]:
        """Coding, exon, and spans of genes (which are introns where neither of the first two is). To be called once.

        An exon or CDS belongs to the family that it names; one that names none belongs to the genes that it
        lies in, strand by strand. A gene without any exon or CDS is one exon: genes of RNA and pseudogenes are often
        written so. In a gene with CDS and no exon, what lies before the first and behind the last CDS is exon: UTRs.
        Exons and CDS that name a transcript which is missing are a gene of their own.
        """
        families = self._families()
        orphans = {strand: _sorted(orphans) for strand, orphans in self._orphans.items()}
        for gene in self._genes:
            name = gene.name or gene.parent
            hull = families.get(self._family(name)) if name else None
            hull = hull or _hull_inside(gene, orphans)
            if hull is None:
                self._exons.add(gene.start, gene.end)
                continue
            self._spans.add(gene.start, gene.end)
            if not hull.has_exon:
                if gene.start < hull.start:
                    self._exons.add(gene.start, min(gene.end, hull.start))
                if hull.end < gene.end:
                    self._exons.add(max(gene.start, hull.end), gene.end)
        return [self._coding, self._exons, self._spans]

    def _family(self, name: bytes) -> bytes:
        """The ancestor that has no parent; names that are parents in a circle share one of them."""
        ancestor, seen = name, set()
        while ancestor in self._parent_of:
            if ancestor in seen:
                return min(seen)
            seen.add(ancestor)
            ancestor = self._parent_of[ancestor]
        return ancestor

    def _families(self) -> dict[bytes, _Hull]:
        """Hulls by family. Those that belong to no gene become genes, and orphans."""
        known = {self._family(gene.name or gene.parent) for gene in self._genes if gene.name or gene.parent}
        families: dict[bytes, _Hull] = {}
        for name, hull in self._hull_of.items():
            family = self._family(name)
            if family not in known:
                self._spans.add(hull.start, hull.end)
                self._orphans.setdefault(hull.strand, _Orphans()).add(hull.start, hull.end, hull.has_exon)
            elif family in families:
                families[family].take_in(hull.start, hull.end, hull.has_exon)
            else:
                families[family] = hull
        return families


def _sorted(orphans: _Orphans) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Starts, ends and whether exon, in order of starts."""
    starts = np.asarray(orphans.intervals.starts)
    order = np.argsort(starts, kind="stable")
    return starts[order], np.asarray(orphans.intervals.ends)[order], np.asarray(orphans.has_exon, bool)[order]


def _hull_inside(gene: _Gene, orphans: dict[bytes, tuple[np.ndarray, np.ndarray, np.ndarray]]) -> _Hull | None:
    """The hull of the orphans on the gene's strand that lie in it as a whole."""
    if gene.strand not in orphans:
        return None
    starts, ends, has_exon = orphans[gene.strand]
    near = slice(*np.searchsorted(starts, (gene.start, gene.end)))
    inside = ends[near] <= gene.end
    if not inside.any():
        return None
    return _Hull(
        int(starts[near][inside][0]),
        int(ends[near][inside].max()),
        gene.strand,
        bool(has_exon[near][inside].any()),
    )
