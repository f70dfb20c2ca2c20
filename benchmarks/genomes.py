"""The genomes of the benchmarks by short names, with the parts that are held out and what is asked for on them.

A genome is named (`yeast`), named with its file (`yeast=my/yeast.fa.gz`), or any FASTA by its path. Named ones without
a file lie in the folder that the environment variable PRIMASE_TEST_DATA names.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path

from primase.errors import MissingFileError

DATA_VARIABLE = "PRIMASE_TEST_DATA"


@dataclass(frozen=True)
class Genome:
    """A genome, how it is cut and split, and the bits per base to reach on its held-out part."""

    name: str
    files: tuple[str, ...]
    """Below the folder of PRIMASE_TEST_DATA, or anywhere where they were given."""
    settings: tuple[str, ...] = ()
    """`section.key=value`, as after --set."""
    at_most: float | None = None
    """Bits per base that are asked for."""
    aim: float | None = None
    """Bits per base that are hoped for."""


TUNED = ("ecoli", "yeast", "chr2")
"""Those for which figures are asked. Trials of `default` read the training parts of the first two, and of the third
for changes that were not kept; the law by which it chooses a size was fitted to validation figures of all three."""

GENOMES = {
    genome.name: genome
    for genome in (
        Genome(
            "ecoli",
            ("genomes/ecoli_k12/GCF_000005845.2_ASM584v2_genomic.fna.gz",),
            ("split.heldout_regions=['NC_000913.3:4177487-4641652']",),
            at_most=1.850,
            aim=1.830,
        ),
        Genome(
            "yeast",
            ("genomes/yeast/Saccharomyces_cerevisiae.R64-1-1.dna.toplevel.fa.gz",),
            ("split.heldout_records=['IV', 'XVI']",),
            at_most=1.875,
            aim=1.855,
        ),
        Genome(
            "chr2",
            ("genomes/human/hg38_chr2_1-2333275.fa.gz",),
            ("split.heldout_regions=['chr2:1984785-2333275']",),
            at_most=1.850,
            aim=1.820,
        ),
        Genome("worm", ("genomes/worm/C.elegans.fa.gz",)),
        Genome("arabidopsis", ("genomes/arabidopsis/A.thaliana.fa.gz",)),
        Genome("human-genes", ("genomes/human/bcftools_csq_gene_regions.fa.gz",)),
        Genome(
            "phages",
            ("genomes/small/lambda_virus.fa.gz", "genomes/small/phiX174/NC_001422_1.fna.gz"),
            ("data.window_bases=1000",),
        ),
    )
}


def find_genome(text: str) -> Genome:
    """The genome that `text` means, its files found. Raises MissingFileError where one is not there."""
    name, equals, path = text.partition("=")
    if name not in GENOMES:
        file = Path(text)
        if not file.exists():
            raise MissingFileError(f"{text}: no such file, and none of the named genomes ({', '.join(GENOMES)})")
        return Genome(file.name.split(".")[0], (str(file),))
    genome = GENOMES[name]
    if equals:
        files = (Path(path),)
    elif folder := os.environ.get(DATA_VARIABLE):
        files = tuple(Path(folder, file) for file in genome.files)
    else:
        raise MissingFileError(
            f"{name}: {DATA_VARIABLE} is not set; set it to the folder of genomes, or give {name}=FILE"
        )
    for file in files:
        if not file.exists():
            raise MissingFileError(
                f"{file}: no such file; set {DATA_VARIABLE} to the folder of genomes, or give {name}=FILE"
            )
    return replace(genome, files=tuple(map(str, files)))
