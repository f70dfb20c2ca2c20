"""A trial on a simulated genome: the same bases for all seeds, no held-out base, a row that says what was changed."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from benchmarks.genomes import DATA_VARIABLE, GENOMES, find_genome
from benchmarks.trials import main, read, row
from primase.errors import MissingFileError
from primase.simulate import simulate_to_file

TINY = [
    "data.window_bases=300",
    "split.block_bases=1500",
    "split.gap_bases=0",
    "training.row_tokens=60",
    'model.settings={"hidden_size"=16,"intermediate_size"=32,"num_hidden_layers"=1,"num_attention_heads"=2,'
    '"num_key_value_heads"=2,"head_dim"=8}',
]
"""On top of recipe default: a training of seconds."""


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["trials", *map(str, arguments)])
    main()


@pytest.fixture(scope="module")
def tiny_recipe(tmp_path_factory):
    from primase.recipe import Recipe

    file = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    file.write_text(Recipe.load("default", ["name=tiny", *TINY]).to_toml())
    return file


def test_trials_are_measured_beside_the_baseline(tmp_path, tiny_recipe, monkeypatch, capsys):
    simulate_to_file(tmp_path / "genome.fa", bases=30_000, records=2)
    file = tmp_path / "trials.jsonl"
    common = [tmp_path / "genome.fa", "--recipe", tiny_recipe, "--validation-bases", 900, "-o", file]
    with monkeypatch.context() as here:  # one process that is started tells as much as three
        here.setattr("benchmarks.trials.ProcessPoolExecutor", lambda workers, context: ThreadPoolExecutor(workers))
        run(here, *common, "--steps", 8, "--seeds", 0, 1)
    run(monkeypatch, *common, "--steps", 4, "--set", "training.rows_per_batch=4", "--what", "half the rows")
    lines = read(file)
    assert [(line["seed"], line["steps"], line["changes"]) for line in lines] == [
        (0, 8, []), (1, 8, []), (0, 4, ["training.rows_per_batch=4"]),
    ]  # fmt: skip
    assert lines[0]["bits_per_base"] != lines[1]["bits_per_base"], "another seed is another training"
    assert all(1.7 < line["bits_per_base"] < 2.5 for line in lines)
    assert lines[0]["bases"] == 2 * 2 * lines[2]["bases"] == 8 * 8 * 59 * 3
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("| baseline |") and "| 0, 1 |" in printed[0]
    difference = 1000 * (lines[2]["bits_per_base"] - lines[0]["bits_per_base"])
    assert f"| {difference:+.1f} |" in printed[1] and "`training.rows_per_batch=4`" in printed[1]


def test_a_trial_is_measured_on_the_validation_part_alone(tmp_path, tiny_recipe, monkeypatch):
    """Neither scored nor checked on held-out bases, and on the same bases whatever the seed."""
    from benchmarks import trials
    from primase.corpus.prepare import prepare
    from primase.corpus.store import Corpus
    from primase.recipe import Recipe

    simulate_to_file(tmp_path / "genome.fa", bases=30_000, records=2)
    recipe = Recipe.load(tiny_recipe, ["training.steps=1", "training.validation_bases=900"])
    corpus = prepare([tmp_path / "genome.fa"], tmp_path / "corpus", recipe)
    scored: list[list[int]] = []
    iterate = Corpus.iterate

    def watched(self, indices):
        scored.append(indices.tolist())
        return iterate(self, indices)

    monkeypatch.setattr(Corpus, "iterate", watched)
    for seed in (0, 1):
        trials.train(corpus.folder, recipe, seed)
    assert scored and scored[: len(scored) // 2] == scored[len(scored) // 2 :]
    assert {window for windows in scored for window in windows} <= set(corpus.part("validation").tolist())


def test_only_the_baseline_of_the_same_seed_and_genome_is_compared():
    trial = {
        "genome": "yeast", "recipe": "default", "baseline": ["b=1"], "changes": ["a=1"], "what": "w",
        "seed": 1, "validation_bases": 9,
        "bits_per_base": 1.9, "bases_per_second": 1000, "steps": 3, "seconds": 2.0, "peak_memory_bytes": 10**9,
    }  # fmt: skip
    baseline = trial | {"changes": [], "bits_per_base": 1.91}
    others = [baseline | {"seed": 0}, baseline | {"genome": "ecoli"}, baseline | {"validation_bases": 8}]
    others.append(baseline | {"baseline": []})
    assert "-10.0" in row([trial], [*others, baseline])
    assert "| 1.9000 |  |" in row([trial], others), "no baseline, no difference"


def test_genomes_are_found_by_name_file_or_path(tmp_path, monkeypatch):
    file = tmp_path / "mine.fa.gz"
    file.touch()
    assert find_genome(f"yeast={file}").settings == GENOMES["yeast"].settings
    assert find_genome(str(file)).name == "mine" and find_genome(str(file)).at_most is None
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    with pytest.raises(MissingFileError, match=r"dna\.toplevel\.fa\.gz: no such file"):
        find_genome("yeast")
    monkeypatch.delenv(DATA_VARIABLE)
    with pytest.raises(MissingFileError, match="yeast: PRIMASE_TEST_DATA is not set"):
        find_genome("yeast")


@pytest.mark.data
def test_every_named_genome_is_there(shared_data, monkeypatch):
    monkeypatch.setenv(DATA_VARIABLE, str(shared_data))
    assert [find_genome(name).name for name in GENOMES] == list(GENOMES)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nowhere.fa"], "nowhere.fa: no such file, and none of the named genomes"),
        (["{genome}", "--set", "training.rows=4"], "training.rows"),
    ],
)
def test_a_mistake_is_one_line(arguments, complaint, tmp_path, monkeypatch, capsys):
    genome = tmp_path / "genome.fa"
    genome.write_text(">a\nACGT\n")
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, *(text.format(genome=genome) for text in arguments), "-o", tmp_path / "trials.jsonl")
    told = capsys.readouterr().err
    assert ended.value.code == 2 and told.count("\n") == 1 and complaint in told
    assert not (tmp_path / "trials.jsonl").exists()


def test_a_line_can_be_read_again(tmp_path):
    file = tmp_path / "trials.jsonl"
    assert read(file) == []
    file.write_text(json.dumps({"seed": 1}) + "\n")
    assert read(file) == [{"seed": 1}]
