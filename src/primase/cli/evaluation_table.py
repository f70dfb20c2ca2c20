"""An evaluation as text: the table that `primase evaluate` and `primase demo` print."""

from typing import TYPE_CHECKING

from primase.cli.routing_table import routing_lines

if TYPE_CHECKING:
    from primase.results import Estimate, Evaluation, Rival

CLASS_NAMES = {"repeat": "repeat (soft-masked) bases", "non-repeat": "other bases", "exon": "exon, not coding"}


def table(result: "Evaluation") -> str:
    """The figures, the rivals and the verdict."""
    part = result.part.replace("heldout", "held-out")
    stretches = f"{result.stretches:,} stretch{'es' if result.stretches != 1 else ''}"
    lines = [
        f"{result.model}: {result.forward.bases:,} {part} bases in {stretches} "
        f"({result.split_strategy} split), {result.tokens:,} tokens{', in bf16' if result.precision == 'bf16' else ''}",
        "",
        f"{'lower is better, guessing is 2':<36}{'bits per base':>14}   95 % interval",
        _line("this model", result.forward),
        _line("  reverse complement", result.reverse_complement),
        _line("  mean of both strands", result.both_strands_mean),
        *(_line(f"  {CLASS_NAMES.get(name, name)}", figure) for name, figure in result.classes.items()),
        *_leaked_lines(result),
        *_ensemble_lines(result),
        "",
        f"{'rivals on the same bases':<36}{'bits per base':>14}   this model is better by (millibits)",
    ]
    lines += [f"{rival.name:<36}{rival.bits_per_base:>14.4f}   {_advantage(rival, result)}" for rival in result.rivals]
    if result.markov_bits_per_base is not None:
        orders = [f"{order:>4}: {bits:.3f}" for order, bits in enumerate(result.markov_bits_per_base)]
        lines += ["", "Markov models by order:"]
        lines += ["".join(orders[first : first + 6]) for first in range(0, len(orders), 6)]
    lines += ["", f"Calibration error: {result.calibration_error:.3f} (mean distance of confidence and hit rate)"]
    if result.routing:
        lines += ["", *routing_lines(result.routing)]
    lines += ["", f"Verdict: {result.verdict}."]
    if result.is_of_training_bases:
        lines.append(
            f"Warning: {result.share_in_training:.0%} of the 31-mers of these sequences stand in the training bases: "
            "the figures say how well they are remembered, not what the model is worth on new ones."
        )
    if result.unknown_tokens:
        from primase.sequence_encoder import unknown_in_words

        lines.append(f"Warning: {unknown_in_words(result.unknown_tokens)}.")
    return "\n".join(lines)


def _line(name: str, figure: "Estimate") -> str:
    interval = f"{figure.low:.4f} to {figure.high:.4f}" if figure.has_interval else "too few stretches"
    return f"{name:<36}{figure.bits_per_base:>14.4f}   {interval}"


def _ensemble_lines(result: "Evaluation") -> list[str]:
    """The model in company, with what the company adds to the model and the model to the company."""
    if not result.ensembles:
        return []
    lines = ["", f"{'this model in company':<36}{'bits per base':>14}   95 % interval"]
    for ensemble in result.ensembles:
        lines.append(_line(ensemble.name, ensemble.figure))
        for rival in ensemble.rivals:
            if rival.kind == "model" or ensemble.kind == "with-copy-mixture":
                lines.append(f"  than {rival.name:<29}{'':>14}   better by {_advantage(rival, result)}")
    return lines


def _advantage(rival: "Rival", result: "Evaluation") -> str:
    interval = f"({rival.low:+.1f} to {rival.high:+.1f})" if result.has_intervals else "(too few stretches)"
    return f"{rival.model_advantage_millibits:+.1f} {interval}"


def _leaked_lines(result: "Evaluation") -> list[str]:
    """The held-out windows with and without copies in the training part, by the certificate of the corpus."""
    leaked = result.leaked
    if leaked is None:
        return []
    if not leaked.hit_windows:
        return [f"  none of {leaked.clean_windows:,} windows has half of its k-mers in the training part"]
    figures = (
        ("without copies in training", leaked.clean_windows, leaked.clean, leaked.markov_clean),
        ("half or more in training", leaked.hit_windows, leaked.hit, leaked.markov_hit),
    )
    return [
        _line(f"  {windows:,} windows {name}", figure) + (f"   Markov {markov:.4f}" if markov is not None else "")
        for name, windows, figure, markov in figures
        if figure
    ]
