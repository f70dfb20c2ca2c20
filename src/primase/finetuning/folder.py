"""The folder that `primase finetune` writes, as its readers see it.

finetuning.toml    the settings, written first
metrics.jsonl      one line an epoch of each training, the rivals' too
final/             weights, configuration, tokenizer, README.md: loads with plain AutoModelForSequenceClassification
predictions.csv    the test rows as the model in final/ sees them
finetuning.json    the figures beside the rivals'; written last: without it the folder is not complete
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from primase.whole_files import creating_folder

OWN_NAMES = {"finetuning.toml", "metrics.jsonl", "final", "predictions.csv", "finetuning.json"}


@dataclass(frozen=True)
class FinetuningFolder:
    """Paths of one fine-tuning."""

    folder: Path

    @classmethod
    @contextmanager
    def creating(cls, folder: str | Path, *, overwrite: bool) -> Iterator["FinetuningFolder"]:
        """As `RunFolder.creating`."""
        run = cls(Path(folder))
        with creating_folder(
            run.folder,
            marker=run.settings_file.name,
            own_names=OWN_NAMES,
            overwrite=overwrite,
            remedy="pass --overwrite to replace it, or choose another output folder",
        ):
            yield run

    @property
    def settings_file(self) -> Path:
        return self.folder / "finetuning.toml"

    @property
    def metrics_file(self) -> Path:
        return self.folder / "metrics.jsonl"

    @property
    def final(self) -> Path:
        return self.folder / "final"

    @property
    def predictions_file(self) -> Path:
        return self.folder / "predictions.csv"

    @property
    def results_file(self) -> Path:
        return self.folder / "finetuning.json"
