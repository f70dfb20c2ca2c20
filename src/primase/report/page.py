"""report.html: one self-contained page of a run, without a script that it needs and without a request to anywhere."""

import shlex
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from primase.report import charts, detail_charts, figures, predictors, sentences
from primase.report.gather import Findings, gather
from primase.results import Evaluation, Locus, Routing
from primase.version import __version__
from primase.whole_files import write_whole

MOST_LOCI = 4
MOST_ENRICHMENTS = 12

NOT_NOTED = dict.fromkeys(("started", "primase", "python", "libraries", "hardware", "precision", "corpus_digest"))
"""What environment.json holds, where it holds nothing."""


def write_report(run_folder: str | Path) -> Path:
    """Write report.html into a run, from whatever files the run has so far, and return its path.

    Raises MissingFileError where there is no run, RecipeError where its recipe cannot be read.
    """
    findings = gather(run_folder)
    return write_whole(findings.run.folder / "report.html", render(findings).encode())


def render(findings: Findings) -> str:
    """The page as text."""
    return _environment().get_template("report.html.jinja").render(_context(findings))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("primase.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in (
        figures.bits,
        figures.millibits,
        figures.count,
        figures.percent,
        figures.plural,
        figures.duration,
        figures.size,
        figures.power,
        figures.listed,
    ):
        environment.filters[function.__name__] = function
    return environment


def _context(findings: Findings) -> dict[str, Any]:
    evaluation = findings.evaluation
    return {
        "f": findings,
        "version": __version__,
        "headline": sentences.headline(findings),
        "cautions": sentences.cautions(findings),
        "facts": facts_of(findings),
        "split": sentences.split_in_words(findings),
        "env": NOT_NOTED | findings.environment,
        "command": command_line(findings.environment.get("command")),
        "repeat": repeat_command(findings),
        "curve": charts.learning_curve(findings.course, evaluation) if findings.course.training else None,
        "recipe_text": findings.recipe.to_toml(),
        "e": evaluation,
        "measured": _measured(evaluation) if evaluation else None,
        "experts": _experts(evaluation.routing) if evaluation and evaluation.routing else None,
        "loci": [_locus(locus, number) for number, locus in enumerate(evaluation.loci[:MOST_LOCI])]
        if evaluation
        else [],
        "leakage_sentence": sentences.leakage_in_words(findings.leakage) if findings.leakage else None,
        "leakage_chart": charts.leakage_histogram(findings.leakage) if findings.leakage else None,
    }


def command_line(command: Any) -> str | None:
    """The command that began the run, as it can be typed again; None where it is not known."""
    if not isinstance(command, list) or not all(isinstance(part, str) for part in command) or len(command) < 2:
        return None
    program = Path(command[0])
    is_ours = program.name == "__main__.py" or program.stem == "primase"
    return shlex.join(["primase" if is_ours else program.name, *command[1:]])


def repeat_command(findings: Findings) -> str:
    """What trains the same model again, from the folder that holds the run and the files."""
    files = [str(source["name"]) for source in findings.sources] or ["GENOME"]
    return f"primase pretrain {shlex.join(files)} --recipe {shlex.quote(findings.name)}/recipe.toml -o again"


def facts_of(findings: Findings) -> list[tuple[str, str]]:
    """The rows of the table of what was trained on what."""
    corpus, weights, last = findings.corpus, findings.weights, findings.course.last_line
    rows: list[tuple[str, str]] = []
    if corpus:
        rows.append(("Genome", _genome_in_words(corpus)))
        rows.append(("Parts", _parts_in_words(corpus)))
    rows.append(("Tokenizer", sentences.tokenizer_in_words(findings)))
    rows.append(("Architecture", sentences.architecture_in_words(findings)))
    if weights:
        active = f", of which {figures.count(weights.active_parameters)} work on a token"
        rows.append(
            (
                "Parameters",
                figures.count(weights.parameters) + active * (weights.active_parameters < weights.parameters),
            )
        )
    if last:
        planned = findings.recipe.training.steps
        of = f" of {figures.count(planned)}" if planned and planned != last["step"] else ""
        rows.append(("Steps", f"{figures.count(last['step'])}{of}, {_epochs(last)}"))
        read = f"{figures.count(last.get('tokens', 0))} tokens, {figures.count(last['bases'])} bases"
        rows.append(("Read in training", read))
        rows.append(("Training time", figures.duration(last["seconds"])))
    best = findings.course.best
    if best:
        value = f"{figures.bits(best.bits_per_base)} bits per base at step {figures.count(best.step)}"
        kept = "; that model was kept" if findings.recipe.training.keep_best and findings.config else ""
        rows.append(("Best on validation", value + kept))
    rows.append(("Machine", _machine_in_words(findings.environment)))
    return rows


def _epochs(last: dict[str, Any]) -> str:
    return f"{last['epoch']:.2f} epochs" if isinstance(last.get("epoch"), int | float) else "epochs not noted"


def _genome_in_words(corpus: dict[str, Any]) -> str:
    counts = corpus["base_counts"]
    total = sum(counts[letter] for letter in "ACGTN")
    said = f"{figures.count(total)} bases in {figures.plural(corpus['records'], 'record')}"
    if counts.get("soft_masked"):
        said += f", {figures.percent(counts['soft_masked'] / max(total, 1))} soft-masked (marked as repeats)"
    if counts.get("N"):
        said += f", {figures.count(counts['N'])} N"
    return said


def _parts_in_words(corpus: dict[str, Any]) -> str:
    bases = corpus["bases"]
    said = (
        f"{figures.count(bases['train'])} bases to train on, {figures.count(bases['validation'])} for validation, "
        f"{figures.count(bases['heldout'])} held out"
    )
    left = bases.get("unused", 0) + bases.get("outside_windows", 0)
    return said + (f"; {figures.count(left)} in no part" if left else "")


def _machine_in_words(environment: dict[str, Any]) -> str:
    machine = environment.get("hardware")
    if not isinstance(machine, dict):
        return "not noted"
    gpu = f"{machine.get('gpus', 1)} x {machine['gpu']}, " if "gpu" in machine else ""
    processor = f"{machine.get('processor', 'unknown processor')}, {machine.get('cores', '?')} cores"
    precision = environment.get("precision")
    return f"{gpu}{processor}" + (f"; arithmetic in {precision}" if precision else "")


def _measured(evaluation: Evaluation) -> dict[str, Any]:
    rivals = sorted(evaluation.rivals, key=lambda rival: -rival.bits_per_base)
    by_class = [rival for rival in rivals if rival.classes]
    return {
        "scale": charts.scale(evaluation),
        "way": sentences.way_to_the_best(evaluation),
        "part": predictors.part_in_words(evaluation),
        "rivals": [(rival, sentences.certainty(evaluation, rival)) for rival in rivals],
        "meanings": [
            (predictors.short_name(evaluation, rival.kind), predictors.MEANINGS[rival.kind]) for rival in rivals
        ],
        "class_rivals": [(predictors.short_name(evaluation, rival.kind), rival.classes) for rival in by_class],
        "orders": charts.markov_orders(evaluation) if evaluation.markov_bits_per_base else None,
        "calibration": charts.calibration(evaluation.calibration, evaluation.calibration_error)
        if evaluation.calibration
        else None,
    }


def _experts(routing: Routing) -> dict[str, Any]:
    shown = detail_charts.MOST_CELLS // max(routing.experts, 1)
    return {
        "sentence": sentences.routing_in_words(routing),
        "chart": detail_charts.expert_load(routing.layers) if routing.layers else None,
        "left_out": max(0, len(routing.layers) - max(1, shown)),
        "enrichments": _enrichments(routing),
    }


def _enrichments(routing: Routing) -> list[dict[str, Any]]:
    """The experts that a class of bases chooses most unlike the rest, the strongest first."""
    found = [
        {"layer": layer.layer, "expert": expert, "class": name, "times": 2**value, "load": layer.load[expert]}
        for layer in routing.layers
        for name, values in layer.enrichment.items()
        for expert, value in enumerate(values[: len(layer.load)])
        if value > 0 and layer.load[expert] > 0
    ]
    return sorted(found, key=lambda one: -one["times"])[:MOST_ENRICHMENTS]


def _locus(locus: Locus, number: int) -> dict[str, Any]:
    lines = detail_charts.lines_of(locus)
    first, last = detail_charts.zoom_of(locus, narrow=False)
    return {
        "record": locus.record,
        "start": locus.start,
        "end": locus.start + len(locus.sequence),
        "means": [(kind, predictors.SHORT_NAMES[kind], detail_charts.mean(values)) for kind, values in reversed(lines)],
        "span": detail_charts.span_of(locus),
        "masked": any(letter.islower() for letter in locus.sequence),
        "lines": detail_charts.locus_lines(locus, f"locus{number}"),
        "zoom": (locus.start + first, locus.start + last),
        "bases": detail_charts.locus_bases(locus, f"bases{number}"),
    }
