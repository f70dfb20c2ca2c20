"""What a drawn genome contains, that it can be drawn again, and the files it is kept in."""

import gzip
import re
from itertools import pairwise, product

import numpy as np
import pytest
from pydantic import ValidationError

from primase import dna
from primase.errors import InputError, MissingFileError
from primase.simulate import (
    GenomeDesign,
    GenomeModel,
    SimulatedRecord,
    demo_genome_design,
    demo_genome_model,
    read_simulation,
    simulate,
    simulate_to_file,
    simulation_file,
    window_bits,
    write_fasta,
)

STOPS = {"TAA", "TAG", "TGA"}
GENOME_OF_SEED_ZERO = "ccggactgggctgtctttcacccgagttgggtccgtcccgaatcgttgagagcggaggtc"


@pytest.fixture(scope="module")
def design() -> GenomeDesign:
    return demo_genome_design(0)


@pytest.fixture(scope="module")
def model(design: GenomeDesign) -> GenomeModel:
    return design.model()


@pytest.fixture(scope="module")
def record(model: GenomeModel) -> SimulatedRecord:
    return simulate(model, [600_000], seed=5)[0]


def text(sequence: np.ndarray) -> str:
    return sequence.tobytes().decode()


def elements(record: SimulatedRecord, model: GenomeModel, prefix: str) -> list[dict[str, str]]:
    """The parts of each whole element whose labels start with `prefix`, in the order of the record."""
    part_of = {label: label.removeprefix(prefix).strip() for label in set(model.labels)}
    labels = np.array(model.labels)[record.states]
    inside = np.concatenate([[False], np.char.startswith(labels, prefix), [False]])
    edges = np.flatnonzero(inside[1:] != inside[:-1]).reshape(-1, 2)
    found = []
    for start, end in edges:
        if start == 0 or end == len(labels):
            continue
        parts: dict[str, str] = {}
        for label, letter in zip(labels[start:end], text(record.bases[start:end]), strict=True):
            parts[part_of[label]] = parts.get(part_of[label], "") + letter
        found.append(parts)
    return found


def test_states_occur_as_often_as_they_should(model, record):
    for feature in ("background", "codon", "repeat 1", "repeat 3"):
        chosen = np.array([feature in label for label in model.labels])
        share = model.stationary_states[chosen].sum()
        assert chosen[record.states].mean() == pytest.approx(share, rel=0.15)


def test_words_occur_as_often_as_the_likelihood_says(model, record):
    words = ["".join(letters) for letters in product("ACGT", repeat=4)]
    expected = np.exp2(-window_bits(model, [np.frombuffer(word.encode(), np.uint8) for word in words]))
    codes = dna.codes(record.bases).astype(int)
    word = ((codes[:-3] * 4 + codes[1:-2]) * 4 + codes[2:-1]) * 4 + codes[3:]
    observed = np.bincount(word, minlength=256) / len(word)
    assert np.abs(observed - expected).max() < 4e-4
    assert np.corrcoef(observed, expected)[0, 1] > 0.99


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("strand", "+-")
def test_genes_read_as_genes_on_their_strand(design, model, record, number, strand):
    gene = design.genes[number - 1]
    found = elements(record, model, f"gene {number} {strand}")
    assert len(found) > 50
    codons: dict[str, int] = {}
    for parts in found:
        if strand == "-":
            assert list(parts) == ["stop codon", "codon", "start codon", "spacer", "motif"]
            parts = {name: dna.reverse_complement(part) for name, part in reversed(parts.items())}
        assert list(parts) == ["motif", "spacer", "start codon", "codon", "stop codon"]
        assert (len(parts["motif"]), len(parts["spacer"])) == (len(gene.motif), gene.spacer_bases)
        assert parts["start codon"] == "ATG" and parts["stop codon"] in STOPS
        assert len(parts["codon"]) % 3 == 0
        for codon in re.findall("...", parts["codon"]):
            codons[codon] = codons.get(codon, 0) + 1
    total = sum(codons.values())
    assert not STOPS & codons.keys()
    assert max(abs(codons.get(codon, 0) / total - usage) for codon, usage in gene.codons.items()) < 0.01
    assert total / len(found) == pytest.approx(gene.mean_codons, rel=0.3)


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("strand", "+-")
def test_repeats_are_diverged_copies_in_lower_case(design, model, record, number, strand):
    family = design.repeats[number - 1]
    copies = [next(iter(parts.values())) for parts in elements(record, model, f"repeat {number} {strand}")]
    assert len(copies) > 20 and all(copy.islower() for copy in copies)
    consensus = family.consensus if strand == "+" else dna.reverse_complement(family.consensus)
    assert {len(copy) for copy in copies} == {len(consensus)}
    differing = np.mean(
        [letter != like for copy in copies for letter, like in zip(copy.upper(), consensus, strict=True)]
    )
    assert differing == pytest.approx(family.substituted_fraction, abs=0.025)


def test_only_repeats_are_soft_masked(model, record):
    in_repeat = np.char.startswith(np.array(model.labels)[record.states], "repeat")
    np.testing.assert_array_equal(dna.is_soft_masked(record.bases), in_repeat)
    assert 0.1 < in_repeat.mean() < 0.3


def test_the_seed_settles_the_genome(model):
    first, again, other = (simulate(model, [3000, 2000], seed) for seed in (1, 1, 2))
    assert [record.name for record in first] == ["sim1", "sim2"]
    assert [len(record.bases) for record in first] == [3000, 2000]
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.bases, two.bases)
    assert (first[0].bases != other[0].bases).mean() > 0.5
    assert (first[0].bases[:2000] != first[1].bases).mean() > 0.5
    np.testing.assert_array_equal(simulate(model, [10, 2000], 1)[1].bases, first[1].bases)
    assert simulate(model, [0], 1)[0].bases.shape == (0,)


def test_seed_zero_is_the_same_genome_in_every_version():
    assert text(simulate(demo_genome_model(0), [60], seed=0)[0].bases) == GENOME_OF_SEED_ZERO


def test_another_seed_is_another_source():
    first, second = demo_genome_design(0), demo_genome_design(1)
    assert first.repeats[0].consensus != second.repeats[0].consensus
    assert first.genes[0].codons != second.genes[0].codons


def test_a_negative_length_is_refused(model):
    with pytest.raises(InputError, match="sim2: -1 bases"):
        simulate(model, [5, -1], seed=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"background": {"AAA": 1.0}}, "reverse complements"),
        ({"background": {"AT": 0.5, "TA": 0.5}}, "3 bases or more"),
        ({"background": {"AAA": 0.5, "TTTT": 0.5}}, "words of one length"),
        ({"background": {"AAN": 1.0}}, "pattern"),
        ({"background": {}}, "probabilities must sum to 1"),
        ({"repeats": ()}, "shares: the probabilities must sum to 1"),
        ({"mean_background_bases": 1.0}, "greater than 1"),
    ],
)
def test_a_design_that_makes_no_genome_is_refused(design, change, message):
    with pytest.raises(ValidationError, match=message):
        GenomeDesign.model_validate(design.model_dump() | change)


def test_fasta_holds_the_records(tmp_path, model):
    records = simulate(model, [1000, 61, 60], seed=0)
    write_fasta(records, tmp_path / "genome.fa")
    lines = (tmp_path / "genome.fa").read_text().splitlines()
    headers = [number for number, line in enumerate(lines) if line.startswith(">")]
    assert [lines[number] for number in headers] == [">sim1", ">sim2", ">sim3"]
    for record, (start, end) in zip(records, pairwise([*headers, len(lines)]), strict=True):
        assert "".join(lines[start + 1 : end]) == text(record.bases)
        assert {len(line) for line in lines[start + 1 : end - 1]} <= {60}
    write_fasta(records, tmp_path / "genome.fa.gz")
    assert gzip.decompress((tmp_path / "genome.fa.gz").read_bytes()) == (tmp_path / "genome.fa").read_bytes()
    write_fasta(records[:1], tmp_path / "long.fa", line_bases=1000)
    assert (tmp_path / "long.fa").read_text() == f">sim1\n{text(records[0].bases)}\n"


def test_the_simulation_file_gives_genome_and_entropy_back(tmp_path):
    genome = tmp_path / "demo.fa"
    written = simulate_to_file(genome, bases=10_001, records=3, seed=4)
    read = read_simulation(simulation_file(genome))
    assert read == written and read.record_bases == (3334, 3334, 3333)
    letters = "".join(line for line in genome.read_text().splitlines() if not line.startswith(">"))
    assert "".join(text(record.bases) for record in read.records()) == letters
    windows = [record.bases for record in read.records()]
    np.testing.assert_array_equal(read.window_bits(windows), window_bits(demo_genome_model(4), windows))


def test_a_file_that_is_no_simulation_is_refused(tmp_path):
    with pytest.raises(MissingFileError, match=r"nowhere.json: no such file; give"):
        read_simulation(tmp_path / "nowhere.json")
    other = tmp_path / "other.json"
    for content in ('{"seed": 1}', "ACGT", '{"schema_version": 1}'):
        other.write_text(content)
        with pytest.raises(InputError, match=r"other.json: .*; give the .json") as caught:
            read_simulation(other)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="2 bases in 3 records"):
        simulate_to_file(tmp_path / "x.fa", bases=2, records=3)
