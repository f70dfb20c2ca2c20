"""primase finetune: a pretrained model becomes a classifier, measured beside its rivals."""

from pathlib import Path
from typing import Annotated

import typer

from primase.cli import options
from primase.cli.display import Display
from primase.cli.finetuning_table import table
from primase.cli.writing import writing


def command(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A run, a model folder, or a Hub name.")],
    data: Annotated[
        Path,
        typer.Argument(metavar="TABLE", help="CSV, TSV or Parquet (.gz too), or a folder of train, dev and test."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="RUN", help="The folder to write.")],
    label: Annotated[list[str], typer.Option(metavar="NAME", help="Column of the labels. Repeatable: multi-label.")],
    label_separator: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Between several labels in one cell: multi-label.")
    ] = None,
    column: options.Column = None,
    task: Annotated[
        str | None,
        typer.Option(metavar="KIND", help="binary, multi-class, multi-label, regression (else: guessed)."),
    ] = None,
    method: Annotated[str, typer.Option(metavar="HOW", help="full, lora, or probe (the body stays frozen).")] = "full",
    class_weights: Annotated[
        str, typer.Option(metavar="HOW", help="none, or balanced: rare classes weigh as much as common ones.")
    ] = "none",
    epochs: Annotated[int, typer.Option(metavar="EPOCHS", help="At most.")] = 10,
    patience: Annotated[
        int, typer.Option(metavar="EPOCHS", help="Stop after so many without a better validation metric.")
    ] = 3,
    learning_rate: Annotated[
        float | None, typer.Option(metavar="RATE", help="Peak (else 3e-4 for full, 1e-3 for lora).")
    ] = None,
    warmup_fraction: Annotated[
        float, typer.Option(metavar="SHARE", help="Of the steps, in which the learning rate rises.")
    ] = 0.1,
    weight_decay: Annotated[float, typer.Option(metavar="RATE", help="Of AdamW, on matrices.")] = 0.01,
    batch_tokens: Annotated[int, typer.Option(metavar="TOKENS", help="Most tokens of a step, padding too.")] = 2048,
    lora_rank: Annotated[int, typer.Option(metavar="RANK", help="Of the updates of --method lora.")] = 8,
    validation_fraction: Annotated[
        float, typer.Option(metavar="SHARE", help="Of the rows, split off where no such part is given.")
    ] = 0.1,
    test_fraction: Annotated[
        float, typer.Option(metavar="SHARE", help="Of the rows, split off where no such part is given.")
    ] = 0.2,
    remove_duplicates: Annotated[
        bool, typer.Option("--remove-duplicates", help="Leave training rows out that are in another part too.")
    ] = False,
    max_rows: Annotated[
        int | None, typer.Option(metavar="ROWS", help="Train on a stratified draw of at most so many rows.")
    ] = None,
    seeds: Annotated[int, typer.Option(metavar="COUNT", help="Trainings; figures are means, with the spread.")] = 1,
    seed: Annotated[int, typer.Option(metavar="SEED", help="Of the first training, and of the split.")] = 0,
    rivals: Annotated[
        bool, typer.Option("--rivals/--no-rivals", help="Train k-mers, a small net and an untrained twin too.")
    ] = True,
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
) -> None:
    """Make a classifier, or a regression, of a pretrained model.

    It is measured on test rows beside a k-mer regression, a small convolutional net and its untrained twin, all on the
    same rows, and the verdict says who wins. RUN/final loads with plain AutoModelForSequenceClassification.
    """
    from primase.finetuning.finetune import finetune

    with writing(output), Display() as display:
        result = finetune(
            model,
            data,
            output,
            label=label,
            label_separator=label_separator,
            column=column,
            task=task,
            method=method,
            class_weights=class_weights,
            epochs=epochs,
            patience=patience,
            learning_rate=learning_rate,
            warmup_fraction=warmup_fraction,
            weight_decay=weight_decay,
            batch_tokens=batch_tokens,
            lora_rank=lora_rank,
            validation_fraction=validation_fraction,
            test_fraction=test_fraction,
            remove_duplicates=remove_duplicates,
            max_rows=max_rows,
            seeds=seeds,
            seed=seed,
            rivals=rivals,
            overwrite=overwrite,
            on_note=lambda note: typer.echo(note, err=as_json),
            progress=display.stage,
        )
    typer.echo(result.model_dump_json(indent=2) if as_json else table(result))
