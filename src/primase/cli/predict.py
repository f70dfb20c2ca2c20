"""primase predict: a classifier's labels for any sequences."""

from pathlib import Path
from typing import Annotated

import typer

from primase.cli import options
from primase.cli.display import Display
from primase.cli.writing import writing


def command(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A run of primase finetune, or any classifier by folder or Hub name.")
    ],
    sources: Annotated[
        list[str],
        typer.Argument(metavar="SEQUENCES", help="FASTA, CSV, TSV or Parquet files (.gz too), or folders of them."),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The .csv, .tsv or .parquet file to write.")
    ],
    column: options.Column = None,
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
) -> None:
    """Predict labels of sequences, with their probabilities.

    A sequence longer than the model's context is cut into windows, whose logits are averaged.
    """
    from primase.finetuning.predict import predict_to_file

    with writing(output), Display() as display:
        result = predict_to_file(
            model,
            sources,
            output,
            column=column,
            overwrite=overwrite,
            progress=lambda done: display.stage("predicting", 0.0, f"{done:,} sequences"),
            on_unknown=_tell_of_unknown,
        )
    typer.echo(result.model_dump_json(indent=2) if as_json else _text(result))


def _text(result) -> str:
    plural = "s" if result.sequences != 1 else ""
    counts = ", ".join(f"{label or 'none'} {count:,}" for label, count in result.predicted.items())
    text = f"{result.output}: {result.sequences:,} sequence{plural}" + (f" ({counts})" if counts else "")
    if result.long_sequences:
        plural, verb = ("s", "are") if result.long_sequences != 1 else ("", "is")
        text += (
            f"\n{result.long_sequences:,} sequence{plural} {verb} longer than the context: cut into windows side by "
            "side, their logits averaged"
        )
    return text


def _tell_of_unknown(tokens: int) -> None:
    from primase.sequence_encoder import unknown_in_words

    typer.echo(f"warning: {unknown_in_words(tokens)}: it cannot spell every base", err=True)
