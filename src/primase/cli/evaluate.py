"""primase evaluate: what a model is worth on held-out bases."""

from pathlib import Path
from typing import Annotated

import typer

from primase.cli import options
from primase.cli.display import Display
from primase.cli.evaluation_table import table
from primase.cli.writing import writing
from primase.errors import InputError


def command(
    model: Annotated[
        str, typer.Argument(metavar="RUN", help="A run; or a model folder or Hub name, with --sequences.")
    ],
    sequences: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Measure these FASTA files or tables, not the held-out part. Repeatable."),
    ] = None,
    count_on: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="What the rivals count on, where not a run's training part. Repeatable."),
    ] = None,
    annotations: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="GFF3, GTF or BED: figures for coding, exon, intron, intergenic."),
    ] = None,
    stride_fraction: Annotated[
        float | None,
        typer.Option(min=0.01, max=1.0, metavar="SHARE", help="How far a full context slides, as a share of it (0.5)."),
    ] = None,
    context_tokens: Annotated[
        int | None, typer.Option(min=1, metavar="TOKENS", help="A shorter context than the model was made for.")
    ] = None,
    ensembles: Annotated[
        bool | None,
        typer.Option(help="Also the mean over the reading frames, and the model with the copy mixture (recipe: yes)."),
    ] = None,
    simulation: Annotated[
        Path | None,
        typer.Option(
            metavar="JSON", help="The .json that primase simulate wrote beside the genome: adds its true entropy."
        ),
    ] = None,
    max_bases: Annotated[
        int | None, typer.Option(min=1, metavar="BASES", help="Measure on a fixed draw of about so many bases.")
    ] = None,
    precision: options.Precision = "fp32",
    column: options.Column = None,
    as_json: options.AsJson = False,
) -> None:
    """Say what a model is worth on bases it has not seen.

    Bits per base on a run's held-out part, or on sequences of yours, beside Markov models, a copy mixture and the
    untrained twin on the same bases, and the verdict. A run also gets its report.html and model card.
    """
    from primase.evaluation.evaluate import evaluate

    source = _source(simulation, model) if simulation else None
    with writing(Path(model)), Display() as display:
        result = evaluate(
            model,
            sequences=sequences or (),
            count_on=count_on or (),
            annotations=annotations,
            source=source,
            max_bases=max_bases,
            stride_fraction=stride_fraction,
            context_tokens=context_tokens,
            ensembles=ensembles,
            precision=precision,
            column=column,
            progress=display.stage,
        )
    typer.echo(result.model_dump_json(indent=2) if as_json else table(result))


def _source(file: Path, run: str):
    """What `evaluate` takes as the source. Raises InputError where the run's genome came from another one."""
    from primase.run_folder import RunFolder
    from primase.simulate import read_simulation

    counts = RunFolder.open(run).corpus().description["base_counts"]
    genome_bases = sum(counts[base] for base in "ACGTN")
    source = read_simulation(file)
    if sum(source.record_bases) != genome_bases:
        raise InputError(
            f"{file}: describes a genome of {sum(source.record_bases):,} bases, and this run's has {genome_bases:,}; "
            "give the .json that was written beside the run's genome"
        )
    return source.surprisal
