"""README.md of final/: the model card, by which the Hub and a reader know what the model is and what it is worth."""

import re
from functools import cache
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from jinja2 import Environment, PackageLoader, StrictUndefined

from primase.errors import MissingFileError
from primase.report import figures, page, predictors, sentences
from primase.report.gather import Findings, gather
from primase.results import Evaluation
from primase.version import __version__
from primase.whole_files import write_whole

TAGS = ["dna", "genomics", "biology", "primase"]
BEGIN, END = "<!-- primase: begin -->", "<!-- primase: end -->"
OWN_KEYS = {"library_name", "pipeline_tag", "model-index"}
"""Metadata that is written anew each time; all else that stands in a card is its owner's."""


def write_card(run_folder: str | Path) -> Path:
    """Write README.md into the final/ of a run and return its path.

    What a user has added is kept: metadata such as the license, and all text outside of the two marks. A README
    without the marks is a user's own and is left as it is. Raises MissingFileError where there is no run or no final
    model, RecipeError where its recipe cannot be read.
    """
    findings = gather(run_folder)
    if not findings.run.final.is_dir():
        raise MissingFileError(
            f"{run_folder}: the run has no final model yet; go on with primase pretrain --resume {run_folder}"
        )
    file = findings.run.final / "README.md"
    before = file.read_text("utf-8", errors="replace") if file.is_file() else None
    if before is not None and not (BEGIN in before and END in before):
        return file
    return write_whole(file, render(findings, before).encode())


def render(findings: Findings, before: str | None = None) -> str:
    """The card as text; `before` is an earlier one, with what its owner may have added."""
    body = f"{BEGIN}\n{_template().render(_context(findings)).strip()}\n{END}"
    kept, around = _owners_part(before)
    metadata = metadata_of(findings, kept)
    head, tail = around if around else ("\n", "\n")
    return f"---\n{metadata.to_yaml()}\n---\n{head}{body}{tail}"


def _owners_part(before: str | None) -> tuple[dict[str, Any], tuple[str, str] | None]:
    """Metadata and text around the marks of an earlier card."""
    if before is None:
        return {}, None
    try:
        card = ModelCard(before, ignore_metadata_errors=True)
        kept = {key: value for key, value in card.data.to_dict().items() if key not in OWN_KEYS}
        text = card.text
    except Exception:  # YAML that somebody has broken: the text is kept, the metadata are written anew
        kept, text = {}, re.sub(r"\A---\n.*?\n---\n", "", before, flags=re.DOTALL)
    return kept, (text[: text.index(BEGIN)], text[text.index(END) + len(END) :])


def metadata_of(findings: Findings, kept: dict[str, Any] | None = None) -> ModelCardData:
    """The head of the card. A license is not ours to choose."""
    kept = dict(kept or {})
    tags = list(dict.fromkeys([*TAGS, *(kept.pop("tags", None) or [])]))
    evaluation = findings.evaluation
    return ModelCardData(
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=tags,
        model_name=findings.name if evaluation else None,
        eval_results=_eval_results(findings, evaluation) if evaluation else None,
        **kept,
    )


def _eval_results(findings: Findings, evaluation: Evaluation) -> list[EvalResult]:
    """Bits per base of the forward strand, of both, and of each class of bases, as the Hub lists them."""
    sources = [str(source.get("name")) for source in findings.sources]
    shared = {
        "task_type": "text-generation",
        "task_name": "Prediction of the next base",
        "dataset_type": "dna",
        "dataset_name": ", ".join(sources[:3]) + (" and more" if len(sources) > 3 else "") or "DNA",
        "dataset_split": f"{evaluation.part} ({evaluation.split_strategy} split)",
        "metric_type": "bits_per_base",
    }
    measured = {
        "bits per base, forward strand": evaluation.forward,
        "bits per base, mean of both strands": evaluation.both_strands_mean,
    } | {f"bits per base, {name}": estimate for name, estimate in evaluation.classes.items()}
    return [
        EvalResult(metric_name=name, metric_value=round(estimate.bits_per_base, 4), **shared)
        for name, estimate in measured.items()
    ]


@cache
def _template() -> Any:
    environment = Environment(
        loader=PackageLoader("primase.report"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )  # Markdown, not HTML: what users named is made harmless by `markdown`
    for function in (figures.bits, figures.millibits, figures.count, figures.percent, markdown):
        environment.filters[function.__name__] = function
    return environment.get_template("card.md.jinja")


def markdown(text: object) -> str:
    """Text in which nothing is Markdown or HTML any more, on one line."""
    line = " ".join(str(text).split())
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", line)


def _context(findings: Findings) -> dict[str, Any]:
    evaluation = findings.evaluation
    return {
        "f": findings,
        "e": evaluation,
        "version": __version__,
        "headline": sentences.headline(findings),
        "cautions": sentences.cautions(findings),
        "facts": [(name, value) for name, value in page.facts_of(findings) if name != "Machine"],
        "split": sentences.split_in_words(findings),
        "leakage": sentences.leakage_in_words(findings.leakage) if findings.leakage else None,
        "rivals": [(rival, sentences.certainty(evaluation, rival)) for rival in evaluation.rivals]
        if evaluation
        else [],
        "part": predictors.part_in_words(evaluation) if evaluation else None,
        "failed": [check for check in findings.checks.checks if not check.passed] if findings.checks else [],
    }
