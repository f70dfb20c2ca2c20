"""The outside world in: FASTA, CSV, TSV and Parquet become records of bases; GFF3, GTF and BED classes of bases.

VCF and BCF go in and out. The only place that opens a user's file of sequences, of annotations or of variants.
"""

from primase.formats.annotations import Annotations, read_annotations
from primase.formats.bed_regions import BedRegion, read_bed_regions
from primase.formats.fasta import Piece
from primase.formats.fasta_layout import join_fasta, split_fasta
from primase.formats.genome import Genome
from primase.formats.labelled import LabelledRecord, part_files, read_labelled
from primase.formats.regions import Region, read_regions
from primase.formats.sequences import Record, is_table, read_fasta_text, read_pieces, read_records, sequence_files
from primase.formats.variants import InfoField, VariantFile, VariantRecord

__all__ = [
    "Annotations",
    "BedRegion",
    "Genome",
    "InfoField",
    "LabelledRecord",
    "Piece",
    "Record",
    "Region",
    "VariantFile",
    "VariantRecord",
    "is_table",
    "join_fasta",
    "part_files",
    "read_annotations",
    "read_bed_regions",
    "read_fasta_text",
    "read_labelled",
    "read_pieces",
    "read_records",
    "read_regions",
    "sequence_files",
    "split_fasta",
]
