"""A tiny genome, and ways to interfere with a training in this process."""

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from primase import hardware
from primase.training.trainer import PretrainingTrainer
from primase.training.training_setup import TrainingSetup


@pytest.fixture(scope="session", autouse=True)
def quick_garbage_collection() -> None:
    """accelerate collects garbage as each training begins; the libraries themselves need not be looked through."""
    gc.freeze()


@pytest.fixture(autouse=True)
def known_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measuring the machine's peak takes longer than a tiny training."""
    monkeypatch.setattr(hardware, "matrix_product_flops", lambda device, precision: 1e11)


@pytest.fixture(scope="session")
def genome(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """6,000 random bases: 100 windows of 60."""
    bases = "".join(np.random.default_rng(0).choice(list("ACGT"), 6000))
    file = tmp_path_factory.mktemp("genome") / "random.fa"
    file.write_text(f">random\n{bases}\n", "utf-8")
    return file


@pytest.fixture(scope="session")
def unequal_windows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 records of 6 to 60 bases, each a window where short records are kept."""
    rng = np.random.default_rng(2)
    records = ["".join(rng.choice(list("ACGT"), length)) for length in rng.integers(6, 61, 40)]
    file = tmp_path_factory.mktemp("genome") / "unequal.fa"
    file.write_text("".join(f">r{number}\n{bases}\n" for number, bases in enumerate(records)), "utf-8")
    return file


@pytest.fixture
def before_batch(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[PretrainingTrainer], None]], None]:
    """`before_batch(n, action)`: the action is done once, when n micro-batches have been computed in this process."""

    def arm(number: int, action: Callable[[PretrainingTrainer], None]) -> None:
        training_step, computed = PretrainingTrainer.training_step, [0]

        def step(trainer: PretrainingTrainer, *args: Any, **kwargs: Any) -> torch.Tensor:
            if computed[0] == number:
                action(trainer)
            computed[0] += 1
            return training_step(trainer, *args, **kwargs)

        monkeypatch.setattr(PretrainingTrainer, "training_step", step)

    return arm


@pytest.fixture
def validation_gives(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`validation_gives(2.0, 1.9)`: the next measurements on the validation part, in bits per base."""

    def arm(*bits_per_base: float) -> None:
        values = iter(bits_per_base)
        monkeypatch.setattr(TrainingSetup, "measure_validation", lambda *_, **__: {"bits_per_base": next(values)})

    return arm
