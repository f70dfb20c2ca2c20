"""The outside world in: FASTA, CSV, TSV and Parquet become records of bases; GFF3, GTF and BED classes of bases.

The only place that opens a user's file of sequences or of annotations.
"""

from primase.formats.annotations import Annotations, read_annotations
from primase.formats.bed_regions import BedRegion, read_regions
from primase.formats.fasta import Piece
from primase.formats.fasta_layout import join_fasta, split_fasta
from primase.formats.sequences import Record, is_table, read_fasta_text, read_pieces, read_records, sequence_files

__all__ = [
    "Annotations",
    "BedRegion",
    "Piece",
    "Record",
    "is_table",
    "join_fasta",
    "read_annotations",
    "read_fasta_text",
    "read_pieces",
    "read_records",
    "read_regions",
    "sequence_files",
    "split_fasta",
]
