"""What is measured, cut into cells and classes: sums against a loop over the bases."""

import numpy as np
import pytest

from primase.corpus.prepare import prepare
from primase.errors import InputError
from primase.evaluation.loci import choose_loci
from primase.evaluation.sample import Sample
from primase.formats.annotations import read_annotations
from primase.recipe import Recipe


def text(bases: int, seed: int = 0, alphabet: str = "ACGTacgt") -> str:
    return "".join(np.random.default_rng(seed).choice(list(alphabet), bases))


@pytest.fixture
def genome(tmp_path):
    records = {"chr1": text(2000), "chr2": text(1000, 1)}
    file = tmp_path / "genome.fa"
    file.write_text("".join(f">{name}\n{bases}\n" for name, bases in records.items()))
    return file, records


@pytest.fixture
def bed(tmp_path):
    file = tmp_path / "marks.bed"
    file.write_text("chr1\t100\t450\tpeak\nchr2\t0\t50\tdip\n")
    return read_annotations(file)


def test_a_tally_is_the_sum_over_the_bases_of_each_cell_and_class(genome, bed, tmp_path):
    file, records = genome
    overrides = {"data.window_bases": 100, "split.gap_bases": 0, "split.block_bases": 300}
    corpus = prepare([file], tmp_path / "corpus", Recipe.load("default", overrides))
    indices = np.array([0, 1, 2, 4, 5, 19, 20, 21, 29])
    sample = Sample.of_corpus(corpus, indices, bed)
    assert [(place.record, place.start) for place in sample.places] == [
        ("chr1", 0), ("chr1", 400), ("chr1", 1900), ("chr2", 0), ("chr2", 900),
    ]  # fmt: skip
    assert sample.class_names == ("repeat", "non-repeat", "peak", "dip", "elsewhere")
    rng = np.random.default_rng(0)
    bits = [rng.random(len(stretch)) for stretch in sample.stretches]
    without = [rng.random(len(stretch)) for stretch in sample.stretches]
    tally = sample.tally(zip(bits, without, strict=True))

    cells, classes = [], []
    for place, values, extra, lengths in zip(sample.places, bits, without, sample.cell_bases, strict=True):
        start = 0
        for length in lengths:
            cell, of_class = 0.0, dict.fromkeys(sample.class_names, 0.0)
            for index in range(start, start + length):
                cell += values[index] + extra[index]
                position = place.start + index
                letter = records[place.record][position]
                of_class["repeat" if letter.islower() else "non-repeat"] += values[index]
                is_peak = place.record == "chr1" and 100 <= position < 450
                is_dip = place.record == "chr2" and position < 50
                of_class["peak" if is_peak else "dip" if is_dip else "elsewhere"] += values[index]
            cells.append(cell)
            classes.append(list(of_class.values()))
            start += length
    np.testing.assert_allclose(tally.cells, cells)
    np.testing.assert_allclose(tally.classes, classes)
    assert sample.base_counts().total == 900
    np.testing.assert_array_equal(sample.windows, indices)


def test_records_of_the_user_are_cut_at_n_and_into_cells(tmp_path):
    file = tmp_path / "mine.fa"
    file.write_text(f">a\n{text(25_000)}\n>b\nNNACGTNNRUacgtN\n>c\nNNN\n")
    sample = Sample.of_files([file], None, None)
    assert [cells.tolist() for cells in sample.cell_bases] == [[10_000, 10_000, 5_000], [4], [5]]
    assert [stretch.tobytes() for stretch in sample.stretches[1:]] == [b"ACGT", b"Tacgt"]
    assert [(place.record, place.start) for place in sample.places] == [("a", 0), ("b", 2), ("b", 9)]
    assert sample.base_counts().total == 25_009


def test_records_that_are_not_annotated_belong_to_no_class(tmp_path, bed):
    file = tmp_path / "mine.fa"
    file.write_text(f">chr1\n{'ACGT' * 100}\n>chr9\n{'ACGT' * 100}\n")
    counts = Sample.of_files([file], None, bed).base_counts()
    assert dict(zip(("peak", "dip", "elsewhere"), counts.classes.sum(axis=0), strict=True)) == {
        "peak": 300, "dip": 0, "elsewhere": 100,
    }  # fmt: skip


def test_a_base_without_a_price_is_no_free_base(tmp_path):
    file = tmp_path / "mine.fa"
    file.write_text(">a\nACGT\n")
    sample = Sample.of_files([file], None, None)
    with pytest.raises(ValueError, match="without a finite price"):
        sample.tally([np.array([1, np.nan, 1, 1])])


def test_a_genome_in_lower_case_is_not_masked(tmp_path):
    file = tmp_path / "mine.fa"
    file.write_text(">a\nacgt\n")
    assert Sample.of_files([file], None, None).class_names == ()


def test_annotations_of_another_genome_and_sequences_without_bases_are_refused(tmp_path, bed):
    file = tmp_path / "mine.fa"
    file.write_text(">scaffold9\nACGT\n")
    with pytest.raises(InputError, match=r"name none of the measured records \(scaffold9, …\); they name chr1, chr2"):
        Sample.of_files([file], None, bed)
    file.write_text(">n\nNNNN\n")
    with pytest.raises(InputError, match=r"mine\.fa: no A, C, G or T in it"):
        Sample.of_files([file], None, None)


def test_loci_are_where_the_model_is_best_typical_and_worst(tmp_path):
    file = tmp_path / "mine.fa"
    file.write_text(f">a\n{text(30_000)}\n>b\n{text(20_400)}\n")
    sample = Sample.of_files([file], None, None)
    bits = [np.arange(len(stretch), dtype=float) for stretch in sample.stretches]
    loci = choose_loci(sample, np.array([0.1, 0.5, -0.2, 0.3, 0.2, 0.0]), bits, bits, None)
    assert [(locus.record, locus.start) for locus in loci] == [("b", 14_500), ("a", 14_500), ("a", 24_500)]
    assert all(len(locus.sequence) == len(locus.model_bits) == 1000 for locus in loci)
    assert loci[0].model_bits[0] == 14_500 and loci[0].copy_bits is None
    assert loci[1].sequence == sample.stretches[0][14_500:15_500].tobytes().decode()
    whole = choose_loci(sample, np.array([0.1, 0.5, -0.2, 0.3, 0.2, 9.0]), bits, None, None)
    assert [(locus.record, locus.start) for locus in whole] == [("b", 14_500), ("a", 14_500), ("a", 24_500)], (
        "no short end"
    )
    file.write_text(f">a\n{text(400)}\n")
    (short,) = choose_loci(Sample.of_files([file], None, None), np.array([1.0]), bits, None, None)
    assert (short.record, short.start, len(short.sequence)) == ("a", 0, 400)
