"""The model and its rivals as a reader meets them: one short name, one colour and one sentence for each."""

from dataclasses import dataclass

from primase.results import FEWEST_BLOCKS, Evaluation, Rival

STRONG = ("markov", "copy-mixture")
"""The rivals that have read the same training bases: beating them is what a model is for."""

GUESSING_BITS = 2.0
"""Four bases, equally likely: log2(4)."""


@dataclass(frozen=True)
class Predictor:
    """One line of a chart."""

    kind: str
    """Of `primase.results.Rival`, or model; also its class in the style sheet."""
    name: str
    bits_per_base: float


SHORT_NAMES = {
    "uniform": "guessing",
    "markov": "Markov",
    "copy-mixture": "copy mixture",
    "untrained": "untrained twin",
    "source": "best possible",
    "model": "this model",
}

MEANINGS = {
    "uniform": "A, C, G and T are equally likely, whatever came before: 2 bits a base.",
    "markov": (
        "counts which base follows each short word in the training part, on both strands. Order 12 looks back 12 "
        "bases. Of all orders, the one that does best on the held-out bases themselves is the rival."
    ),
    "copy-mixture": (
        "looks for an earlier place where the last bases stood already, on either strand, and predicts what followed "
        "there, mixed with counting. It is what the best DNA compressors do, and good at repeats."
    ),
    "untrained": (
        "the same network before its first training step, measured on a draw of the bases: what it knows without "
        "having read any DNA."
    ),
    "source": "the program that drew this simulated genome. On average nothing can predict its bases better.",
}


def short_name(evaluation: Evaluation, kind: str) -> str:
    """The name for a chart; a Markov model's has its order."""
    if kind == "markov" and evaluation.best_markov_order is not None:
        return f"Markov, order {evaluation.best_markov_order}"
    return SHORT_NAMES[kind]


def part_in_words(evaluation: Evaluation) -> str:
    """heldout becomes held-out; a name of the user's stays."""
    return "held-out" if evaluation.part == "heldout" else evaluation.part


def predictors(evaluation: Evaluation) -> list[Predictor]:
    """The model and its rivals, the worst first."""
    rivals = [
        Predictor(rival.kind, short_name(evaluation, rival.kind), rival.bits_per_base) for rival in evaluation.rivals
    ]
    model = Predictor("model", SHORT_NAMES["model"], evaluation.forward.bits_per_base)
    return sorted([*rivals, model], key=lambda predictor: (-predictor.bits_per_base, predictor.kind == "model"))


def strongest(evaluation: Evaluation) -> Rival | None:
    """The rival with the fewest bits of those that have read the training part; guessing where there is none."""
    strong = [rival for rival in evaluation.rivals if rival.kind in STRONG]
    return min(strong, key=lambda rival: rival.bits_per_base, default=evaluation.rival("uniform"))


def excludes_zero(rival: Rival) -> bool:
    return not rival.low <= 0 <= rival.high


def is_certain(evaluation: Evaluation, rival: Rival) -> bool:
    """Whether chance does not explain the difference."""
    return excludes_zero(rival) and evaluation.bootstrap_blocks >= FEWEST_BLOCKS
