"""The kinds of cases: which good file is broken, and the commands that read it.

A kind gets the chance of its case, the good files and an empty folder; it writes its broken file there and returns the
arguments of `primase`, called in that folder. What is written goes to a name that begins with `out`.
"""

import gzip
import io
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.fuzz.damage import BYTE_DAMAGES, HOSTILE_NUMBERS, HOSTILE_TEXTS, HOSTILE_VALUES, damaged, damaged_json
from benchmarks.fuzz.inputs import Inputs

Arguments = list[str]
Kind = Callable[[random.Random, Inputs, Path], Arguments]

LETTERS = "ACGTacgtNnRYKMSWBDHVU"


def _reading(chance: random.Random, inputs: Inputs, file: str) -> Arguments:
    """A command that reads a file of sequences."""
    run = str(inputs.folder / chance.choice(("run", "run", "krun")))
    recipe = str(inputs.folder / chance.choice(("base.toml", "kmer.toml")))
    return chance.choice(
        (
            ["prepare", file, "-o", "out", "-r", recipe],
            ["prepare", file, "-o", "out", "-r", recipe, "--set", "data.short_records=skip"],
            ["prepare", file, "-o", "out", "-r", recipe, "--set", "split.strategy=records"],
            ["embed", run, file, "-o", "out.npy"],
            ["embed", run, file, "-o", "out.parquet", "--both-strands", "--layer", "all"],
            ["tokenizer", "byte-pair", file, "-o", "out"],
            ["tracks", run, file, "-o", "out.bedgraph"],
            ["search", "query", str(inputs.folder / "index"), file, "-o", "out.bed"],
            ["predict", str(inputs.folder / "task"), file, "-o", "out.csv"],
        )
    )


def fasta(chance: random.Random, inputs: Inputs, folder: Path) -> Arguments:
    """Damaged FASTA, plain or gzip of it."""
    data = damaged(chance, inputs.read(chance.choice(("g.fa", "short.fa"))))
    name = chance.choice(("x.fa", "x.fa", "x.fasta", "x.txt", "x.fa.gz"))
    (folder / name).write_bytes(gzip.compress(data, mtime=0) if name.endswith("gz") else data)
    return _reading(chance, inputs, name)


def fasta_by_grammar(chance: random.Random, inputs: Inputs, folder: Path) -> Arguments:
    """FASTA made anew: any records, odd names, codes, blanks and line ends."""
    lines = []
    for number in range(chance.randint(1, 4)):
        name = chance.choice((f"r{number}", f"r{number} text", *HOSTILE_TEXTS))
        lines.append(f">{name}")
        for _ in range(chance.randint(0, 3)):
            letters = chance.choice(("ACGT", "ACGT", "ACGTN", "N", LETTERS, "A", "ACGT -*X"))
            lines.append("".join(chance.choices(letters, k=chance.choice((0, 1, 2, 3, 40, 120)))))
    text = chance.choice(("\n", "\n", "\r\n")).join(lines) + chance.choice(("", "\n", "\n\n"))
    (folder / "x.fa").write_bytes(text.encode("utf-8", "replace"))
    return _reading(chance, inputs, "x.fa")


def gzipped(chance: random.Random, inputs: Inputs, folder: Path) -> Arguments:
    """Damage within the gzip data."""
    (folder / "x.fa.gz").write_bytes(damaged(chance, inputs.read("g.fa.gz"), BYTE_DAMAGES))
    return _reading(chance, inputs, "x.fa.gz")


def table(chance: random.Random, inputs: Inputs, folder: Path) -> Arguments:
    """Damaged CSV or TSV."""
    suffix = chance.choice(("csv", "tsv"))
    (folder / f"x.{suffix}").write_bytes(damaged(chance, inputs.read(f"t.{suffix}")))
    column = chance.choice(([], [], ["--column", "sequence"], ["--column", "label"]))
    arguments = _reading(chance, inputs, f"x.{suffix}")
    return arguments + (column if arguments[0] in ("embed", "predict") else [])


def parquet(chance: random.Random, inputs: Inputs, folder: Path) -> Arguments:
    """Damaged Parquet, or whole files whose columns are of another type."""
    if chance.random() < 0.6:
        (folder / "x.parquet").write_bytes(damaged(chance, inputs.read("t.parquet"), BYTE_DAMAGES))
    else:
        cells = chance.choice(
            (
                ["ACGT" * 12] * 3,
                [b"ACGT" * 12, b"\xff", None],
                [1, 2, 3],
                [None] * 3,
                [],
                [["A"]] * 3,
                ["", "A", "N" * 50],
            )
        )
        names = chance.choice((["a", "b", "c"], ["a", "a", "a"], [None] * 3, [1.5, 2.5, None], [{"x": 1}] * 3))
        columns = {chance.choice(("sequence", "text", "other")): cells, "name": names[: len(cells)]}
        pq.write_table(pa.table(columns), folder / "x.parquet")
    return _reading(chance, inputs, "x.parquet")


def variants(chance: random.Random, inputs: Inputs, folder: Path) -> Arguments:
    """VCF: of every kind, and damaged in two of three cases."""
    text = inputs.vcf(chance).encode()
    name = chance.choice(("x.vcf", "x.vcf", "x.vcf.gz"))
    data = damaged(chance, text) if chance.random() < 0.67 else text
    (folder / name).write_bytes(gzip.compress(data, mtime=0) if name.endswith("gz") else data)
    return _scored(chance, inputs, name)


def binary_variants(chance: random.Random, inputs: Inputs, folder: Path) -> Arguments:
    """Damaged BCF, and damaged gzip of VCF."""
    name = chance.choice(("v.bcf", "v.vcf.gz"))
    (folder / name).write_bytes(damaged(chance, inputs.read(name), BYTE_DAMAGES))
    return _scored(chance, inputs, name)


def _scored(chance: random.Random, inputs: Inputs, name: str) -> Arguments:
    run, genome = str(inputs.folder / chance.choice(("run", "krun"))), str(inputs.folder / "g.fa")
    out = chance.choice(("out.tsv", "out.vcf", "out.vcf.gz", "out.parquet"))
    options = chance.choice(([], ["--indel-nulls", "0"], ["--strict-ref"], ["--token-scores"], ["--after-bases", "3"]))
    return ["score", run, "--genome", genome, "--vcf", name, "-o", out, *options]


def regions(chance: random.Random, inputs: Inputs, folder: Path) -> Arguments:
    """Damaged BED, and odd regions in the notation of samtools."""
    genome = str(inputs.folder / "g.fa")
    run = str(inputs.folder / chance.choice(("run", "krun")))
    if chance.random() < 0.3:
        first, last = (chance.choice((0, 1, 5, 40, 480, 481, 10**20, -3, "", "x")) for _ in range(2))
        region = chance.choice((f"chr1:{first}-{last}", f"{first}:{last}", *HOSTILE_TEXTS)) or "x"
        return ["score", run, "--genome", genome, f"--regions={region}", "-o", "out.tsv"]
    (folder / "x.bed").write_bytes(damaged(chance, inputs.read(chance.choice(("a.bed", "a12.bed")))))
    if chance.random() < 0.5:
        return ["score", run, "--genome", genome, "--regions", "x.bed", "-o", "out.tsv"]
    return ["embed", run, "--regions", "x.bed", "--genome", genome, "-o", "out.npy"]


def annotations(chance: random.Random, inputs: Inputs, folder: Path) -> Arguments:
    """Damaged GFF3, GTF and BED."""
    name = chance.choice(("a.gff3", "a.gtf", "a.bed", "a12.bed"))
    (folder / name).write_bytes(damaged(chance, inputs.read(name)))
    return ["evaluate", str(inputs.folder / "run"), "--sequences", str(inputs.folder / "g.fa"), "--annotations", name]


def recipe(chance: random.Random, inputs: Inputs, folder: Path) -> Arguments:
    """A damaged recipe, or one with odd settings."""
    (folder / "x.toml").write_bytes(
        damaged(chance, inputs.read("base.toml")) if chance.random() < 0.6 else inputs.read("base.toml")
    )
    settings: Arguments = []
    for _ in range(chance.choice((0, 1, 1, 2))):
        key = chance.choice(SETTINGS)
        value = chance.choice(
            (str(chance.choice(HOSTILE_NUMBERS)), chance.choice(HOSTILE_TEXTS), "[]", "{}", "true", "['chr1']", "'x'")
        )
        settings += ["--set", f"{key}={value}"]
    return ["prepare", str(inputs.folder / "g.fa"), "-o", "out", "-r", "x.toml", *settings]


SETTINGS = (
    "seed", "name", "data.window_bases", "data.short_records", "data.column", "data.x", "split.strategy",
    "split.heldout_fraction", "split.validation_fraction", "split.heldout_records", "split.heldout_regions",
    "split.block_bases", "split.gap_bases", "tokenizer.kind", "tokenizer.k", "tokenizer.name",
    "tokenizer.vocabulary_tokens", "tokenizer.padding_side", "model.settings", "model.settings.a.b", "training", "",
)  # fmt: skip


def _copied(inputs: Inputs, name: str, folder: Path) -> Path:
    return Path(shutil.copytree(inputs.folder / name, folder / name, copy_function=shutil.copyfile))


def _break_one(chance: random.Random, folder: Path, patterns: tuple[str, ...]) -> None:
    """One of the files is damaged, after its kind; seldom it is gone, or a folder."""
    files = sorted(file for pattern in patterns for file in folder.glob(pattern) if file.is_file())
    file = chance.choice(files)
    if chance.random() < 0.06:
        file.unlink()
        if chance.random() < 0.3:
            file.mkdir()
        return
    data = file.read_bytes()
    if file.suffix == ".json":
        file.write_bytes(damaged_json(chance, data))
    elif file.suffix == ".npy" and chance.random() < 0.4:
        file.write_bytes(_other_array(chance))
    else:
        is_text = file.suffix in (".toml", ".jsonl")
        file.write_bytes(damaged(chance, data) if is_text else damaged(chance, data, BYTE_DAMAGES))


def _other_array(chance: random.Random) -> bytes:
    arrays = (
        np.zeros((3, 4)), np.zeros(5), np.array(3.0), np.full((4, 16), np.nan), np.zeros((0, 16)), np.zeros((4, 0)),
        np.array(["a", "b"]), np.ones((4, 16), complex), np.arange(64).reshape(4, 16), np.array([{}], object),
        np.full((4, 16), 1e300), np.zeros((2, 3, 4), np.float32), np.zeros(3, [("start", "<i8")]),
    )  # fmt: skip
    out = io.BytesIO()
    np.save(out, chance.choice(arrays), allow_pickle=True)
    return out.getvalue()


def run_folder(chance: random.Random, inputs: Inputs, folder: Path) -> Arguments:
    """A run in which one file is broken."""
    run = _copied(inputs, "run", folder)
    _break_one(chance, run, ("*.json", "*.toml", "*.jsonl", "final/*.json", "corpus/*"))
    command = chance.choice(("report", "report", "report", "evaluate", "embed"))
    return (
        [command, "run"] if command != "embed" else [command, "run", str(inputs.folder / "short.fa"), "-o", "out.npy"]
    )


def checkpoint(chance: random.Random, inputs: Inputs, folder: Path) -> Arguments:
    """A run to go on with, whose checkpoint is broken."""
    run = _copied(inputs, "run", folder)
    _break_one(chance, run, ("checkpoints/*/*.json", "checkpoints/*/*"))
    return ["pretrain", "--resume", "run"]


def model_folder(chance: random.Random, inputs: Inputs, folder: Path) -> Arguments:
    """A broken model or classifier."""
    name = chance.choice(("run", "krun", "task"))
    shutil.copytree(inputs.folder / name / "final", folder / "model")
    _break_one(chance, folder / "model", ("*.json", "*.json", "*.safetensors"))
    if name == "task":
        return ["predict", "model", str(inputs.folder / "short.fa"), "-o", "out.csv"]
    return ["embed", "model", str(inputs.folder / "short.fa"), "-o", "out.npy"]


def corpus(chance: random.Random, inputs: Inputs, folder: Path) -> Arguments:
    """A broken corpus."""
    name = chance.choice(("corpus", "pairs"))
    place = _copied(inputs, name, folder)
    _break_one(chance, place, ("*", "*.json", "tokenizer/*"))
    settings = ["tokenizer.kind=byte-pair", "tokenizer.vocabulary_tokens=40"] if name == "pairs" else []
    options = [part for setting in settings for part in ("--set", setting)]
    return ["plan", name, "-r", str(inputs.folder / "base.toml"), *options]


def compressed(chance: random.Random, inputs: Inputs, folder: Path) -> Arguments:
    """A broken .prm file."""
    (folder / "x.prm").write_bytes(damaged(chance, inputs.read("s.prm"), BYTE_DAMAGES))
    return ["decompress", str(inputs.folder / "run"), "x.prm", "-o", "out.fa"]


def vectors(chance: random.Random, inputs: Inputs, folder: Path) -> Arguments:
    """Broken vectors, for a map of them."""
    suffix = chance.choice(("npy", "npy", "parquet", "h5ad"))
    damage = _other_array(chance) if suffix == "npy" and chance.random() < 0.3 else None
    data = damaged(chance, inputs.read(f"v.{suffix}"), BYTE_DAMAGES) if damage is None else damage
    (folder / f"x.{suffix}").write_bytes(data)
    return ["picture", "map", f"x.{suffix}", "-o", "out.svg"]


def index(chance: random.Random, inputs: Inputs, folder: Path) -> Arguments:
    """A broken index of windows."""
    place = _copied(inputs, "index", folder)
    _break_one(chance, place, ("*", "*.json"))
    return ["search", "query", "index", str(inputs.folder / "short.fa"), "-o", "out.bed"]


def simulation(chance: random.Random, inputs: Inputs, folder: Path) -> Arguments:
    """A broken description of a simulated genome."""
    (folder / "x.json").write_bytes(damaged_json(chance, inputs.read("sim.fa.json")))
    return ["evaluate", str(inputs.folder / "run"), "--simulation", "x.json"]


def arguments(chance: random.Random, inputs: Inputs, folder: Path) -> Arguments:
    """Good files and odd values of options, or a path that is not what it should be."""
    run, genome = str(inputs.folder / "run"), str(inputs.folder / "short.fa")
    value = str(chance.choice(HOSTILE_VALUES)).replace("\x00", "") or "x"
    return chance.choice(
        (
            ["embed", run, genome, "-o", "out.npy", f"--layer={value}"],
            ["embed", run, genome, "-o", "out.npy", f"--pooling={value}"],
            ["embed", f"./{value}"[:200], genome, "-o", "out.npy"],
            ["embed", run, f"./{value}"[:300], "-o", "out.npy"],
            ["evaluate", f"./{value}"],
            ["tracks", run, genome, "-o", "out.bedgraph", f"--what={value}"],
            ["tracks", run, genome, "-o", "out.bedgraph", f"--strands={value}"],
            ["report", f"./{value}"],
            ["prepare", genome, "-o", "out", f"--recipe={value}"],
            ["search", "query", f"./{value}", genome],
            ["tokenizer", value if value[0] != "-" else "x", genome, "-o", "out"],
            ["picture", "map", f"./{value}", "-o", "out.svg"],
        )
    )


KINDS: dict[str, Kind] = {
    kind.__name__.replace("_", " "): kind
    for kind in (
        fasta, fasta_by_grammar, gzipped, table, parquet, variants, binary_variants, regions, annotations, recipe,
        run_folder, checkpoint, model_folder, corpus, compressed, vectors, index, simulation, arguments,
    )
}  # fmt: skip

DEAR = {"annotations", "regions", "checkpoint", "run folder", "vectors"}
"""Kinds whose cases take long where they end well; they are drawn half as often."""
