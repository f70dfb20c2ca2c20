"""What each process of `tests.several` would import and compile again; imported once, by the server they fork from."""

import gc

import primase.cli
import primase.corpus.leakage
import primase.evaluation.markov
import primase.report.page
import primase.training.run  # noqa: F401
from tests.models import tiny_model

for _preset in ("qwen3-small", "mixtral-1m"):
    tiny_model(_preset)
gc.freeze()  # accelerate collects garbage as each training begins
