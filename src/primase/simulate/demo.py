"""The demo genome's design, drawn from a seed: structure that counting short words misses and a small model learns."""

from itertools import product

import numpy as np

from primase import dna
from primase.simulate.design import Gene, GenomeDesign, RepeatFamily, Words
from primase.simulate.model import GenomeModel

GENETIC_CODE = "KNKNTTTTRSRSIIMIQHQHPPPPRRRRLLLLEDEDAAAAGGGGVVVV*Y*YSSSS*CWCLFLF"
"""Amino acids of the standard code (NCBI table 1), codons in the order AAA, AAC, AAG, AAT, ACA, …; * stops."""
CODONS = ["".join(letters) for letters in product("ACGT", repeat=3)]

GENE_CLASSES, GENE_SHARE = 2, 0.5
MEAN_CODONS = 200.0
MOTIF_BASES, SPACER_BASES = 10, 8
REPEAT_BASES = (120, 200, 300)
SUBSTITUTED_FRACTIONS = (0.10, 0.15, 0.20)
MEAN_BACKGROUND_BASES = 150.0
BACKGROUND_ORDER = 2

# Log-odds between the most and the least likely choice are twice the skew.
BACKGROUND_SKEW = 0.7
MOTIF_SKEW = 2.5
AMINO_ACID_SKEW = 1.2
SYNONYM_SKEW = 3.0


def demo_genome_model(seed: int = 0) -> GenomeModel:
    """The hidden Markov model of `demo_genome_design`."""
    return demo_genome_design(seed).model()


def demo_genome_design(seed: int = 0) -> GenomeDesign:
    """Two classes of genes, each with its motif and its codon usage, and three families of repeats."""
    # Only random() is used: numpy may change the streams of its other methods between versions.
    rng = np.random.default_rng(seed)
    return GenomeDesign(
        background=_background(rng),
        mean_background_bases=MEAN_BACKGROUND_BASES,
        genes=tuple(_gene(rng) for _ in range(GENE_CLASSES)),
        repeats=tuple(
            RepeatFamily(
                share=(1 - GENE_SHARE) / len(REPEAT_BASES),
                consensus="".join("ACGT"[int(4 * u)] for u in rng.random(bases)),
                substituted_fraction=fraction,
            )
            for bases, fraction in zip(REPEAT_BASES, SUBSTITUTED_FRACTIONS, strict=True)
        ),
    )


def _background(rng: np.random.Generator) -> Words:
    """Word frequencies of a random Markov chain, averaged over both strands: still those of a Markov chain."""
    words = ["".join(letters) for letters in product("ACGT", repeat=BACKGROUND_ORDER + 1)]
    chain = np.array([_skewed(rng, 4, BACKGROUND_SKEW) for _ in range(4**BACKGROUND_ORDER)])
    contexts = np.full(len(chain), 1 / len(chain))
    for _ in range(1000):
        contexts = (contexts[:, None] * chain).reshape(4, -1).sum(axis=0)
    frequency = dict(zip(words, (contexts[:, None] * chain).ravel(), strict=True))
    return {word: float(frequency[word] + frequency[dna.reverse_complement(word)]) / 2 for word in words}


def _gene(rng: np.random.Generator) -> Gene:
    amino_acids = sorted(set(GENETIC_CODE) - {"*"})
    frequency = dict(zip(amino_acids, _skewed(rng, len(amino_acids), AMINO_ACID_SKEW), strict=True))
    usage = {amino_acid: _synonyms(rng, amino_acid) for amino_acid in [*amino_acids, "*"]}
    return Gene(
        share=GENE_SHARE / GENE_CLASSES,
        motif=tuple(tuple(_skewed(rng, 4, MOTIF_SKEW)) for _ in range(MOTIF_BASES)),
        spacer_bases=SPACER_BASES,
        codons={codon: frequency[a] * share for a in amino_acids for codon, share in usage[a].items()},
        stop_codons=usage["*"],
        mean_codons=MEAN_CODONS,
    )


def _synonyms(rng: np.random.Generator, amino_acid: str) -> Words:
    codons = [codon for codon, coded in zip(CODONS, GENETIC_CODE, strict=True) if coded == amino_acid]
    return dict(zip(codons, _skewed(rng, len(codons), SYNONYM_SKEW), strict=True))


def _skewed(rng: np.random.Generator, choices: int, skew: float) -> list[float]:
    """A random distribution; log-probabilities are uniform in a range of twice the skew."""
    weights = np.exp(skew * (2 * rng.random(choices) - 1))
    return (weights / weights.sum()).tolist()
