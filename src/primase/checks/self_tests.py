"""The self-tests of a model, one after another (`primase check`)."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from primase.checks.invariance import case, future, mates, padding, reload
from primase.checks.knowledge import router, strands, tokenizer
from primase.checks.subject import Subject, corpus_windows, given_windows, random_windows
from primase.models.build import is_mixture
from primase.models.routers import find_routers
from primase.results import Checks
from primase.run_folder import RunFolder
from primase.scoring import LoadedModel, load_model


def check(
    run_folder_or_model: str | Path,
    *,
    sequences: str | Path | Sequence[str | bytes] | None = None,
    column: str | None = None,
    progress: Callable[[str, float], None] = lambda what, share: None,
) -> Checks:
    """Test a run, a model folder or a model on the Hub; into a run, checks.json is written.

    `sequences`, a file or the bases themselves, are what it is tested on; else windows of the run's held-out part (of
    the validation or the training part where nothing is held out), and random bases where there is no corpus.
    Raises MissingFileError or ModelError where there is no usable model, InputError for unusable sequences.
    """
    run = RunFolder(Path(run_folder_or_model))
    is_run = run.recipe_file.is_file()
    if is_run:
        run.refuse_newer_files()
    loaded = load_model(run_folder_or_model, may_be_unfit=True)
    if sequences is not None:
        windows = given_windows(sequences, column)
    else:
        windows = corpus_windows(run.corpus(), run.recipe().seed) if is_run else random_windows()
    name = run.folder.resolve().name if is_run else str(run_folder_or_model)
    result = check_model(loaded, windows, folder=run.folder if is_run else None, name=name, progress=progress)
    if is_run:
        result.write(run.checks_file)
    return result


def check_model(
    loaded: LoadedModel,
    windows: list[np.ndarray],
    *,
    folder: Path | None,
    name: str,
    progress: Callable[[str, float], None] = lambda what, share: None,
) -> Checks:
    """Test a model on `windows` (uint8 ASCII arrays [bases]), which are cut to WINDOW_BASES and to BASES in all.

    A copy of the model is written below `folder` (else the system's temporary folder) and removed. The model's mode,
    its gradients and the random state are left as they were. Raises InputError where no window has two tokens.
    """
    subject = Subject.of(loaded, windows, folder)
    tests = [future, padding, mates, case, reload, tokenizer, strands]
    tests += [router] if is_mixture(loaded.model.config) or find_routers(loaded.model) else []
    checks = []
    with torch.random.fork_rng():
        for done, test in enumerate(tests):
            progress("self-tests", done / len(tests))
            checks.append(test(subject))
    progress("self-tests", 1.0)
    return Checks(model=name, checks=checks)
