"""The outside world in: FASTA, CSV, TSV and Parquet become records of bases.

The only place that opens a user's sequence file.
"""

from primase.formats.fasta import Piece
from primase.formats.fasta_layout import join_fasta, split_fasta
from primase.formats.sequences import Record, is_table, read_fasta_text, read_pieces, read_records, sequence_files

__all__ = [
    "Piece",
    "Record",
    "is_table",
    "join_fasta",
    "read_fasta_text",
    "read_pieces",
    "read_records",
    "sequence_files",
    "split_fasta",
]
