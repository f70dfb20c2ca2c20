"""What measurements return: frozen types with units in their names, written as JSON with a schema version."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from primase.whole_files import write_whole

FEWEST_BLOCKS = 10
"""With fewer blocks to resample, an interval says more about luck than about the model, and is not printed."""


HIT_SHARE = 0.5
"""A held-out window counts as hit where at least this share of its k-mers stands in the training part."""

MUCH_IN_TRAINING = 0.5
"""Share of the user's 31-mers above which the figures are said to be of what was trained on."""

MUCH_LEAKAGE = 0.05
"""Share of hit windows above which the user is warned."""


class Result(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    def write(self, file: Path) -> None:
        """Write as JSON, beside and renamed, so that a reader never sees half of it."""
        write_whole(file, (self.model_dump_json(indent=2) + "\n").encode())


class Estimate(Result):
    """Bits per base with a block-bootstrap 95 % interval."""

    bits_per_base: float
    low: float
    high: float
    bases: int
    """A, C, G and T that the figure is a mean over."""
    blocks: int | None = None
    """Blocks of the genome with such bases, which were resampled; not noted by older versions."""

    @property
    def has_interval(self) -> bool:
        return self.blocks is None or self.blocks >= FEWEST_BLOCKS


class Rival(Result):
    """Another predictor on the same bases."""

    kind: Literal["uniform", "markov", "copy-mixture", "untrained", "source", "model"]
    """model: the model alone, beside an ensemble that it is part of."""
    name: str
    bits_per_base: float
    model_advantage_millibits: float
    """Rival minus model, in thousandths of a bit per base: positive where the model is better."""
    low: float
    high: float
    """Block-bootstrap 95 % interval of the advantage; both resampled together."""
    classes: dict[str, float] = {}
    """Bits per base of the rival in the classes of `Evaluation.classes`, where it was scored base by base."""


class Ensemble(Result):
    """The model in company, on the same bases."""

    kind: Literal["frames", "with-copy-mixture"]
    """frames: the mean over the k places where a window's k-mers can begin. with-copy-mixture: that mean as one more
    model of the copy mixture."""
    name: str
    figure: Estimate
    classes: dict[str, float] = {}
    """Bits per base in the classes of `Evaluation.classes`."""
    rivals: list[Rival]
    """The model alone, the best Markov model and the copy mixture; the advantage is the ensemble's."""


class CalibrationBin(Result):
    """Predictions of about the same confidence: is a token that is given 70 % right 7 times in 10?"""

    tokens: int
    mean_confidence: float
    """Mean probability of the likeliest token, 0 to 1."""
    accuracy: float
    """Share of these tokens that were the likeliest one, 0 to 1."""


class Locus(Result):
    """Surprisal base by base along a stretch that was held out, for a picture."""

    record: str
    start: int
    """0-based."""
    sequence: str
    """The bases, case kept."""
    model_bits: list[float]
    """One a base; the bits of a token are shared out evenly to its bases."""
    markov_bits: list[float] | None
    """Of the best Markov model, where there is one."""
    copy_bits: list[float] | None
    """Of the copy mixture, where it was scored."""


class LeakedLoss(Result):
    """The model on held-out windows without and with copies in the training part, apart."""

    clean: Estimate | None
    """Windows with less than half of their k-mers in the training part, on either strand."""
    hit: Estimate | None
    clean_windows: int
    hit_windows: int
    markov_clean: float | None = None
    markov_hit: float | None = None
    """Bits per base of the best Markov model on the same windows."""


class LayerRouting(Result):
    """How one layer's router shares out the held-out tokens to its experts."""

    layer: int
    load: list[float]
    """Share of the choices that went to each expert; adds up to 1."""
    entropy_bits: float
    """Of the load: log2 of the number of experts where all are used alike."""
    dead_experts: int
    """Experts that no token chose."""
    router_gradient: float
    """Norm of the loss's gradient at the router's weights, divided by their number's square root."""
    expert_gradient: float
    """The same of the experts' weights."""
    enrichment: dict[str, list[float]] = {}
    """For each class of bases (repeat, coding, ...) and each expert: log2 of the share of the class's tokens that
    choose the expert, divided by the share of all tokens that do; with half a token added to each count."""


class Routing(Result):
    """What the experts of a mixture do on held-out bases."""

    experts: int
    experts_per_token: int
    tokens: int
    layers: list[LayerRouting]
    learns: bool
    """Whether every router receives a gradient that is not nil beside the experts' (see `primase.checks`)."""


class Check(Result):
    """One thing that a self-test looked at."""

    name: str
    """Short and fixed: future, padding, mates, case, reload, tokenizer, strands, router."""
    passed: bool
    figure: float
    """What was measured, in `unit`."""
    unit: str
    limit: float
    """What the figure may be at most (at least, for `router`)."""
    meaning: str
    """One sentence for a biologist: what was done, and what a failure would mean."""


class Evaluation(Result):
    """evaluation.json: what a model is worth on bases it has not seen."""

    schema_version: int = 2
    model: str
    part: str
    """heldout, or validation where nothing was held out, or the name of the file that was given."""
    split_strategy: str
    """given, where sequences of the user's were measured."""
    stretches: int
    """Contiguous held-out sequences; each is scored from its start with a context that slides."""
    windows: int
    tokens: int
    unknown_tokens: int
    precision: str = "fp32"
    """Of the model's forward passes; bf16 where it was asked for."""
    context_tokens: int
    stride_fraction: float
    bootstrap_blocks: int
    """Stretches of the genome that were resampled for the intervals; with fewer than ten, they say little."""
    nats_per_token: float
    forward: Estimate
    reverse_complement: Estimate
    both_strands_mean: Estimate
    classes: dict[str, Estimate]
    """Forward strand, by class of base: repeat and non-repeat where the genome is soft-masked; coding, exon, intron
    and intergenic, or the names of a BED file, where annotations were given."""
    rivals: list[Rival]
    """Uniform guessing, the best Markov model, the copy mixture, the untrained twin; the source where it is known."""
    ensembles: list[Ensemble] = []
    """Where they were asked for."""
    markov_bits_per_base: list[float] | None
    """Order 0, 1, 2, …; forward strand. None where there was nothing to count."""
    best_markov_order: int | None
    true_entropy_bits_per_base: float | None = None
    """Of the simulated source, on the same windows: no model can do better on average."""
    leaked: LeakedLoss | None = None
    share_in_training: float | None = None
    """Of the 31-mers of sequences of the user's, the share that the training bases have, on either strand."""
    calibration: list[CalibrationBin]
    calibration_error: float
    """Expected calibration error: mean distance of confidence and accuracy over the bins, weighted by tokens."""
    routing: Routing | None = None
    """None for a dense model."""
    loci: list[Locus] = []
    verdict: str
    """Which rivals are beaten, by how much, and whether the interval excludes zero."""

    @property
    def has_intervals(self) -> bool:
        """Of the rivals' advantages."""
        return self.bootstrap_blocks >= FEWEST_BLOCKS

    @property
    def is_of_training_bases(self) -> bool:
        """Whether the user's sequences stand, for the most part, in the training bases."""
        return (self.share_in_training or 0.0) >= MUCH_IN_TRAINING

    def rival(self, kind: str) -> Rival | None:
        """The rival of that kind, if it was measured."""
        return next((rival for rival in self.rivals if rival.kind == kind), None)


class Checks(Result):
    """checks.json: the self-tests of a trained model."""

    schema_version: int = 1
    model: str
    checks: list[Check]

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)


class Leakage(Result):
    """leakage.json in a corpus: how much of the held-out part can be read in the training part."""

    schema_version: int = 1
    part: str
    """heldout, or validation where nothing was held out."""
    windows: int
    """Windows that were looked at: all of the part, or a draw; none shorter than a k-mer."""
    windows_of_part: int
    kmer_bases: int
    """31, or the length of the window in which the middle base lies where that is less."""
    exact_copy_share: float
    """Share of windows that stand letter for letter in the training part, on either strand."""
    half_kmers_share: float
    """Share of windows with at least half of their k-mers in the training part, on either strand."""
    mean_kmer_share: float
    """Mean over windows of the share of their k-mers in the training part."""
    minimizer_containment: float
    """Share of the distinct minimizers of the held-out windows that are minimizers of the training part too."""
    minimizer_bases: int
    minimizer_window: int
    """Minimizers of k = minimizer_bases in windows of so many k-mers (Roberts et al. 2004)."""
    kmer_share_histogram: list[int]
    """Windows by their share of k-mers in the training part: 0 to 10 %, 10 to 20 %, …, 90 to 100 %."""


class CompressionResult(Result):
    """What `primase compress` made of a FASTA file, beside what the model's parallel pass promises for it."""

    schema_version: int = 1
    model: str
    source: str
    output: str
    was_gzip: bool
    """Whether the source was compressed with gzip: the text in it was taken, and comes back uncompressed."""
    text_bytes: int
    """Of the source, uncompressed."""
    bases: int
    """A, C, G and T that the model predicted."""
    tokens: int
    lanes: int
    """Parts that were coded side by side, each from a context of its own."""
    payload_bytes: int
    """The bases, as the arithmetic coder wrote them."""
    side_bytes: int
    """Everything else: names, case, line ends, runs of N."""
    total_bytes: int
    """Of the file, header and checksum included."""
    payload_bits_per_base: float
    scored_bits_per_base: float
    """Of the same lanes by the ordinary parallel forward pass, end tokens left out: what would be printed."""
    relative_difference: float
    """Payload minus scored, divided by scored: 0.001 is 0.1 %."""
    agrees: bool
    """Whether the two are within 0.5 %, two words of the coder (64 bits) set aside."""
    proves: bool
    """Whether they are within 0.5 % as they are, which a text of a few hundred bases is too short for."""
    two_bit_bytes: int
    """The bases in 2 bits each, which takes no model."""
    seconds: float
    """Of the coding alone."""


class DecompressionResult(Result):
    """What `primase decompress` wrote: the very text that was compressed, by its SHA-256."""

    schema_version: int = 1
    output: str
    text_bytes: int
    bases: int
    seconds: float
