"""Fine-tuning of models on tasks, each beside its rivals: the table of docs/results.md.

    python -m benchmarks.finetuning_tasks --model chr2=runs/chr2 --task tf/0=gue/tf/0 \\
        --task splice=uci/splice.csv.gz --max-rows 4000 --seeds 3 -o finetuning.json

A task is NAME=DATA, or NAME=DATA:LABEL or NAME=DATA:LABEL:SEQUENCE where its columns are not `label` and `sequence`.
Every run is kept in a folder beside the output; one that is finished with the same settings is not done again, so that
a long benchmark can be stopped and gone on with. The convolutional net and the k-mers depend on the task alone: they
are printed with its first model.
"""

import argparse
import json
import tomllib
from pathlib import Path
from typing import NamedTuple

from primase.finetuning.finetune import finetune
from primase.finetuning.results import Finetuning, Predictor
from primase.finetuning.settings import FinetuningSettings


class NamedTask(NamedTuple):
    name: str
    data: str
    label: str
    column: str | None

    @classmethod
    def parse(cls, text: str) -> "NamedTask":
        name, _, rest = text.partition("=")
        data, *columns = rest.split(":")
        return cls(name, data, columns[0] if columns else "label", columns[1] if len(columns) > 1 else None)


def measure(model: str, task: NamedTask, folder: Path, options: dict) -> Finetuning:
    """The finished run in `folder`, or a new one."""
    settings = FinetuningSettings.of(label=(task.label,), column=task.column, **options)
    wanted = tomllib.loads(settings.to_toml(model, task.data))
    written = folder / "finetuning.toml"
    if (folder / "finetuning.json").is_file() and tomllib.loads(written.read_text("utf-8")) == wanted:
        return Finetuning.model_validate_json((folder / "finetuning.json").read_text("utf-8"))
    return finetune(
        model,
        task.data,
        folder,
        label=task.label,
        column=task.column,
        overwrite=True,
        on_note=lambda note: print(f"  {note}", flush=True),
        **options,
    )


def rows_of_table(task: str, name: str, result: Finetuning, is_first: bool) -> list[str]:
    """Markdown rows: the model, its twin and, with the first model of a task, the other rivals."""
    used = {part.name: part for part in result.parts}
    drawn, whole = used["train"].rows, used["train"].rows_of_part
    rows = f"{drawn:,} of {whole:,}" if drawn < whole else f"{whole:,}"
    shown = [p for p in result.predictors if is_first or p.kind in ("model", "untrained")]
    labels = {"model": f"{name} ({result.method})", "untrained": f"{name}, untrained"}
    return [
        f"| {task} | {rows} | {used['test'].rows:,} | {labels.get(p.kind, p.name)} | {_figure(p)} | {_difference(p)} |"
        for p in shown
    ]


def _figure(predictor: Predictor) -> str:
    score = predictor.leading
    spread = f" ± {score.seed_deviation:.3f}" if score.seed_deviation is not None else ""
    return f"{score.value:.3f}{spread} ({score.low:.3f} to {score.high:.3f})"


def _difference(predictor: Predictor) -> str:
    if predictor.advantage is None:
        return ""
    return f"{predictor.advantage:+.3f} ({predictor.low:+.3f} to {predictor.high:+.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", required=True, metavar="NAME=MODEL")
    parser.add_argument("--task", action="append", required=True, metavar="NAME=DATA[:LABEL[:SEQUENCE]]")
    parser.add_argument("--method", default="full")
    parser.add_argument("--max-rows", type=int, help="train on a stratified draw of so many rows; the table says so")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--keep-duplicates", action="store_true", help="as published; by default they are removed")
    parser.add_argument("--output", "-o", type=Path, required=True, help="JSON of all results")
    arguments = parser.parse_args()
    options = {
        "method": arguments.method,
        "max_rows": arguments.max_rows,
        "seeds": arguments.seeds,
        "epochs": arguments.epochs,
        "remove_duplicates": not arguments.keep_duplicates,
    }
    models = dict(text.split("=", 1) for text in arguments.model)
    table, results = [], []
    for task in map(NamedTask.parse, arguments.task):
        for number, (name, model) in enumerate(models.items()):
            folder = arguments.output.with_suffix("") / f"{task.name}-{name}".replace("/", "-")
            print(f"{task.name}, {name}", flush=True)
            result = measure(model, task, folder, options)
            print(f"  {result.verdict}  ({result.seconds:.0f} s)", flush=True)
            results.append({"task": task.name, "model": name} | result.model_dump(mode="json"))
            table.extend(rows_of_table(task.name, name, result, is_first=number == 0))
            arguments.output.write_text(json.dumps(results, indent=2) + "\n", "utf-8")
    print()
    print("| task | rows trained on | test rows | predictor | leading metric | model ahead by |")
    print("|---|---|---|---|---|---|")
    print("\n".join(table))


if __name__ == "__main__":
    main()
