"""prepare, embed, score and tracks in several processes write the bytes of one."""

import hashlib
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest

from primase import embed_to_file, processes, score, tracks
from primase.corpus import prepare as preparing
from primase.embedding import vectors
from primase.errors import InputError
from primase.recipe import Recipe
from primase.variants import annotate, saturation
from tests.models import tiny_model
from tests.several import command_line, results, together

SMALL_UNITS = {
    (vectors, "SEQUENCES_OF_A_GROUP"): 4,
    (annotate, "CHANGES_OF_A_CHUNK"): 30,
    (saturation, "BASES_OF_A_CHUNK"): 16,
    (preparing, "TOKENIZE_BATCH_BASES"): 500,
}
"""So that each process has several, and the last turn is not full: 3 groups of sequences, 3 chunks of a region, …"""


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A genome of two records with an N, variants, sequences, and a model."""
    folder = tmp_path_factory.mktemp("place")
    draw = np.random.default_rng(3)
    records = {name: "".join(draw.choice(list("ACGT"), bases)) for name, bases in (("b", 1500), ("a", 700))}
    records["b"] = records["b"][:400] + "NNN" + records["b"][403:]
    (folder / "genome.fa").write_text("".join(f">{name}\n{text}\n" for name, text in records.items()))
    lines = ["##fileformat=VCFv4.2", "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"]
    for position in sorted(draw.choice(np.arange(450, 1400), 40, replace=False).tolist()):
        ref = records["b"][position - 1]
        alt = "ACGT".replace(ref, "")[position % 3] if position % 4 else ref + "GA"
        lines.append(f"b\t{position}\t.\t{ref}\t{alt}\t.\tPASS\tDP=3")
    (folder / "variants.vcf").write_text("\n".join(lines) + "\n")
    sequences = ["".join(draw.choice(list("ACGT"), bases)) for bases in draw.integers(5, 150, 11)]
    (folder / "sequences.fa").write_text("".join(f">s{n}\n{bases}\n" for n, bases in enumerate(sequences)))
    loaded = tiny_model(k=3)
    loaded.model.save_pretrained(folder / "model")
    loaded.tokenizer.model_max_length = loaded.context_tokens
    loaded.tokenizer.save_pretrained(folder / "model")
    return folder


def everything(place: Path, out: Path) -> dict[str, int]:
    """All four, into the folder `out`; a few figures of their results, and how many units this process computed."""
    model, genome, computed = place / "model", place / "genome.fa", [0]
    recipe = Recipe.load(
        "default",
        {"tokenizer.kind": "byte-pair", "tokenizer.vocabulary_tokens": 64, "data.window_bases": 100}
        | {"split.strategy": "random", "data.unknown_bases": "drop"},
    )
    shared = processes.shared

    def counted(units, compute):
        def count(unit):
            computed[0] += 1
            return compute(unit)

        return shared(units, count)

    with ExitStack() as stack:
        for (module, name), value in SMALL_UNITS.items():
            stack.enter_context(patch.object(module, name, value))
        stack.enter_context(patch.object(processes, "shared", counted))
        corpus = preparing.prepare([genome], out / "corpus", recipe)
        rows = [
            embed_to_file(model, [place / "sequences.fa"], out / f"v.{end}").sequences for end in ("npy", "parquet")
        ]
        variants = score(
            model,
            genome=genome,
            vcf=place / "variants.vcf",
            output=out / "scored.vcf.gz",
            table=out / "scored.tsv",
            context_bases=40,
            after_bases=12,
        )
        region = score(model, genome=genome, regions=["a:101-140"], output=out / "region.parquet", context_bases=40)
        bits = tracks(model, genome, out / "track.bw", what="surprisal,entropy", strands="both", piece_bases=200)
    return {
        "computed": computed[0],
        "tokens": corpus.description["tokens"],
        "rows": rows,
        "scored": (variants.scored, variants.indels_with_z, variants.mean_llr_nats),
        "region": (region.scored, region.mean_llr_nats),
        "bits": (bits.bases, bits.mean_bits),
    }


def digests(folder: Path) -> dict[str, str]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.mark.parametrize("count", [2, 3])
def test_the_bytes_are_those_of_one_process(count, place, tmp_path):
    one = everything(place, tmp_path / "one")
    several = results(together(everything, place, tmp_path / "several", processes=count))
    written = digests(tmp_path / "several")
    assert written == digests(tmp_path / "one") and len(written) >= 13
    computed = [each.pop("computed") for each in several]
    assert sum(computed) == one.pop("computed") and max(computed) - min(computed) <= 6 and min(computed) >= 10
    assert several == [one] * count


def failing_in_the_last(place: Path, out: Path) -> None:
    """The last process cannot compute its share of a track."""
    from primase.base_values import BaseValues

    if processes.rank() == processes.count() - 1:
        BaseValues.values = lambda *_: (_ for _ in ()).throw(InputError("this one cannot"))
    command_line("tracks", place / "model", place / "genome.fa", "-o", out)


def test_a_share_that_cannot_be_computed_stops_all(place, tmp_path):
    """One line, nothing half-written."""
    ends = together(failing_in_the_last, place, tmp_path / "out" / "track.bw", seconds=60)
    assert [end.result for end in ends] == [2, 2]
    told = [line for end in ends for line in end.printed.splitlines() if line.startswith("primase: ")]
    assert len(told) == 1 and told[0] == "primase: this one cannot"
    assert list((tmp_path / "out").iterdir()) == []


def test_other_commands_say_that_they_run_in_one_process(place):
    ends = together(command_line, "evaluate", place / "model", "--sequences", place / "genome.fa")
    assert [end.result for end in ends] == [2, 2]
    assert "primase evaluate runs in one process" in ends[0].printed and ends[1].printed == ""
