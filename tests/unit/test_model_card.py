"""The model card: metadata that the Hub understands, the figures of evaluation.json, and what its owner has added."""

import logging
import re
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard

import primase
from primase.errors import MissingFileError
from primase.report.card import BEGIN, END, markdown, write_card
from tests import reported_runs


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return reported_runs.measured_run(tmp_path)


def test_the_hub_reads_the_metadata(run, caplog):
    file = write_card(run)
    assert file == run / "final" / "README.md"
    caplog.set_level(logging.WARNING)
    card = ModelCard.load(file)
    assert caplog.records == []
    data = card.data
    assert (data.library_name, data.pipeline_tag) == ("transformers", "text-generation")
    assert {"dna", "genomics", "biology", "primase"} <= set(data.tags)
    assert data.license is None and "**License.** Not chosen yet" in card.text
    assert data.model_name == "yeast-small"
    evaluation = reported_runs.evaluation()
    values = {result.metric_name: result.metric_value for result in data.eval_results}
    assert values["bits per base, forward strand"] == evaluation.forward.bits_per_base
    assert values["bits per base, repeat"] == evaluation.classes["repeat"].bits_per_base
    assert len(values) == 2 + len(evaluation.classes)
    assert all(result.metric_type == "bits_per_base" for result in data.eval_results)
    assert data.eval_results[0].dataset_name == "sacCer3.fa.gz"
    assert data.eval_results[0].dataset_split == "heldout (blocks split)"
    assert yaml.safe_load(file.read_text("utf-8").split("---")[1])["model-index"][0]["name"] == "yeast-small"


def test_the_card_has_every_figure(run):
    text = write_card(run).read_text("utf-8")
    evaluation = reported_runs.evaluation()
    for one in (
        evaluation.forward,
        evaluation.reverse_complement,
        evaluation.both_strands_mean,
        *evaluation.classes.values(),
        *(ensemble.figure for ensemble in evaluation.ensembles),
    ):
        assert f"{one.low:.4f} to {one.high:.4f}" in text and f"{one.bits_per_base:.4f}" in text
    for rival in evaluation.rivals:
        row = next(line for line in text.splitlines() if line.startswith(f"| {rival.name} |"))
        assert f"| {rival.bits_per_base:.4f} | {rival.model_advantage_millibits:+.1f} |" in row
    assert evaluation.verdict in text
    assert "sacCer3.fa.gz" in text and "ab" * 32 in text and "chrIV and chrXVI" in text
    assert "On the 1,011 windows without copies the model needs 1.8993 bits per base" in text
    assert "All 7 self-tests passed." in text
    assert "AMD EPYC" not in text and "/opt" not in text and str(run.parent) not in text


def test_failed_self_tests_are_named(run):
    reported_runs.checks(failed=("mates",)).write(run / "checks.json")
    text = write_card(run).read_text("utf-8")
    assert "**1 of 7 self-tests failed**" in text
    assert "- mates: A sequence was scored alone and beside others. Measured 9.3e-07 nats, limit 0.0001." in text
    assert "- A self-test failed (mates)." in text


def test_tables_are_tables(run):
    """Every row of a table has as many cells as its head."""
    for block in re.findall(r"(?:^\|.*\n)+", write_card(run).read_text("utf-8"), flags=re.MULTILINE):
        cells = {len(re.findall(r"(?<!\\)\|", row)) for row in block.splitlines()}
        assert len(cells) == 1, block


def test_a_card_without_a_measurement(tmp_path):
    run = reported_runs.trained_run(tmp_path)
    card = ModelCard.load(write_card(run))
    assert card.data.eval_results is None
    assert "`primase evaluate` on the run adds the figures" in card.text and "have not been run" in card.text


def test_a_run_without_a_final_model(tmp_path):
    run = reported_runs.trained_run(tmp_path)
    for file in (run / "final").iterdir():
        file.unlink()
    (run / "final").rmdir()
    with pytest.raises(MissingFileError, match="no final model yet; go on with primase pretrain --resume"):
        write_card(run)


def test_what_the_owner_adds_is_kept(run):
    file = write_card(run)
    text = file.read_text("utf-8")
    text = text.replace("---\n", "---\nlicense: cc-by-4.0\ndatasets:\n- me/yeast\n", 1).replace(
        "- dna\n", "- dna\n- yeast\n", 1
    )
    text = text.replace(BEGIN, "My own opening.\n\n" + BEGIN).replace("1.8864", "0.0001") + "\nMy own end.\n"
    file.write_text(text, "utf-8")
    assert write_card(run) == file
    card = ModelCard.load(file)
    assert card.data.license == "cc-by-4.0" and card.data.datasets == ["me/yeast"] and "yeast" in card.data.tags
    assert card.text.startswith("\nMy own opening.") and card.text.endswith("\nMy own end.\n")
    assert "0.0001**" not in card.text and "**1.8864**" in card.text
    again = file.read_text("utf-8")
    write_card(run)
    assert file.read_text("utf-8") == again


def test_a_readme_of_the_owners_is_left_alone(run):
    file = run / "final" / "README.md"
    file.write_text("# Mine\n", "utf-8")
    write_card(run)
    assert file.read_text("utf-8") == "# Mine\n"


def test_broken_metadata_are_written_anew(run):
    file = write_card(run)
    file.write_text(file.read_text("utf-8").replace("tags:", "tags: ]["), "utf-8")
    write_card(run)
    assert ModelCard.load(file).data.library_name == "transformers"
    assert file.read_text("utf-8").count(BEGIN) == file.read_text("utf-8").count(END) == 1


def test_names_are_no_markdown(tmp_path):
    run = reported_runs.measured_run(tmp_path, "a|b <img> [x](y)")
    reported_runs.evaluation("x").model_copy(update={"classes": {"rep|eat\n# x": reported_runs.estimate(1.5)}}).write(
        run / "evaluation.json"
    )
    card = ModelCard.load(write_card(run))
    assert card.data.model_name == "a|b <img> [x](y)"
    assert r"# a\|b \<img\> \[x\](y)" in card.text and r"| rep\|eat \# x |" in card.text
    assert markdown("`a`_*\n") == r"\`a\`\_\*"
    assert primase.write_card is write_card
