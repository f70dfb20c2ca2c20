"""When a finite training loss means that the run is lost, and what is kept then.

A single bad batch is no reason to stop, and a loss that falls slowly is none either. A loss that stays above twice that
of guessing every token with the same probability, and above twice the lowest of this run, does not come back.
"""

import math
from pathlib import Path

from primase.errors import ExplodedLossError
from primase.recipe import TrainingSettings
from primase.training import checkpoints
from primase.training.metrics import Progress

STEPS_IN_A_ROW = 50
TIMES = 2.0
"""Above so many times the loss of guessing, and of the lowest loss of the run, a step counts as exploded."""


def note_step(progress: Progress, nats_per_token: float, vocabulary_tokens: int) -> bool:
    """Count a step by its loss before the weights are changed by it; whether it is the last of STEPS_IN_A_ROW."""
    lowest = progress.lowest_step_loss
    progress.lowest_step_loss = nats_per_token if lowest is None else min(lowest, nats_per_token)
    is_exploded = nats_per_token > TIMES * max(math.log(vocabulary_tokens), progress.lowest_step_loss)
    progress.exploded_steps = progress.exploded_steps + 1 if is_exploded else 0
    return progress.exploded_steps >= STEPS_IN_A_ROW


def refuse(run: Path, step: int, vocabulary_tokens: int, settings: TrainingSettings) -> None:
    """Raises ExplodedLossError for a run whose loss has exploded until `step`, a step that is not made.

    Checkpoints whose weights already gave an exploded loss are removed, so that `--resume` takes the newest good one.
    """
    checkpoints.delete_checkpoints_from(run, step - STEPS_IN_A_ROW)
    raise ExplodedLossError(
        f"{run}: the training loss has exploded: above {TIMES * math.log(vocabulary_tokens):.2f} nats a token, twice "
        f"that of guessing, for {STEPS_IN_A_ROW} steps until step {step}; the run was stopped and {kept(run)}. "
        f"{advice(run, settings)}"
    )


def kept(run: Path) -> str:
    """What is there to go on from."""
    saved = checkpoints.complete_checkpoints(run)
    return f"the last checkpoint is {saved[-1].folder}" if saved else "no checkpoint had been written"


def advice(run: Path, settings: TrainingSettings) -> str:
    """What to try, and the command for it."""
    return (
        f"Try a lower training.learning_rate (now {settings.learning_rate:g}), a longer training.warmup_fraction, or "
        f"training.precision=fp32: primase pretrain --resume {run} --set "
        f"training.learning_rate={settings.learning_rate / 3:.2g} --accept-changes"
    )
