"""primase tracks: values compared base by base with the model's predictions, the files of browsers, the mistakes."""

import gzip
import json
import shlex
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyBigWig
import pytest

from primase import dna
from primase.base_predictions import predict_bases, surprisal
from primase.base_values import values_of
from primase.genome_tracks import tracks
from primase.scoring import load_model
from tests.conftest import REPOSITORY
from tests.contract.test_readme import code_blocks
from tests.models import tiny_model

MODELS = {"k1": lambda: tiny_model(k=1, context_tokens=64), "k3": lambda: tiny_model(k=3, context_tokens=40)}


def sequence(bases: int, seed: int) -> np.ndarray:
    letters = np.random.default_rng(seed).choice(np.frombuffer(b"ACGTacgt", np.uint8), bases)
    letters[bases // 3 : bases // 3 + 4] = ord("N")
    return letters


@pytest.fixture
def genome(workplace: Path) -> dict[str, np.ndarray]:
    """Records of several lengths, not sorted by name, in genome.fa."""
    records = {"chr2": sequence(30, 1), "chr10": sequence(500, 2), "chr1": sequence(7, 3)}
    Path("genome.fa").write_text("".join(f">{name}\n{bases.tobytes().decode()}\n" for name, bases in records.items()))
    return records


def by_the_rule(loaded, bases: np.ndarray, window: int) -> np.ndarray:
    """Predictions as the page says: windows of which each gives its second half, the first all of itself."""
    found = np.full((len(bases), 4), np.nan)
    for begin in range(0, max(1, len(bases) - window // 2), window // 2):
        (predictions,) = predict_bases(loaded, [bases[begin : begin + window]])
        skipped = window // 2 if begin else 0
        found[begin + skipped : begin + window] = predictions[skipped:]
    return found


@pytest.mark.parametrize("model", MODELS)
def test_a_bigwig_holds_what_the_model_predicts(model, genome):
    loaded = MODELS[model]()
    result = tracks(loaded, "genome.fa", "out.bw", what="surprisal,entropy,information", strands="forward")
    assert result.files == {name: f"out.{name}.bw" for name in ("surprisal", "entropy", "information")}
    for quantity, file in result.files.items():
        with pyBigWig.open(file) as track:
            assert track.chroms() == {name: len(bases) for name, bases in genome.items()}
            for name, bases in genome.items():
                predictions = by_the_rule(loaded, bases, result.window_bases)
                if quantity == "surprisal":
                    expected = surprisal(predictions, bases)
                else:
                    entropy = -(predictions * np.log2(predictions)).sum(axis=1)
                    expected = entropy if quantity == "entropy" else 2 - entropy
                values = np.array(track.values(name, 0, len(bases)))
                assert (np.isnan(values) == ~dna.is_acgt(bases)).all(), "N and nothing else has no value"
                np.testing.assert_allclose(values, expected, atol=1e-4)
    assert result.bases == sum(int(dna.is_acgt(bases).sum()) for bases in genome.values())


def test_a_record_that_fits_is_read_whole(genome):
    loaded = tiny_model(k=3, context_tokens=64)
    tracks(loaded, "genome.fa", "out.bw")
    (predictions,) = predict_bases(loaded, [genome["chr2"]])
    with pyBigWig.open("out.bw") as track:
        values = np.array(track.values("chr2", 0, 30))
    np.testing.assert_allclose(values, surprisal(predictions, genome["chr2"]), atol=1e-4)


@pytest.mark.parametrize("model", MODELS)
def test_the_size_of_the_pieces_does_not_matter(model, genome):
    loaded = MODELS[model]()
    for piece_bases in (1 << 18, 97, 13):
        tracks(loaded, "genome.fa", "out.bw", strands="both", piece_bases=piece_bases, overwrite=True)
        with pyBigWig.open("out.bw") as track:
            values = np.array(track.values("chr10", 0, 500))
        if piece_bases > 500:
            expected = values
        np.testing.assert_allclose(values, expected, atol=1e-4)


def test_the_other_strand(genome):
    """Of the reverse complement, read backwards; and the mean of the two."""
    loaded = MODELS["k3"]()
    reverse = "".join(f">{name}\n{dna.reverse_complement(b).tobytes().decode()}\n" for name, b in genome.items())
    Path("reverse.fa").write_text(reverse)
    tracks(loaded, "genome.fa", "forward.bw")
    tracks(loaded, "reverse.fa", "other.bw")
    for strands in ("reverse", "both"):
        tracks(loaded, "genome.fa", f"{strands}.bw", strands=strands)
    values = {}
    for name in ("forward", "other", "reverse", "both"):
        with pyBigWig.open(f"{name}.bw") as track:
            values[name] = np.array(track.values("chr10", 0, 500))
    np.testing.assert_allclose(values["reverse"], values["other"][::-1], atol=1e-4)
    np.testing.assert_allclose(values["both"], (values["forward"] + values["reverse"]) / 2, atol=1e-4)
    assert np.nanmax(np.abs(values["forward"] - values["reverse"])) > 0.1


def test_entropy_of_known_predictions():
    predictions = np.array([[0.25] * 4, [1, 0, 0, 0], [0.5, 0.5, 0, 0], [np.nan] * 4], np.float32)
    bases = np.frombuffer(b"ACGN", np.uint8)
    np.testing.assert_allclose(values_of("entropy", predictions, bases), [2, 0, 1, np.nan], atol=1e-6)
    np.testing.assert_allclose(values_of("information", predictions, bases), [0, 2, 1, np.nan], atol=1e-6)


@pytest.mark.parametrize("name", ["out.bedgraph", "out.bedGraph.gz"])
def test_bedgraph_holds_the_same(name, genome, primase, finished_run):
    assert primase("tracks", finished_run, "genome.fa", "-o", "out.bw").code == 0
    assert primase("tracks", finished_run, "genome.fa", "-o", name).code == 0
    content = Path(name).read_bytes()
    text = (gzip.decompress(content) if name.endswith("gz") else content).decode()
    rows = [row.split("\t") for row in text.splitlines()]
    with pyBigWig.open("out.bw") as track:
        expected = [
            (record, place, value)
            for record in sorted(genome)
            for place, value in enumerate(track.values(record, 0, len(genome[record])))
            if not np.isnan(value)
        ]
    assert [(record, int(start), int(end)) for record, start, end, _ in rows] == [(r, p, p + 1) for r, p, _ in expected]
    np.testing.assert_allclose([float(row[3]) for row in rows], [value for _, _, value in expected], rtol=1e-4)


def test_what_is_printed(primase, genome, finished_run):
    outcome = primase("tracks", finished_run, "genome.fa", "-o", "sub/out.bw", "--what", "entropy")
    assert outcome.code == 0, outcome.err
    said = outcome.out.splitlines()
    assert said[0].startswith("525 bases in 3 records, strands: forward, ")
    assert said[1].startswith("sub/out.bw: entropy, mean ")
    again = primase("tracks", finished_run, "genome.fa", "-o", "sub/out.bw", "--overwrite", "--json")
    result = json.loads(again.out)
    loaded = load_model(finished_run)
    total = sum(
        float(np.nansum(surprisal(by_the_rule(loaded, bases, result["window_bases"]), bases)))
        for bases in genome.values()
    )
    assert result["mean_bits"] == {"surprisal": pytest.approx(total / 525, abs=1e-4)}
    assert [file.name for file in Path("sub").iterdir()] == ["out.bw"], "nothing hidden is left"


def test_the_hub_and_the_session_name_the_tracks(primase, genome, finished_run):
    arguments = ["genome.fa", "-o", "hub/my track.bw", "--what", "surprisal,information", "--hub", "hg38"]
    outcome = primase("tracks", finished_run, *arguments)
    assert outcome.code == 0, outcome.err
    hub = stanzas("hub/hub.txt")[0]
    assert {"hub", "shortLabel", "longLabel", "genomesFile", "email"} == hub.keys()
    assert hub["longLabel"] == f"model {Path(finished_run).name}, strands: forward", "not the folders it lies in"
    genomes = stanzas(f"hub/{hub['genomesFile']}")[0]
    assert genomes["genome"] == "hg38"
    shown = stanzas(f"hub/{genomes['trackDb']}")
    names = ["my track.surprisal.bw", "my track.information.bw"]
    assert [track["bigDataUrl"] for track in shown] == [name.replace(" ", "%20") for name in names]
    assert len({track["track"] for track in shown}) == 2 and all(track["type"].startswith("bigWig ") for track in shown)
    session = ElementTree.parse("hub/igv_session.xml").getroot()
    assert session.get("genome") == "hg38"
    assert [resource.get("path") for resource in session.iter("Resource")] == names
    assert all(Path("hub", name).is_file() for name in names)


def stanzas(file: str) -> list[dict[str, str]]:
    return [dict(row.split(" ", 1) for row in part.splitlines()) for part in Path(file).read_text().split("\n\n")]


MISTAKES = {
    "suffix": (["genome.fa", "-o", "out.wig"], "out.wig: a track is written as .bw, .bedgraph or .bedgraph.gz"),
    "what": (["genome.fa", "-o", "out.bw", "--what", "surprise"], "'surprise': choose from surprisal, entropy"),
    "strands": (["genome.fa", "-o", "out.bw", "--strands", "x"], "'x': choose forward, reverse, both"),
    "assembly": (["genome.fa", "-o", "out.bw", "--hub", "my genome"], "give the assembly's name in the browser"),
    "hub": (["genome.fa", "-o", "out.bedgraph", "--hub", "hg38"], "a track hub shows bigWig"),
    "absent": (["absent.fa", "-o", "out.bw"], "absent.fa: no such file"),
    "only N": (["n.fa", "-o", "out.bw"], "no A, C, G or T in it"),
    "twice": (["twice.fa", "-o", "out.bw"], "a second record is named a"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(mistake, primase, genome, finished_run, workplace, contents):
    Path("n.fa").write_text(">a\nNNNN\n")
    Path("twice.fa").write_text(">a\nACGT\n>a\nACGT\n")
    before = contents(workplace)
    arguments, message = MISTAKES[mistake]
    assert message in primase("tracks", finished_run, *arguments).refusal
    assert contents(workplace) == before


def test_files_of_a_hub_that_are_there_are_not_overwritten(primase, genome, finished_run, workplace, contents):
    Path("genomes.txt").write_text("mine")
    before = contents(workplace)
    refusal = primase("tracks", finished_run, "genome.fa", "-o", "out.bw", "--hub", "hg38").refusal
    assert "genomes.txt: already exists; pass --overwrite" in refusal
    assert contents(workplace) == before


def test_the_page_of_the_documentation(primase, genome, inputs):
    page = (REPOSITORY / "docs" / "tracks.md").read_text()
    commands = [text for block in code_blocks(page, "") for text in block.splitlines() if text.startswith("primase ")]
    assert len(commands) == 3
    assert primase("pretrain", inputs / "genome.fa", "-o", "runs/mine", "-r", inputs / "tiny.toml").code == 0
    for command in commands:
        outcome = primase(*shlex.split(command)[1:])
        assert outcome.code == 0, (command, outcome.err)
