"""The run folder as its readers see it: where the recipe, the corpus, the checkpoints and the final model lie.

recipe.toml        the resolved recipe; the run can be repeated from it
environment.json   versions, hardware, command, data checksums
corpus/            the prepared corpus, or corpus.reference.json where it was prepared elsewhere
metrics.jsonl      one line a logging event
checkpoints/       step-NNNNNN folders
final/             weights, configuration, tokenizer: loads with plain AutoModelForCausalLM and AutoTokenizer
evaluation.json    the held-out measurement beside its rivals
checks.json        the self-tests of the final model
run.lock           while a process trains
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
from primase.run_lock import LOCK_FILE, RunLock
from primase.whole_files import creating_folder, write_whole

CORPUS_REFERENCE = "corpus.reference.json"
PROVENANCE = "environment.json"
REFERENCE_SCHEMA_VERSION = 1
ENVIRONMENT_SCHEMA_VERSION = 1

OWN_NAMES = {
    "recipe.toml", PROVENANCE, "corpus", CORPUS_REFERENCE, "metrics.jsonl", "checkpoints", "final",
    "evaluation.json", "checks.json", "report.html", "runs", LOCK_FILE,
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
            (self.folder / PROVENANCE, ENVIRONMENT_SCHEMA_VERSION),
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
    def creating(cls, folder: str | Path, *, overwrite: bool, lock: RunLock) -> Iterator["RunFolder"]:
        """An empty run folder; where the block raises, it is gone, and a run that was to be replaced is back in it.

        `lock` holds it from its first file on. Raises OutputExistsError where something is there that is not to be
        overwritten, RunInUseError where another process trains into it.
        """
        run = cls(Path(folder))
        remedy = "pass --resume to go on with it, --overwrite to replace it, or choose another output folder"
        with creating_folder(
            run.folder,
            marker=run.recipe_file.name,
            own_names=OWN_NAMES,
            overwrite=overwrite,
            remedy=remedy,
            claim=lock.take,
            claim_name=LOCK_FILE,
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

    def corpus(self, *, accept_changes: bool = False) -> Corpus:
        """The corpus of this run, here or where it was prepared. Raises InputError where it has changed since, unless
        that is accepted.
        """
        corpus = Corpus.open(self.corpus_folder)
        reference = self._reference() or {"digest": corpus.digest}
        if corpus.digest != reference["digest"] and not accept_changes:
            raise InputError(
                f"{corpus.folder}: the corpus has changed since this run (digest {corpus.digest}, "
                f"not {reference['digest']}); restore it or pretrain again, or train on with it: "
                f"primase pretrain --resume {self.folder} --accept-changes"
            )
        return corpus

    @property
    def corpus_folder(self) -> Path:
        """Where the corpus lies: within this folder, or where it was prepared."""
        reference = self._reference()
        return self.folder / (reference["folder"] if reference else "corpus")

    @property
    def refers_to_corpus(self) -> bool:
        """Whether the corpus lies outside this folder."""
        return (self.folder / CORPUS_REFERENCE).is_file()

    def _reference(self) -> dict | None:
        """Place and digest of a corpus outside; what lies there and is no corpus is refused where it is opened."""
        file, remedy = self.folder / CORPUS_REFERENCE, "name the corpus folder in it, or pretrain again"
        if not self.refers_to_corpus:
            return None
        reference = read_json(file, schema=REFERENCE_SCHEMA_VERSION, remedy=remedy)
        place, digest = reference.get("folder"), reference.get("digest")
        if not isinstance(place, str) or not isinstance(digest, str) or "\0" in place:
            raise InputError(f"{file}: damaged: names no corpus; {remedy}")
        return reference

    def refer_to(self, corpus: Corpus) -> None:
        """Note a corpus that lies outside this folder, by its relative path, so that both can be moved together."""
        # A link is followed first: `..` leads out of what it leads to.
        relative = os.path.relpath(corpus.folder.resolve(), self.folder.resolve())
        reference = {"schema_version": REFERENCE_SCHEMA_VERSION, "folder": relative, "digest": corpus.digest}
        write_whole(self.folder / CORPUS_REFERENCE, (json.dumps(reference, indent=2) + "\n").encode())


def is_corpus(path: str | Path) -> bool:
    return (Path(path) / "corpus.json").is_file()
