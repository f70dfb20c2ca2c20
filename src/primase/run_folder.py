"""The run folder as its readers see it: where the recipe, the corpus, the checkpoints and the final model lie.

recipe.toml        the resolved recipe; the run can be repeated from it
environment.json   versions, hardware, command, data checksums
corpus/            the prepared corpus, or corpus.reference.json where it was prepared elsewhere
metrics.jsonl      one line a logging event
checkpoints/       step-NNNNNN folders
final/             weights, configuration, tokenizer: loads with plain AutoModelForCausalLM and AutoTokenizer
evaluation.json    the held-out measurement beside its rivals
checks.json        the self-tests of the final model
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from primase.corpus.store import Corpus
from primase.errors import InputError, MissingFileError, NewerFileError
from primase.own_files import read_json
from primase.recipe import Recipe
from primase.results import Checks, Evaluation
from primase.whole_files import creating_folder

CORPUS_REFERENCE = "corpus.reference.json"
REFERENCE_SCHEMA_VERSION = 1
ENVIRONMENT_SCHEMA_VERSION = 1

OWN_NAMES = {
    "recipe.toml", "environment.json", "corpus", CORPUS_REFERENCE, "metrics.jsonl", "checkpoints", "final",
    "evaluation.json", "checks.json", "report.html", "runs",
}  # fmt: skip
"""What a run folder may hold; `runs` is where TensorBoard's log goes."""


@dataclass(frozen=True)
class RunFolder:
    """Paths and readers of one run."""

    folder: Path

    @classmethod
    def open(cls, folder: str | Path) -> "RunFolder":
        """Raises MissingFileError where `folder` is no run, NewerFileError where a newer Primase wrote into it."""
        run = cls(Path(folder))
        if not run.recipe_file.is_file():
            raise MissingFileError(
                f"{folder}: no run here (recipe.toml is missing); give a folder that primase pretrain wrote"
            )
        run.refuse_newer_files()
        return run

    def refuse_newer_files(self) -> None:
        """Raises NewerFileError where a newer Primase has written into the run, before anything of it is replaced."""
        for file, newest in (
            (self.folder / "environment.json", ENVIRONMENT_SCHEMA_VERSION),
            (self.evaluation_file, Evaluation.model_fields["schema_version"].default),
            (self.checks_file, Checks.model_fields["schema_version"].default),
        ):
            try:
                read_json(file, schema=newest, remedy="")
            except NewerFileError:
                raise
            except InputError:
                continue  # absent or damaged: its readers say what they miss

    @classmethod
    @contextmanager
    def creating(cls, folder: str | Path, *, overwrite: bool) -> Iterator["RunFolder"]:
        """An empty run folder; where the block raises, it is gone, and a run that was to be replaced is back in it.

        Raises OutputExistsError where something is there that is not to be overwritten.
        """
        run = cls(Path(folder))
        remedy = "pass --resume to go on with it, --overwrite to replace it, or choose another output folder"
        with creating_folder(
            run.folder, marker=run.recipe_file.name, own_names=OWN_NAMES, overwrite=overwrite, remedy=remedy
        ):
            yield run

    @property
    def recipe_file(self) -> Path:
        return self.folder / "recipe.toml"

    @property
    def final(self) -> Path:
        return self.folder / "final"

    @property
    def evaluation_file(self) -> Path:
        return self.folder / "evaluation.json"

    @property
    def checks_file(self) -> Path:
        return self.folder / "checks.json"

    def recipe(self) -> Recipe:
        return Recipe.load(self.recipe_file)

    def corpus(self) -> Corpus:
        """The corpus of this run, here or where it was prepared. Raises InputError where it has changed since."""
        reference_file = self.folder / CORPUS_REFERENCE
        if not reference_file.is_file():
            return Corpus.open(self.folder / "corpus")
        remedy = "name the corpus folder in it, or pretrain again"
        reference = read_json(reference_file, schema=REFERENCE_SCHEMA_VERSION, remedy=remedy)
        place, digest = reference.get("folder"), reference.get("digest")
        if not isinstance(place, str) or not isinstance(digest, str) or "\0" in place:
            raise InputError(f"{reference_file}: damaged: names no corpus; {remedy}")
        corpus = Corpus.open(self.folder / place)  # wherever it is: what is no corpus is refused
        if corpus.digest != digest:
            raise InputError(
                f"{corpus.folder}: the corpus has changed since this run (digest {corpus.digest}, "
                f"not {digest}); restore it or pretrain again"
            )
        return corpus

    def refer_to(self, corpus: Corpus) -> None:
        """Note a corpus that lies outside this folder, by its relative path, so that both can be moved together."""
        relative = os.path.relpath(corpus.folder, self.folder)
        reference = {"schema_version": REFERENCE_SCHEMA_VERSION, "folder": relative, "digest": corpus.digest}
        (self.folder / CORPUS_REFERENCE).write_text(json.dumps(reference, indent=2) + "\n", "utf-8")


def is_corpus(path: str | Path) -> bool:
    return (Path(path) / "corpus.json").is_file()
