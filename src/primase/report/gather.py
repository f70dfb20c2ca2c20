"""Everything a run folder holds that a report can show. Every part may be absent, and then it is said what adds it."""

import json
import math
import shlex
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from primase.errors import MissingFileError, NewerFileError, PrimaseError
from primase.own_files import read_json
from primase.recipe import Recipe
from primase.results import Checks, Evaluation, Leakage, Result
from primase.run_folder import CORPUS_REFERENCE, RunFolder

NO_SOURCE = {"name": "a file without a name", "bytes": None, "sha256": "not noted"}

Measured = TypeVar("Measured", bound=Result)


@dataclass(frozen=True)
class Gap:
    """Something that is not there: why, and the command that adds it."""

    reason: str
    command: str


@dataclass(frozen=True)
class Point:
    """One line of metrics.jsonl."""

    step: int
    bases: float
    """Bases trained on so far."""
    seconds: float
    bits_per_base: float


@dataclass(frozen=True)
class Course:
    """How the training went."""

    training: list[Point] = field(default_factory=list)
    validation: list[Point] = field(default_factory=list)
    last_line: dict[str, Any] = field(default_factory=dict)
    """The newest training line."""
    shortened_to: int | None = None
    """The last step of a run that fell behind its time; None for one that was left as it was planned."""

    @property
    def best(self) -> Point | None:
        """The validation point with the fewest bits per base; the earliest of equals."""
        return min(self.validation, key=lambda point: point.bits_per_base, default=None)


@dataclass(frozen=True)
class Weights:
    """Sizes read from the heads of the weight files."""

    parameters: int
    active_parameters: int
    """Parameters that work on one token: all but the experts that a router leaves out."""
    bytes: int


@dataclass(frozen=True)
class Findings:
    """What was found in a run folder."""

    run: RunFolder
    recipe: Recipe
    environment: dict[str, Any]
    corpus: dict[str, Any] | None
    """The description of the corpus; None where the corpus is gone or has changed."""
    course: Course
    config: dict[str, Any]
    """config.json of the final model; empty where there is none."""
    weights: Weights | None
    evaluation: Evaluation | None
    checks: Checks | None
    leakage: Leakage | None
    gaps: dict[str, Gap]
    """By what is missing: corpus, training, final, evaluation, checks, leakage."""

    @property
    def name(self) -> str:
        return self.run.folder.resolve().name

    @property
    def sources(self) -> list[dict[str, Any]]:
        """Name, size in bytes and sha256 of each file that was trained on."""
        sources = (self.corpus or {}).get("sources") or self.environment.get("sources") or []
        return [NO_SOURCE | source for source in sources if isinstance(source, dict)]


def gather(run_folder: str | Path) -> Findings:
    """Read a run folder. Raises MissingFileError where there is no run, RecipeError where its recipe is unreadable, and
    NewerFileError for a file in it that a newer Primase wrote."""
    run = RunFolder.open(run_folder)
    recipe = run.recipe()
    place = shlex.quote(str(run_folder))
    gaps: dict[str, Gap] = {}
    measure, check = f"primase evaluate {place}", f"primase check {place}"
    if not run.final.is_dir():
        gaps["final"] = Gap("The training has not come to its end, so there is no final model", _resume(place))
    evaluation = _result(run.evaluation_file, Evaluation, "evaluation", measure, gaps)
    checks = _result(run.folder / "checks.json", Checks, "checks", check, gaps)
    corpus, corpus_folder = _corpus(run, gaps)
    leakage = _result(corpus_folder / "leakage.json", Leakage, "leakage", measure, gaps)
    course = _course(run.folder / "metrics.jsonl")
    if not course.training:
        gaps["training"] = Gap("No step of the training has been written down yet", _resume(place))
    config = _sizes_that_can_be(_json(run.final / "config.json"))
    return Findings(
        run=run,
        recipe=recipe,
        environment=_json(run.folder / "environment.json"),
        corpus=corpus,
        course=course,
        config=config,
        weights=_weights(run.final, config),
        evaluation=evaluation,
        checks=checks,
        leakage=leakage,
        gaps=gaps,
    )


def _resume(place: str) -> str:
    return f"primase pretrain --resume {place}"


def _result(file: Path, kind: type[Measured], name: str, command: str, gaps: dict[str, Gap]) -> Measured | None:
    """The result in a file, or None and a gap. What an older version wrote is as good as absent."""
    newest = kind.model_fields["schema_version"].default
    try:
        values = read_json(file, schema=newest, remedy=command)
        if values.get("schema_version", 1) < newest:
            gaps[name] = Gap(f"{file.name} was written by an older Primase; measure again", command)
            return None
        return kind.model_validate(values)
    except NewerFileError:
        raise
    except MissingFileError:
        gaps[name] = Gap("Not measured yet", command)
    except ValueError:
        gaps[name] = Gap(f"{file.name} cannot be read; measure again", command)
    return None


def _corpus(run: RunFolder, gaps: dict[str, Gap]) -> tuple[dict[str, Any] | None, Path]:
    """The description of the corpus, and the folder where it lies or should lie."""
    try:
        corpus = run.corpus()
        return corpus.description, corpus.folder
    except NewerFileError:
        raise
    except (PrimaseError, OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, MissingFileError):
            reason = "The prepared corpus is not there any more, so its counts cannot be shown"
        elif isinstance(error, PrimaseError):
            reason = f"The prepared corpus cannot be read: {' '.join(str(error).split('; ')[0].split())}"
        else:
            reason = "The description of the prepared corpus cannot be read"
        gaps["corpus"] = Gap(reason, "")
        reference = _json(run.folder / CORPUS_REFERENCE).get("folder")
        return None, run.folder / (reference if isinstance(reference, str) else "corpus")


def _sizes_that_can_be(config: dict[str, Any]) -> dict[str, Any]:
    """Without sizes and numbers of parts that are no whole number from 0, as in a file that was damaged."""
    return {
        name: value
        for name, value in config.items()
        if not (name.startswith("num_") or name.endswith("_size")) or (type(value) is int and value >= 0)
    }


def _json(file: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where there is none that can be read."""
    try:
        values = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _course(file: Path) -> Course:
    """The lines of metrics.jsonl; one that was cut off while it was written is left out."""
    try:
        lines = file.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return Course()
    training: list[Point] = []
    measured: list[dict[str, Any]] = []
    last_line: dict[str, Any] = {}
    shortened_to: int | None = None
    for line in lines:
        try:
            values = json.loads(line)
            if "last_step" in values:
                shortened_to = int(values["last_step"])
            elif "eval_bits_per_base" in values:
                measured.append({key: float(values[key]) for key in ("step", "seconds", "eval_bits_per_base")})
            else:
                numbers = [float(values[key]) for key in ("step", "bases", "seconds", "bits_per_base")]
                if all(map(math.isfinite, numbers)):
                    training.append(Point(int(numbers[0]), *numbers[1:]))
                    last_line = values
        except (ValueError, KeyError, TypeError):
            continue
    validation = [
        Point(int(line["step"]), bases_at(training, line["step"]), line["seconds"], line["eval_bits_per_base"])
        for line in measured
        if math.isfinite(line["eval_bits_per_base"])
    ]
    return Course(training, validation, last_line, shortened_to)


def bases_at(training: list[Point], step: float) -> float:
    """Bases trained on after a step, by a straight line between the training lines around it."""
    before = Point(0, 0.0, 0.0, 0.0)
    for point in training:
        if point.step >= step:
            share = (step - before.step) / max(point.step - before.step, 1)
            return before.bases + share * (point.bases - before.bases)
        before = point
    return before.bases


def _weights(final: Path, config: dict[str, Any]) -> Weights | None:
    """Counted from the heads of the safetensors files: 8 bytes with the length of a JSON object, then the object."""
    total = of_experts = size = 0
    try:
        for file in sorted(final.glob("model*.safetensors")):
            size += file.stat().st_size
            with open(file, "rb") as stream:
                (length,) = struct.unpack("<Q", stream.read(8))
                if length > file.stat().st_size:
                    return None
                head = json.loads(stream.read(length))
            for name, tensor in head.items():
                if name != "__metadata__":
                    count = math.prod(tensor["shape"])
                    total += count
                    of_experts += count if ".experts." in name else 0
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        return None
    experts = config.get("num_local_experts") or config.get("num_experts") or 0
    idle = 1 - config.get("num_experts_per_tok", experts) / experts if experts else 0
    return Weights(total, total - round(of_experts * idle), size) if total else None
