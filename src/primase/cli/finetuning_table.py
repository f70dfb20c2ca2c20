"""A `primase.finetuning.results.Finetuning` as text."""

from typing import TYPE_CHECKING

from primase.cli.display import duration

if TYPE_CHECKING:
    from primase.finetuning.results import Finetuning, Predictor


def table(result: "Finetuning") -> str:
    """The rows, the model and its rivals with their metrics, the verdict, and what to type next."""
    from primase.finetuning.scores import IN_WORDS

    parts = ", ".join(f"{part.rows:,} {part.name}" for part in result.parts)
    first, *others = [IN_WORDS[score.metric] for score in result.model_scores.scores]
    head = f"{'on the test rows':<28}{first:>9}   {'95 % interval':<19}" + "".join(f"{name:>10}" for name in others)
    spread = len(result.seeds) > 1
    head += f"{'spread':>10}" if spread else ""
    lines = [
        f"{result.run}: {parts} rows, {len(result.seeds)} seed{'s' if spread else ''}, {duration(result.seconds)}",
        "",
        head,
        *(_line(predictor, spread) for predictor in result.predictors),
        "",
        f"Verdict: {result.verdict}",
        "",
        f"The model is {result.run}/final (seed {result.chosen_seed}, the best on validation)."
        if spread
        else f"The model is {result.run}/final.",
        f"What it says of others:  primase predict {result.run} SEQUENCES.fa -o predictions.csv",
    ]
    return "\n".join(lines)


def _line(predictor: "Predictor", spread: bool) -> str:
    first, *others = predictor.scores
    line = f"{predictor.name:<28}{first.value:>9.4f}   {f'{first.low:.4f} to {first.high:.4f}':<19}"
    line += "".join(f"{score.value:>10.4f}" for score in others)
    if spread:
        line += f"{first.seed_deviation:>10.4f}" if first.seed_deviation is not None else f"{'':>10}"
    return line.rstrip()
