"""Outputs that cannot be written: what is there stays as it was, and nothing half-written is left beside it."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

PROBE = ["--label", "label", "--method", "probe", "--no-rivals"]


def writing_commands(inputs: Path, run: Path, output: str) -> dict[str, list[str | Path]]:
    """The commands that write, each of them ready to write `output`."""
    genome, recipe = inputs / "genome.fa", ["-r", inputs / "tiny.toml"]
    return {
        "prepare": ["prepare", genome, "-o", output, *recipe],
        "pretrain": ["pretrain", genome, "-o", output, *recipe],
        "embed": ["embed", run, genome, "-o", f"{output}.npy"],
        "finetune": ["finetune", run, inputs / "labelled.csv", "-o", output, *PROBE],
        "generate": ["generate", run, "--bases", "30", "-o", f"{output}.fa"],
        "search index": ["search", "index", run, genome, "-o", output],
        "compress": ["compress", run, genome, "-o", f"{output}.prm"],
        "score": ["score", run, "--genome", genome, "--regions", "chr1:1-5", "-o", f"{output}.tsv"],
        "tracks": ["tracks", run, genome, "-o", f"{output}.bw"],
        "simulate": ["simulate", "-o", output, "--bases", "1000"],
        "tokenizer": ["tokenizer", "base", "-o", output],
        "demo": ["demo", "-o", output],
    }


WRITERS = list(writing_commands(Path(), Path(), ""))


@pytest.mark.parametrize("command", WRITERS)
@pytest.mark.parametrize("output", ["/dev/null/x", "a_file/x", "a_file/below/x"])
def test_output_below_a_file(command, output, primase, inputs, finished_run, workplace, contents):
    Path("a_file").write_text("mine")
    refusal = primase(*writing_commands(inputs, finished_run, output)[command]).refusal
    assert "Not a directory; a folder on the way to it is a file; choose another output" in refusal
    assert output.split("/")[-2] in refusal or output.split("/")[0] in refusal
    assert contents(workplace).keys() == {"a_file"}


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]], ids=["", "overwrite"])
@pytest.mark.parametrize("command", ["prepare", "pretrain", "demo"])
@pytest.mark.parametrize("kind", ["a file", "a foreign folder", "a folder with a recipe"])
def test_output_that_is_something_else(command, kind, overwrite, primase, inputs, workplace, contents):
    """Neither a thesis nor a project that has a recipe.toml of its own may be deleted, whatever is said."""
    out = Path("out")
    if kind == "a file":
        out.write_text("mine")
    else:
        out.mkdir()
        (out / "chapter.txt").write_text("mine")
        if kind == "a folder with a recipe":
            (out / "recipe.toml").write_text("mine")
    before = contents(workplace)
    refusal = primase(*writing_commands(inputs, Path(), "out")[command], *overwrite).refusal
    assert refusal.startswith("primase: out: ") and "choose another output folder" in refusal
    assert contents(workplace) == before


@pytest.mark.parametrize(
    "command",
    [
        "prepare",
        "pretrain",
        "embed",
        "generate",
        "search index",
        "compress",
        "score",
        "tracks",
        "simulate",
        "tokenizer",
    ],
)
def test_output_that_is_there(command, primase, inputs, finished_run, workplace, contents):
    arguments = writing_commands(inputs, finished_run, "out")[command]
    assert primase(*arguments).code == 0
    before = contents(workplace)
    refusal = primase(*arguments).refusal
    assert refusal.startswith("primase: out") and "choose another" in refusal
    assert ("--overwrite" in refusal) == (command != "tokenizer")
    assert ("--resume" in refusal) == (command == "pretrain")
    assert contents(workplace) == before


def test_a_folder_in_place_of_the_file(primase, inputs, finished_run, workplace):
    for name in ("v.npy", "g.fa"):
        Path(name).mkdir()
    for arguments in (["embed", finished_run, inputs / "genome.fa", "-o", "v.npy"], ["simulate", "-o", "g.fa"]):
        refusal = primase(*arguments, "--overwrite").refusal
        assert f"{arguments[-1]}: is a folder; choose another file" in refusal


@pytest.mark.parametrize("genome", ["absent.fa", "protein.fa", "run/corpus"])
def test_a_run_is_not_lost_to_a_bad_genome(genome, primase, inputs, finished_run, workplace, contents):
    shutil.copytree(finished_run, "run")
    Path("protein.fa").write_text(">insulin\nMALWMRLLPLLALLALWGPD\n")
    before = contents(workplace)
    options = ["-o", "run", "-r", inputs / "tiny.toml", "--overwrite"]
    assert genome in primase("pretrain", genome, *options).refusal
    assert contents(workplace) == before
    assert primase("pretrain", inputs / "genome.fa", *options).code == 0
    assert contents(workplace) != before and not list(workplace.glob(".*"))


def test_a_demo_is_not_lost_to_one_that_fails(primase, finished_run, workplace, monkeypatch, contents):
    shutil.copytree(finished_run, "out")
    before = contents(workplace)

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("primase.simulate.simulate_to_file", interrupted)
    assert primase("demo", "-o", "out", "--overwrite").code == 130
    assert contents(workplace) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_output_without_permission(primase, inputs, finished_run, workplace):
    Path("locked").mkdir(mode=0o500)
    for arguments in writing_commands(inputs, finished_run, "locked/x").values():
        refusal = primase(*arguments).refusal
        assert "locked" in refusal and "Permission denied; change the permissions, or choose another" in refusal


def test_full_disk_at_whatever_file(primase, inputs, finished_run, small_disk, workplace):
    """Disks of one page, two pages, … until the command fits: each file that it writes is the one too many once."""
    bases = (inputs / "genome.fa").read_text().splitlines()[1]
    genes = Path("genes.csv")
    genes.write_text("sequence\n" + "".join(f"{bases[20 * number :][:20]}\n" for number in range(300)))
    byte_pairs = ["--set", "tokenizer.kind=byte-pair", "--set", "tokenizer.vocabulary_tokens=64"]
    for arguments in (
        ["prepare", inputs / "genome.fa", "-r", inputs / "tiny.toml", *byte_pairs, "-o", "corpus"],
        ["embed", finished_run, genes, "-o", "v.npy"],
        ["embed", finished_run, genes, "-o", "v.parquet"],
        ["tokenizer", "kmer", "--k", "5", "-o", "tokenizer"],
        ["simulate", "--bases", "10000", "-o", "genome.fa"],
    ):
        refusals = 0
        for kilobytes in range(8, 200, 8):
            disk = small_disk(f"size={kilobytes}k")
            outcome = primase(*arguments[:-1], disk / arguments[-1])
            if outcome.code == 0:
                break
            assert "No space left on device; free some space, or choose an output on another disk" in outcome.refusal
            assert str(disk) in outcome.refusal
            assert list(disk.iterdir()) == []
            refusals += 1
        assert outcome.code == 0 and refusals >= 2, arguments


def test_full_disk_while_fine_tuning(primase, inputs, finished_run, small_disk, workplace):
    """What was decided is told before; then the disk is full at whatever file, and nothing is left."""
    refusals = 0
    for kilobytes in range(8, 200, 8):
        disk = small_disk(f"size={kilobytes}k")
        outcome = primase("finetune", finished_run, inputs / "labelled.csv", *PROBE, "-o", disk / "run")
        if outcome.code == 0:
            break
        line = outcome.err.splitlines()[-1]
        assert outcome.code == 2 and line.startswith("primase: ") and "No space left on device; free some" in line
        assert list(disk.iterdir()) == []
        refusals += 1
    assert outcome.code == 0 and refusals >= 2


@pytest.mark.parametrize("suffix", [".bw", ".bedgraph", ".bedgraph.gz"])
def test_full_disk_while_tracks_are_written(primase, inputs, finished_run, small_disk, suffix):
    disk = small_disk("size=16k")
    outcome = primase("tracks", finished_run, inputs / "genome.fa", "-o", disk / f"x{suffix}")
    assert "No space left on device; free some space" in outcome.err.splitlines()[-1] and outcome.code == 2
    assert list(disk.iterdir()) == []


def test_disk_that_is_read_only(primase, inputs, finished_run, small_disk):
    disk = small_disk("ro")
    for arguments in writing_commands(inputs, finished_run, f"{disk}/x").values():
        refusal = primase(*arguments).refusal
        assert str(disk) in refusal and "choose an output on a disk that can be written to" in refusal


@pytest.mark.parametrize("place", ["read-only", "/proc"])
def test_outputs_of_every_kind_where_nothing_can_be_written(primase, inputs, finished_run, small_disk, place):
    """The file that cannot be written is named, and not the one beside it; htslib must not end the process."""
    folder = small_disk("ro") if place == "read-only" else Path(place)
    score = ["score", finished_run, "--genome", inputs / "genome.fa", "--regions", "chr1:1-5"]
    tracks = ["tracks", finished_run, inputs / "genome.fa"]
    for name, arguments in {
        "x.bedgraph.gz": [*tracks, "-o", folder / "x.bedgraph.gz"],
        "x.tsv": [*score, "-o", folder / "x.tsv"],
        "y.parquet": [*score, "-o", "fine.tsv", "--table", folder / "y.parquet"],
        "p.png": [*score, "-o", "fine.tsv", "--picture", folder / "p.png"],
        "z.fa": ["generate", finished_run, "--bases", "30", "-o", folder / "z.fa"],
    }.items():
        line = primase(*arguments).err.splitlines()[-1]
        assert (line.startswith(f"primase: {folder / name}: ") and "another output" in line) or "on a disk" in line, (
            line
        )
    assert not Path("fine.tsv").exists()


@pytest.mark.parametrize("command", ["prepare", "pretrain", "embed", "score"])
def test_below_a_folder_in_which_nothing_can_be_made(command, primase, inputs, finished_run):
    refusal = primase(*writing_commands(inputs, finished_run, "/proc/x/y")[command]).refusal
    assert refusal.startswith("primase: /proc/x: ") and "nothing can be made there; choose another output" in refusal


def test_run_on_a_disk_that_is_read_only(primase, finished_run, small_disk):
    disk = small_disk("size=4m")
    shutil.copytree(finished_run, disk / "run")
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    refusal = primase("evaluate", disk / "run").refusal
    assert f"{disk}/run: Read-only file system; choose an output on a disk" in refusal


def test_a_tokenizer_that_another_process_wrote_meanwhile(primase, workplace, monkeypatch):
    """Both began on an empty place: the first to be done keeps it, the second is told, and leaves nothing."""
    from transformers import PreTrainedTokenizerFast

    save = PreTrainedTokenizerFast.save_pretrained

    def save_slowly(tokenizer, folder, **options):
        save(tokenizer, "tokenizer")
        return save(tokenizer, folder, **options)

    monkeypatch.setattr(PreTrainedTokenizerFast, "save_pretrained", save_slowly)
    assert "tokenizer" in primase("tokenizer", "base").refusal
    assert [path.name for path in workplace.iterdir()] == ["tokenizer"]
