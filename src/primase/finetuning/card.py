"""README.md of a fine-tuned model: what it decides, what it is worth, and what its rivals are worth."""

from huggingface_hub import EvalResult, ModelCardData

from primase.finetuning.folder import FinetuningFolder
from primase.finetuning.results import Finetuning
from primase.finetuning.scores import IN_WORDS
from primase.report.card import TAGS, markdown
from primase.version import __version__
from primase.whole_files import write_whole


def write(run: FinetuningFolder, result: Finetuning) -> None:
    """Write README.md into final/."""
    write_whole(run.final / "README.md", render(run.folder.name, result).encode())


def render(name: str, result: Finetuning) -> str:
    """The card as text."""
    return f"---\n{_metadata(name, result).to_yaml()}\n---\n\n{_body(name, result)}"


def _metadata(name: str, result: Finetuning) -> ModelCardData:
    test = result.parts[-1]
    figures = [
        EvalResult(
            task_type="text-classification",
            dataset_type="dna",
            dataset_name=test.source,
            dataset_split=f"test ({test.rows} rows)",
            metric_type=score.metric,
            metric_name=IN_WORDS[score.metric],
            metric_value=round(score.value, 4),
        )
        for score in result.model_scores.scores
    ]
    return ModelCardData(
        library_name="transformers",
        pipeline_tag="text-classification",
        tags=TAGS,
        model_name=name,
        eval_results=figures,
    )


def _body(name: str, result: Finetuning) -> str:
    metric = IN_WORDS[result.leading_metric]
    labels = ", ".join(markdown(label) for label in result.labels[:20]) + (", …" if len(result.labels) > 20 else "")
    rows = "\n".join(
        f"| {part.name} | {part.rows:,} of {part.rows_of_part:,} | {markdown(part.source)} |" for part in result.parts
    )
    figures = "\n".join(
        f"| {predictor.name} | {predictor.leading.value:.4f} | {predictor.leading.low:.4f} to "
        f"{predictor.leading.high:.4f} |"
        for predictor in result.predictors
    )
    notes = "\n".join(f"- {markdown(note)}" for note in result.notes)
    what = "regression" if result.task == "regression" else f"{result.task} classifier"
    return f"""# {markdown(name)}

A {what} of DNA sequences ({labels}), fine-tuned (`{result.method}`) from {markdown(result.model)} by Primase
{__version__}.

{markdown(result.verdict)}

| on the test rows | {metric} | 95 % interval |
|---|---|---|
{figures}

| part | rows used | from |
|---|---|---|
{rows}

{notes}

```python
from transformers import AutoModelForSequenceClassification, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(FOLDER)
model = AutoModelForSequenceClassification.from_pretrained(FOLDER)
logits = model(**tokenizer("ACGTAGCATCGG", return_tensors="pt")).logits
```

The logits are read at the last token. A sequence longer than the context is cut into windows side by side, whose logits
are averaged: `primase predict` does that.{_scale_in_words(result)}
"""


def _scale_in_words(result: Finetuning) -> str:
    if result.task != "regression":
        return ""
    return (
        " The logit is a standardised value: multiply it by `label_deviation` and add `label_mean`, which are in "
        "`config.json` under `primase`."
    )
