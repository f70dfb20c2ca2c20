"""Broken files, each made by hand: one line that names the file, exit code 2, and nothing half-written.

Beside `test_bad_input.py`, which has the mistakes of users, stand here files that a disk, a transfer or a program has
damaged, those of Primase itself too; each bug that the fuzzer has found is here as the smallest file that shows it.
"""

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file, save_file

from primase.corpus.cut import WINDOW_DTYPE
from primase.training.checkpoints import MARKER, checkpoint_folder

BASES = "TGAAAATTCACCGCGGGGCTTTACGATCGATTAGC" * 4
HEADER = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"


@pytest.fixture
def run(finished_run: Path, workplace: Path) -> Path:
    return Path(shutil.copytree(finished_run, "run"))


@pytest.fixture
def genome(workplace: Path) -> Path:
    Path("g.fa").write_text(f">chr1\n{BASES}\n")
    return Path("g.fa")


SEQUENCES: dict[str, tuple[bytes, str]] = {
    "nul.fa": (b">a\nACGT\x00ACGT\n", "line 2: byte 0x00 is no letter"),
    "carriage_returns.fa": (b">a\rACGT\r", "lines end in a lone carriage return"),
    "nameless.fa": (b">\nACGT\n", "line 1: header without a name"),
    "no_bases.fa": (b">a\n>b\nACGT\n", "line 1: record a has no bases"),
    "text_first.fa": (b"ACGT\n>a\nACGT\n", "text before the first header"),
    "utf16.fa": (">a\nACGT\n".encode("utf-16"), "UTF-16 text; convert it"),
    "zip.fa": (b"PK\x03\x04....", "a zip archive; convert it"),
    "endless_header.fa": (b">" + b"x" * (2 << 20), "header of more than 1,048,576 bytes"),
    "half.fa.gz": (gzip.compress(BASES.encode() * 50)[:-9], "truncated: the gzip data stop before their end"),
    "bits.fa.gz": (b"\x1f\x8b\x08\x00" + b"\xff" * 40, "corrupt gzip data"),
    "twice.fa.gz": (gzip.compress(gzip.compress(b">a\nACGT\n")), "text before the first header"),
    "latin.csv": (b"name,s\xe9quence\na,ACGT\n", "the header is not a line of UTF-8 text"),
    "quote.csv": (b'name,sequence\na,"ACGT\nb,ACGT\n', "row 1: column 'sequence': byte 0x0a is no letter"),
    "columns.csv": (b"sequence,sequence\nACGT,ACGT\n", "column 'sequence' is there 2 times"),
    "missing.tsv": (b"name\tsequence\na\tNA\n", "row 1: column 'sequence' is empty"),
    "not.parquet": (b"PAR1" + b"\x00" * 40 + b"PAR1", "not a whole Parquet file"),
}


@pytest.mark.parametrize("name", SEQUENCES)
@pytest.mark.parametrize("command", ["embed", "prepare"])
def test_sequences(command, name, primase, inputs, finished_run, workplace):
    content, said = SEQUENCES[name]
    Path(name).write_bytes(content)
    model, out = ([finished_run], "out.npy") if command == "embed" else ([], "out")
    recipe = ["-r", inputs / "tiny.toml"] if command == "prepare" else []
    refusal = primase(command, *model, name, "-o", out, *recipe).refusal
    assert name in refusal and said in refusal
    assert [entry.name for entry in workplace.iterdir()] == [name]


@pytest.mark.parametrize("cells", [[1, 2], [["A"], ["C"]], [None, None], [True, False], [1.5, 2.5]], ids=str)
def test_parquet_of_other_types(cells, primase, finished_run, workplace):
    pq.write_table(pa.table({"sequence": cells}), "x.parquet")
    assert "x.parquet" in primase("embed", finished_run, "x.parquet", "-o", "out.npy").refusal
    assert not Path("out.npy").exists()


VARIANTS = {
    "headless": ("chr1\t3\t.\tA\tC\t.\t.\t.\n", "not a VCF"),
    "blanks for tabs": (HEADER.replace("\t", " "), "not a VCF: no line #CHROM, POS, ID"),
    "cut header": (HEADER[:40] + "\nchr1\t3\n", "not a VCF: no line #CHROM, POS, ID"),
    "few columns": (HEADER + "chr1\t3\t.\n", "record 1: 3 columns where the header has 8"),
    "no number": (HEADER + "chr1\tx\t.\tA\tC\t.\t.\t.\n", "record 1: position 'x' is no number"),
    "no bases": (HEADER + "chr1\t3\t.\t7\tC\t.\t.\t.\n", "record 1: REF '7' is no bases"),
    "far away": (HEADER + "chr1\t99999999999999999999\t.\tA\tC\t.\t.\t.\n", "1 lie past the end of their contig"),
    "elsewhere": (
        HEADER + "\udcff\udcfe\t3\t.\tA\tC\t.\t.\t.\n",
        "none of its contigs (\\\\xff\\\\xfe) is in the genome",
    ),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_variants(name, primase, finished_run, genome):
    text, said = VARIANTS[name]
    Path("v.vcf").write_bytes(text.encode("utf-8", "surrogateescape"))
    refusal = primase("score", finished_run, "--genome", genome, "--vcf", "v.vcf", "-o", "out.tsv").refusal
    assert "v.vcf" in refusal and said.replace("\\\\", "\\") in refusal
    assert not Path("out.tsv").exists()


def test_variants_with_bytes_that_are_no_text_come_out_in_every_format(primase, finished_run, genome):
    line = f"chr1\t3\t\udcff\t{BASES[2]}\tG,\udcfe\t.\t.\t.\n"
    Path("v.vcf").write_bytes((HEADER + line).encode("utf-8", "surrogateescape"))
    for out in ("out.tsv", "out.parquet", "out.vcf"):
        arguments = ["score", finished_run, "--genome", genome, "--vcf", "v.vcf", "-o", out, "--indel-nulls", "0"]
        assert primase(*arguments).code == 0
    assert "\\xff" in Path("out.tsv").read_text() and b"\t\xff\t" in Path("out.vcf").read_bytes()


def test_a_cut_off_bcf(primase, finished_run, genome):
    import pysam

    Path("v.vcf").write_text(
        HEADER.replace("#CHROM", "##contig=<ID=chr1>\n#CHROM") + f"chr1\t3\t.\t{BASES[2]}\tG\t.\t.\t.\n"
    )
    with pysam.VariantFile("v.vcf") as source, pysam.VariantFile("v.bcf", "wb", header=source.header) as out:
        for record in source:
            out.write(record)
    whole = Path("v.bcf").read_bytes()
    for content in (whole[: len(whole) // 2], gzip.compress(gzip.decompress(whole)[:30])):
        Path("v.bcf").write_bytes(content)
        refusal = primase("score", finished_run, "--genome", genome, "--vcf", "v.bcf", "-o", "out.tsv").refusal
        assert "v.bcf" in refusal and not Path("out.tsv").exists()


# ---- what Primase wrote ----


def _json(change: Callable[[dict], object]) -> Callable[[Path], None]:
    def damage(file: Path) -> None:
        values = json.loads(file.read_text())
        change(values)
        file.write_text(json.dumps(values))

    return damage


def _array(values: np.ndarray) -> Callable[[Path], None]:
    return lambda file: np.save(file, values, allow_pickle=False)


def _text(content: str) -> Callable[[Path], object]:
    return lambda file: file.write_text(content)


def _forget_sizes(corpus: Path) -> None:
    """As an older Primase wrote it: where sizes are noted, a file of another length is told before it is read."""
    _json(lambda values: (values.pop("bytes_of_file"), values.pop("sha256_of_file")))(corpus / "corpus.json")


OUTSIDE = np.array([(10**9, 60, 0, 2)], WINDOW_DTYPE)

CORPUS: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "not JSON": ("corpus.json", _text("{"), "corpus.json: not readable"),
    "no object": ("corpus.json", _text("[]"), "corpus.json: damaged: holds no object"),
    "no counts": ("corpus.json", _json(lambda v: v.pop("base_counts")), "damaged: base_counts: Field required"),
    "no parts": ("corpus.json", _json(lambda v: v["windows"].pop("heldout")), "windows.heldout: Field required"),
    "negative": ("corpus.json", _json(lambda v: v["base_counts"].update(A=-1)), "base_counts.A: Input should be"),
    "text": ("corpus.json", _json(lambda v: v["bases"].update(unused="x")), "bases.unused: Input should be"),
    "masked": ("corpus.json", _json(lambda v: v["base_counts"].update(soft_masked="x")), "base_counts.soft_masked: "),
    "infinite": ("corpus.json", _json(lambda v: v.update(records=float("inf"))), "Infinity is no finite number"),
    "no split": ("corpus.json", _json(lambda v: v.update(split="x")), "damaged: split: Input should be"),
    "cut off": ("bases.bin", lambda file: file.write_bytes(file.read_bytes()[:-1]), "bases.bin: missing or cut off"),
    "no array": ("windows.npy", _text("{'descr'"), "windows.npy: not readable"),
    "half a header": ("windows.npy", lambda f: f.write_bytes(f.read_bytes()[:40]), "windows.npy: not readable"),
    "other array": ("windows.npy", _array(np.zeros((2, 3))), "windows.npy: damaged: holds float64 of shape [2, 3]"),
    "outside": ("windows.npy", _array(OUTSIDE), "windows.npy: damaged: windows outside of the bases"),
    "records": ("records.parquet", _text("PAR1PAR1"), "records.parquet: not readable"),
    "leakage": ("leakage.json", _json(lambda v: v.pop("part")), "leakage.json: damaged"),
    "leakage array": ("leakage.npy", _array(np.zeros(3)), "leakage.npy: damaged: holds float64 of shape [3]"),
}  # fmt: skip


@pytest.mark.parametrize("name", CORPUS)
def test_corpora(name, primase, run, contents):
    file, damage, said = CORPUS[name]
    _forget_sizes(run / "corpus")
    damage(run / "corpus" / file)
    before = contents(run)
    assert said in primase("evaluate", run).refusal
    assert contents(run) == before


def test_one_changed_base_of_the_corpus(primase, run):
    """Which no reader could notice: the checksum does."""
    _flip(run / "corpus" / "bases.bin", 4000)
    assert "bases.bin has changed since it was written" in primase("evaluate", run).refusal


def test_tokens_that_do_not_belong_to_their_corpus(primase, inputs, workplace):
    pairs = ["-r", inputs / "tiny.toml", "--set", "tokenizer.kind=byte-pair", "--set", "tokenizer.vocabulary_tokens=40"]
    assert primase("prepare", inputs / "genome.fa", "-o", "whole", *pairs).code == 0
    damages = {
        "token_starts.npy": _array(np.arange(3)),
        "tokens.bin": lambda file: file.write_bytes(b"\xff" * file.stat().st_size),
        "corpus.json": _json(lambda values: values.pop("tokens")),
    }
    for name, damage in damages.items():
        shutil.rmtree("corpus", ignore_errors=True)
        shutil.copytree("whole", "corpus")
        _forget_sizes(Path("corpus"))
        damage(Path("corpus") / name)
        assert f"corpus/{name}: damaged" in primase("plan", "corpus", *pairs).refusal


def _weights(change: Callable[[dict], object]) -> Callable[[Path], None]:
    def damage(file: Path) -> None:
        tensors = {name: np.array(tensor) for name, tensor in load_file(file).items()}
        change(tensors)
        save_file(tensors, file, {"format": "pt"})

    return damage


def _not_finite(tensors: dict) -> None:
    tensors["model.norm.weight"][0] = np.inf


def _vast_id(values: dict) -> None:
    values["model"]["vocab"]["T"] = 2**31 - 9


def _no_special_tokens(values: dict) -> None:
    values["post_processor"]["special_tokens"] = {}


MODELS: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "weights": ("model.safetensors", _weights(_not_finite), "weights that are not finite (norm.weight)"),
    "no weights": ("model.safetensors", _text("x"), "the model cannot be loaded"),
    "other width": ("config.json", _json(lambda v: v.update(hidden_size=24)), "the model cannot be loaded"),
    "no positions": ("config.json", _json(lambda v: v.update(max_position_embeddings=1)), "a context of 1 tokens"),
    "no heads": ("config.json", _json(lambda v: v.update(num_attention_heads=None)), "model"),
    "frequency": ("config.json", _json(lambda v: v["rope_parameters"].update(rope_theta=-0.0)), "not finite"),
    "length": ("tokenizer_config.json", _json(lambda v: v.update(model_max_length="x")), "tokenizer cannot be used"),
    "tokenizer": ("tokenizer.json", _text("{}"), "cannot load a fast tokenizer"),
    "vast id": ("tokenizer.json", _json(_vast_id), "a token with the id 2147483639, more than any vocabulary has"),
    "template": ("tokenizer.json", _json(_no_special_tokens), "the template names [BOS], which it does not define"),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_models(name, primase, run, genome, contents):
    file, damage, said = MODELS[name]
    damage(run / "final" / file)
    before = contents(run)
    assert said in primase("embed", run, genome, "-o", "out.npy").refusal
    assert contents(run) == before and not Path("out.npy").exists()


CHECKPOINTS: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "marker": (MARKER, _text("[]"), "no complete checkpoint to go on from"),
    "sizes": (MARKER, _json(lambda v: v.update(bytes_of_file=7)), "no complete checkpoint to go on from"),
    "checksums": (MARKER, _json(lambda v: v.update(sha256_of_file=[1])), "complete.json is missing or not readable"),
    "one bit": ("optimizer.pt", lambda f: _flip(f, 5000), "optimizer.pt has changed since it was written"),
    "a weight": ("model.safetensors", lambda f: _flip(f, -7), "model.safetensors has changed since it was written"),
}  # fmt: skip


def _flip(file: Path, place: int) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_checkpoints(name, primase, run, contents):
    file, damage, said = CHECKPOINTS[name]
    damage(checkpoint_folder(run, 2) / file)
    before = contents(run)
    assert said in primase("pretrain", "--resume", run).refusal
    assert contents(run) == before


INDEX: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "width": ("centre.npy", _array(np.zeros(3, np.float32)), "its files do not belong together"),
    "values": ("centre.npy", _array(np.full(16, np.inf, np.float32)), "its files do not belong together"),
    "type": ("centre.npy", _array(np.zeros(16)), "centre.npy: damaged: holds float64 of shape [16]"),
    "step": ("index.json", _json(lambda v: v.update(step_bases=0)), "index.json: damaged"),
    "places": ("windows.parquet", lambda f: pq.write_table(pq.read_table(f).slice(1), f), "do not belong together"),
    "names": ("windows.parquet", lambda f: pq.write_table(pa.table({"x": [1]}), f), "the index is damaged"),
    "vectors": ("vectors.faiss", lambda f: f.write_bytes(f.read_bytes()[:60]), "the index is damaged"),
}  # fmt: skip


@pytest.mark.parametrize("name", INDEX)
def test_indexes(name, primase, finished_run, genome):
    pytest.importorskip("faiss")
    arguments = ["--window-bases", 40, "--step-bases", 40]
    assert primase("search", "index", finished_run, genome, "-o", "index", *arguments).code == 0
    file, damage, said = INDEX[name]
    damage(Path("index") / file)
    assert said in primase("search", "query", "index", genome, "-o", "hits.bed").refusal
    assert not Path("hits.bed").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "sim.json: not readable"),
        ("[1]", "sim.json: damaged: holds no object"),
        ('{"seed": 1}', "sim.json: record_bases: Field required"),
        ("[" * 100_000, "sim.json: not readable"),
    ],
)
def test_simulations(content, said, primase, finished_run, workplace):
    Path("sim.json").write_text(content)
    assert said in primase("evaluate", finished_run, "--simulation", "sim.json").refusal


def test_a_simulation_of_vast_parts(primase, finished_run, workplace):
    assert primase("simulate", "-o", "sim.fa", "--bases", "1000", "--records", "1").code == 0
    _json(lambda values: values["design"]["genes"][0].update(spacer_bases=10**30))(Path("sim.fa.json"))
    refusal = primase("evaluate", finished_run, "--simulation", "sim.fa.json").refusal
    assert "sim.fa.json: design" in refusal and "spacer_bases" in refusal


@pytest.mark.parametrize(
    "values", [np.full((4, 3), 1e300), np.full((4, 3), np.nan), np.array(["a"]), np.zeros(0)], ids=str
)
def test_vectors(values, primase, workplace):
    np.save("v.npy", values)
    assert "v.npy: " in primase("picture", "map", "v.npy", "-o", "out.svg").refusal
    assert not Path("out.svg").exists()


def test_a_nul_in_a_variant(primase, finished_run, genome):
    Path("v.vcf").write_text(HEADER + f"ch\0r1\t3\t.\t{BASES[2]}\tG\t.\t.\t.\n")
    arguments = ["score", finished_run, "--genome", genome, "--vcf", "v.vcf", "-o", "out.vcf.gz"]
    assert "record 1: a NUL character in it" in primase(*arguments).refusal
    assert not Path("out.vcf.gz").exists()


def test_a_table_of_vectors_whose_names_are_no_text(primase, workplace):
    pq.write_table(pa.table({"embedding": [[1.0, 2.0]], "name": ["a"]}), "x.parquet")
    content = Path("x.parquet").read_bytes()
    Path("x.parquet").write_bytes(content.replace(b"name", b"n\xee\xeee"))
    assert "x.parquet: " in primase("picture", "map", "x.parquet", "-o", "out.svg").refusal


@pytest.mark.parametrize("digits", [20, 5000])
def test_a_position_that_no_genome_has(digits, primase, finished_run, genome):
    variant = f"chr1\t3\t.\t{BASES[2]}\tG\t.\t.\t.\n"
    Path("v.vcf").write_text(HEADER + variant + variant.replace("\t3\t", f"\t{'9' * digits}\t"))
    arguments = ["score", finished_run, "--genome", genome, "--vcf", "v.vcf", "-o", "out.parquet"]
    assert primase(*arguments).code == 0
    assert pq.read_table("out.parquet").num_rows == 2
