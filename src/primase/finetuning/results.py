"""What fine-tuning returns and leaves in finetuning.json."""

from typing import Literal

from primase.results import Result

TaskKind = Literal["binary", "multi-class", "multi-label", "regression"]


class Score(Result):
    """One metric of one predictor on the test rows."""

    metric: str
    value: float
    """Mean over the seeds."""
    low: float
    high: float
    """95 % interval of that mean, by a bootstrap of the test rows."""
    by_seed: list[float]
    seed_deviation: float | None
    """Standard deviation over the seeds; None for a single one."""


class Predictor(Result):
    """The model or a rival on the same training, validation and test rows."""

    kind: Literal["model", "untrained", "cnn", "kmer"]
    name: str
    validation: list[float]
    """The leading metric on the validation rows, one a seed: what stopping and all choices looked at."""
    scores: list[Score]
    """The leading metric first."""
    advantage: float | None = None
    """Of the model over this rival in the leading metric: positive where the model is better. None for the model."""
    low: float | None = None
    high: float | None = None
    """95 % interval of the advantage; both resampled together."""

    @property
    def leading(self) -> Score:
        return self.scores[0]


class PartRows(Result):
    """Rows of one part."""

    name: str
    """train, validation or test."""
    source: str
    """The file, or of which file it was split off."""
    rows_of_part: int
    """Before duplicates were removed and a draw was taken."""
    rows: int
    """That were used."""
    labels: dict[str, int]
    """Rows that were used, by label; of several labels those where it holds; empty for regression."""


class Duplicates(Result):
    """Rows of one part whose sequence, on either strand, is in another part too."""

    part: str
    also_in: str
    rows: int
    removed: int


class Finetuning(Result):
    """finetuning.json: the classifier that was made, and what it is worth beside its rivals."""

    schema_version: int = 1
    run: str
    model: str
    method: str
    task: TaskKind
    labels: list[str]
    """Names of the classes, of the labels, or of the column of values."""
    leading_metric: str
    parts: list[PartRows]
    duplicates: list[Duplicates]
    notes: list[str]
    """What was decided without being asked, one line each."""
    seeds: list[int]
    chosen_seed: int
    """Of the model in final/: the best on the validation rows."""
    predictors: list[Predictor]
    """The model first."""
    verdict: str
    seconds: float

    @property
    def model_scores(self) -> Predictor:
        return self.predictors[0]


class PredictionSummary(Result):
    """What `primase predict` wrote."""

    schema_version: int = 1
    model: str
    output: str
    task: TaskKind
    labels: list[str]
    sequences: int
    long_sequences: int
    """Longer than the model's context: their logits are means over windows."""
    unknown_tokens: int
    predicted: dict[str, int]
    """Sequences by predicted label; empty for regression."""
