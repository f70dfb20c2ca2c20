"""primase generate: sequences drawn from a model, and what they are worth."""

from pathlib import Path
from typing import Annotated

import typer

from primase.cli import options
from primase.cli.display import Display, duration
from primase.cli.writing import writing
from primase.errors import InputError


def command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A run, a model folder, or a Hub name.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The FASTA to write, .gz too.")],
    bases: Annotated[int, typer.Option(min=1, metavar="BASES", help="New bases of each sequence, exactly.")],
    count: Annotated[int, typer.Option(min=1, metavar="COUNT", help="Sequences (for each prompt).")] = 1,
    prompt: Annotated[str | None, typer.Option(metavar="ACGT", help="Bases that each sequence begins with.")] = None,
    prompts: Annotated[Path | None, typer.Option(metavar="FILE", help="A file of such beginnings.")] = None,
    temperature: Annotated[float, typer.Option(metavar="T", help="Below 1 keeps to likely bases.")] = 1.0,
    top_k: Annotated[int | None, typer.Option(min=1, metavar="K", help="Draw among the K likeliest tokens.")] = None,
    top_p: Annotated[float | None, typer.Option(metavar="P", help="Draw among the likeliest that reach P.")] = None,
    gc: Annotated[
        str | None, typer.Option(metavar="LOW-HIGH", help="Share of G and C in the whole sequence, e.g. 0.4-0.6.")
    ] = None,
    forbid: Annotated[
        list[str] | None,
        typer.Option(metavar="SITE", help="An enzyme (EcoRI) or a site in IUPAC codes, on no strand. Repeatable."),
    ] = None,
    motif: Annotated[str | None, typer.Option(metavar="IUPAC", help="Bases that must be drawn.")] = None,
    motif_at: Annotated[
        int | None, typer.Option(min=0, metavar="PLACE", help="Where, from the first drawn base; else drawn.")
    ] = None,
    left_flank: Annotated[str, typer.Option(metavar="ACGT", help="Before each sequence; the model reads it.")] = "",
    right_flank: Annotated[str, typer.Option(metavar="ACGT", help="Behind each sequence.")] = "",
    seed: Annotated[int, typer.Option(min=0, metavar="SEED", help="The same seed draws the same sequences.")] = 0,
    compare_with: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="The training genome, where MODEL is not a run. Repeatable."),
    ] = None,
    batch_sequences: Annotated[int, typer.Option(min=1, metavar="COUNT", help="Drawn side by side.")] = 64,
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
) -> None:
    """Draw new sequences from a model, under constraints.

    Beside them a table: how far their k-mers are from the training genome's, the longest exact copy of it, bits per
    base, and the same for real DNA and for a Markov sample.
    """
    from primase.generation.generate import generate

    with writing(output), Display() as display:
        result = generate(
            model,
            output,
            bases=bases,
            count=count,
            prompt=prompt,
            prompts=prompts,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            gc=_range(gc),
            forbid=forbid or (),
            motif=motif,
            motif_at=motif_at,
            left_flank=left_flank,
            right_flank=right_flank,
            seed=seed,
            compare_with=compare_with or (),
            batch_sequences=batch_sequences,
            overwrite=overwrite,
            progress=display.stage,
        )
    typer.echo(_json(result) if as_json else table(result))


def _range(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        low, high = map(float, text.split("-"))
    except ValueError:
        raise InputError(f"--gc {text}: give two shares, as in 0.4-0.6") from None
    return low, high


def _json(result) -> str:
    """Without the sequences themselves: they are in the file."""
    return result.model_dump_json(indent=2, exclude={"sequences": {"__all__": {"sequence"}}})


def table(result) -> str:
    """A `primase.generation.results.Generation` as text."""
    plural = "s" if len(result.sequences) != 1 else ""
    retries = f", {result.retries:,} drawn again" if result.retries else ""
    k = result.spectrum_bases
    heads = ("GC", "bits/base", f"{k}-mer distance", "longest copy", "median copy")
    lines = [
        f"{result.output}: {len(result.sequences):,} sequence{plural}, {result.drawn_bases:,} bases drawn in "
        f"{duration(result.seconds)} ({result.bases_per_second:,.0f} bases/s){retries}",
        "",
        " " * 20 + "".join(f"{head:>16}" for head in (heads if k else heads[:2])),
    ]
    for row in result.quality:
        cells = [f"{row.gc_share:.3f}", f"{row.bits_per_base:.4f}"]
        if k:
            distance = row.spectrum_divergence_bits
            cells.append("-" if distance is None else f"{distance:.4f}")
            cells += [f"{row.longest_copy_bases:,}", f"{row.median_copy_bases:,.0f}"]
        lines.append(f"{row.name:<20}" + "".join(f"{cell:>16}" for cell in cells))
    if k:
        lines += ["", f"Distances and copies are to {result.compared_with}; the lower rows have the same lengths."]
    else:
        lines += ["", "No training genome is known; --compare-with FILE adds distances and copies."]
    return "\n".join(lines)
