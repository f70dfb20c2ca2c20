"""The good files that cases begin with: made once, through the command line itself, small enough for milliseconds."""

import gzip
import json
import random
from collections.abc import Sequence
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.fuzz.verdict import SUCCESS, run

BASES = 480
RECIPE = """
name = "tiny"
data = { window_bases = 40 }
split = { strategy = "random" }
tokenizer = { kind = "KIND", k = 3 }
training = { steps = 2, rows_per_batch = 4 }
evaluation = { markov_max_order = 2, bootstrap_samples = 10, untrained_bases = 40 }
[model]
preset = "qwen3-tiny"
settings = { hidden_size = 16, intermediate_size = 32, num_hidden_layers = 1, num_attention_heads = 2, \
num_key_value_heads = 2, head_dim = 8, max_position_embeddings = 48 }
"""
GFF = """##gff-version 3
chr1\tx\tgene\t11\t200\t.\t+\t.\tID=g1
chr1\tx\tmRNA\t11\t200\t.\t+\t.\tID=t1;Parent=g1
chr1\tx\texon\t11\t90\t.\t+\t.\tParent=t1
chr1\tx\tCDS\t21\t90\t.\t+\t0\tParent=t1
chr2\tx\tgene\t5\t60\t.\t-\t.\tID=g2
"""
GTF = """chr1\tx\texon\t11\t90\t.\t+\t.\tgene_id "g1"; transcript_id "t1";
chr1\tx\tCDS\t21\t90\t.\t+\t0\tgene_id "g1"; transcript_id "t1";
"""
BED = "chr1\t10\t50\ta\t0\t+\nchr1\t100\t160\tb\t0\t-\nchr2\t0\t30\tc\t5\t.\n"
BED12 = "chr1\t10\t200\tt\t0\t+\t20\t180\t0\t2\t50,40\t0,150\n"


@dataclass(frozen=True)
class Inputs:
    """A folder of good files, and what they hold."""

    folder: Path
    sequences: dict[str, str]

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    def vcf(self, chance: random.Random) -> str:
        """A header and one to five variants that agree with the genome; of every kind that VCF knows."""
        lines = [
            "##fileformat=VCFv4.2",
            '##FILTER=<ID=PASS,Description="x">',
            '##INFO=<ID=AF,Number=A,Type=Float,Description="x">',
            '##INFO=<ID=DB,Number=0,Type=Flag,Description="x">',
            *(f"##contig=<ID={name},length=480>" for name in ("chr1", "chr2", "1")),
            "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO",
        ]
        for _ in range(chance.randint(1, 5)):
            name = chance.choice(("chr1", "chr1", "chr2", "1"))
            text = self.sequences["chr2" if name == "chr2" else "chr1"]
            place, width = chance.randrange(len(text)), chance.choice((1, 1, 1, 2, 5, 20))
            ref = text[place : place + width]
            alts = [
                chance.choice(("A", "C", ref + "GA", ref[:1], "TTTTTTT", "<DEL>", "*", "N", ".", "A[chr2:3["))
                for _ in range(chance.choice((1, 1, 1, 2, 3)))
            ]
            info = chance.choice((".", "DB"))
            lines.append(f"{name}\t{place + 1}\t.\t{ref}\t{','.join(alts)}\t.\tPASS\t{info}")
        return "\n".join(lines) + "\n"


def make_inputs(folder: Path) -> Inputs:
    """Write the good files into an empty folder. Raises RuntimeError where a command refuses one of them."""
    letters = np.random.default_rng(5).choice(list("ACGT"), BASES + 90)
    sequences = {"chr1": "".join(letters[:BASES]), "chr2": "".join(letters[BASES:])}
    inputs = Inputs(folder, sequences)
    fasta = "".join(f">{name} of nothing\n{text[:70]}\n{text[70:]}\n" for name, text in sequences.items())
    rows = [(f"s{i}", sequences["chr1"][5 * i :][:40], i % 2) for i in range(24)]
    texts = {
        "g.fa": fasta,
        "short.fa": f">a\n{fasta[20:52]}\n>b x\nACGTNNacgt\n",
        "t.csv": "name,sequence,label\n" + "".join(f"{n},{s},{label}\n" for n, s, label in rows),
        "t.tsv": "name\tsequence\tlabel\n" + "".join(f"{n}\t{s}\t{label}\n" for n, s, label in rows),
        "base.toml": RECIPE.replace("KIND", "base"),
        "kmer.toml": RECIPE.replace("KIND", "kmer"),
        "a.gff3": GFF,
        "a.gtf": GTF,
        "a.bed": BED,
        "a12.bed": BED12,
        "v.vcf": inputs.vcf(random.Random(1)),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, "utf-8")
    (folder / "g.fa.gz").write_bytes(gzip.compress(fasta.encode(), mtime=0))
    (folder / "v.vcf.gz").write_bytes(gzip.compress(texts["v.vcf"].encode(), mtime=0))
    names, bases, labels = zip(*rows, strict=True)
    pq.write_table(pa.table({"name": names, "sequence": bases, "label": labels}), folder / "t.parquet")
    _write_bcf(folder)
    with patch("primase.hardware.matrix_product_flops", lambda device, precision: 1e10), chdir(folder):
        _make_by_commands(folder)
    return inputs


def _write_bcf(folder: Path) -> None:
    import pysam

    with (
        pysam.VariantFile(str(folder / "v.vcf")) as source,
        pysam.VariantFile(str(folder / "v.bcf"), "wb", header=source.header) as out,
    ):
        for record in source:
            out.write(record)


def _make_by_commands(folder: Path) -> None:
    for name, recipe in (("run", "base.toml"), ("krun", "kmer.toml")):
        _call(folder, "pretrain", "g.fa", "-o", name, "-r", recipe)
    _call(folder, "evaluate", "run")
    _call(folder, "prepare", "g.fa", "-o", "corpus", "-r", "base.toml")
    pairs = ("--set", "tokenizer.kind=byte-pair", "--set", "tokenizer.vocabulary_tokens=40")
    _call(folder, "prepare", "g.fa", "-o", "pairs", "-r", "base.toml", *pairs)
    _call(folder, "compress", "run", "short.fa", "-o", "s.prm")
    _call(folder, "search", "index", "run", "g.fa", "-o", "index", "--window-bases", "40", "--step-bases", "40")
    for suffix in ("npy", "parquet", "h5ad"):
        _call(folder, "embed", "run", "t.csv", "-o", f"v.{suffix}")
    _call(folder, "simulate", "-o", "sim.fa", "--bases", "1000", "--records", "2")
    _call(folder, "finetune", "run", "t.csv", "--label", "label", "-o", "task", "--epochs", "1", "--no-rivals")
    # A case lies in another folder, and the index names its model by its path.
    text = (folder / "index" / "index.json").read_text("utf-8")
    (folder / "index" / "index.json").write_text(json.dumps(json.loads(text) | {"model": str(folder / "run")}), "utf-8")


def _call(folder: Path, *arguments: str) -> None:
    everything: Sequence[str] = ("run", "krun", "corpus", "pairs", "s.prm", "index", "task", "sim.fa", "sim.fa.json")
    outcome = run(arguments, folder, may_change=(*everything, "v.npy", "v.parquet", "v.h5ad"), limit=None)
    if outcome.kind != SUCCESS:
        raise RuntimeError(f"primase {' '.join(arguments)}: {outcome.complaint}\n{outcome.said}")
