"""primase evaluate: what a model is worth on held-out bases."""

from pathlib import Path
from typing import Annotated

import typer

from primase.cli import options
from primase.cli.display import Display
from primase.cli.writing import writing
from primase.errors import InputError


def command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    simulation: Annotated[
        Path | None,
        typer.Option(
            metavar="JSON", help="The .json that primase simulate wrote beside the genome: adds its true entropy."
        ),
    ] = None,
    max_bases: Annotated[
        int | None, typer.Option(min=1, metavar="BASES", help="Measure on a fixed draw of about so many bases.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Say what a model is worth on bases it has not seen.

    Bits per base on the held-out part, beside Markov models on the same bases and the untrained twin, and the verdict.
    """
    from primase.evaluation.evaluate import evaluate
    from primase.run_folder import RunFolder

    counts = RunFolder.open(run).corpus().description["base_counts"]
    entropy = _entropy(simulation, sum(counts[base] for base in "ACGTN")) if simulation else None
    with writing(run), Display() as display:
        result = evaluate(run, entropy=entropy, max_bases=max_bases, progress=display.stage)
    typer.echo(result.model_dump_json(indent=2) if as_json else table(result))


def _entropy(file: Path, genome_bases: int):
    """What `evaluate` takes as the entropy of the source. Raises InputError where another genome came from it."""
    from primase.simulate import read_simulation

    source = read_simulation(file)
    if sum(source.record_bases) != genome_bases:
        raise InputError(
            f"{file}: describes a genome of {sum(source.record_bases):,} bases, and this run's has {genome_bases:,}; "
            "give the .json that was written beside the run's genome"
        )
    return source.window_bits


def table(result) -> str:
    """A `primase.results.Evaluation` as text."""
    part = result.part.replace("heldout", "held-out")
    lines = [
        f"{result.model}: {result.forward.bases:,} {part} bases in {result.windows:,} windows "
        f"({result.split_strategy} split), {result.tokens:,} tokens",
        "",
        f"{'lower is better, guessing is 2':<36}{'bits per base':>14}   95 % interval",
    ]
    estimates = [
        ("this model", result.forward),
        ("  reverse complement", result.reverse_complement),
        ("  mean of both strands", result.both_strands_mean),
    ]
    if result.repeat is not None:
        estimates += [("  repeat (soft-masked) bases", result.repeat), ("  other bases", result.non_repeat)]
    for name, estimate in estimates:
        if estimate is not None:
            lines.append(f"{name:<36}{estimate.bits_per_base:>14.4f}   {estimate.low:.4f} to {estimate.high:.4f}")
    lines += ["", f"{'rivals on the same bases':<36}{'bits per base':>14}   this model is better by (millibits)"]
    for rival in result.rivals:
        lines.append(
            f"{rival.name:<36}{rival.bits_per_base:>14.4f}   {rival.model_advantage_millibits:+.1f} "
            f"({rival.low:+.1f} to {rival.high:+.1f})"
        )
    orders = [f"{order:>4}: {bits:.3f}" for order, bits in enumerate(result.markov_bits_per_base)]
    lines += ["", "Markov models by order:"]
    lines += ["".join(orders[first : first + 6]) for first in range(0, len(orders), 6)]
    lines += ["", f"Verdict: {result.verdict}."]
    if result.unknown_tokens:
        lines.append(f"Warning: {result.unknown_tokens:,} tokens were unknown to the tokenizer.")
    return "\n".join(lines)
