"""A genome read anywhere, its records under other names, and regions by notation or BED."""

import gzip

import numpy as np
import pytest

from primase.errors import InputError
from primase.formats import Genome, read_regions


def test_any_stretch_is_what_the_text_has(tmp_path):
    texts = {"chr1": "ACGTNNacgtRY" * 50, "chrM": "GATTACA", "3": "T"}
    file = tmp_path / "g.fa.gz"
    lines = (f">{name} more words\r\n{text[:17]}\n\n{text[17:]}\n" for name, text in texts.items())
    file.write_bytes(gzip.compress("".join(lines).encode()))
    draw = np.random.default_rng(0)
    with Genome(file) as genome:
        assert genome.lengths == {name: len(text) for name, text in texts.items()}
        for name, text in texts.items():
            for _ in range(20):
                start, end = sorted(draw.integers(-5, len(text) + 5, size=2).tolist())
                expected = text[max(start, 0) : max(end, 0)]
                assert genome.bases(name, start, end).tobytes().decode() == expected


def test_records_by_other_names(tmp_path):
    file = tmp_path / "g.fa"
    file.write_text(">chr1\nA\n>2\nA\n>chrM\nA\n>scaffold_7\nA\n")
    with Genome(file) as genome:
        names = {"chr1": "chr1", "1": "chr1", "chr2": "2", "MT": "chrM", "M": "chrM", "scaffold_7": "scaffold_7"}
        assert {name: genome.named(name) for name in names} == names
        assert genome.named("11") is None and genome.named("chr3") is None


def test_a_file_that_cannot_be_read_leaves_nothing_open(tmp_path):
    file = tmp_path / "g.fa"
    file.write_text(">a\nACGT\n>b\nMALW\n")
    genome = Genome(file)
    with pytest.raises(InputError, match="line 4: letter 'L'"), genome:
        pass
    assert genome._file.closed


def test_regions_by_notation_and_bed(tmp_path):
    bed = tmp_path / "r.bed.gz"
    bed.write_bytes(gzip.compress(b"track name=x\n# a comment\nchr1\t0\t5\tname\nchr2 7 9\n"))
    assert read_regions(["chr1:2-4", bed]) == [("chr1", 1, 4), ("chr1", 0, 5), ("chr2", 7, 9)]
    bed.write_bytes(gzip.compress(b"chr1\t5\t5\n"))
    with pytest.raises(InputError, match="line 1: the region is empty"):
        read_regions([bed])
    bed.write_bytes(gzip.compress(b"chr1\t9\t5\n"))
    with pytest.raises(InputError, match="line 1: the start 9 is behind the end 5"):
        read_regions([bed])
    for text in ("chr1:5", f"chr1:1-{'9' * 5000}"):
        with pytest.raises(InputError, match="neither a region nor a BED file"):
            read_regions([text])
    bed.write_bytes(gzip.compress(b"# nothing\n"))
    with pytest.raises(InputError, match="no region"):
        read_regions([bed])
