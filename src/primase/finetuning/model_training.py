"""One training of a classifier by one of the three methods: all weights, low-rank updates, or a linear probe."""

import copy
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import torch
from transformers import PreTrainedModel

from primase import hardware
from primase.errors import MissingExtraError
from primase.finetuning.classifier import HEAD, fresh_head, last_states, logits_of
from primase.finetuning.fit import Fitting, fit
from primase.finetuning.linear import solve
from primase.finetuning.windows import padded
from primase.scoring import LoadedModel

Rows = Sequence[list[np.ndarray]]
"""Token rows of sequences, see `windows.TokenRows.rows`."""


def train(body: LoadedModel, train_rows: Rows, validation_rows: Rows, fitting: Fitting, seed: int) -> tuple:
    """A trained copy of `body` (LoadedModel), and its leading metric on the validation rows.

    The head is fresh for each seed. Raises MissingExtraError for lora without peft, NonFiniteLossError.
    """
    model = copy.deepcopy(body.model)
    fresh_head(model, seed)
    loaded = replace(body, model=model)
    if fitting.settings.method == "probe":
        return loaded, _probe(loaded, train_rows, validation_rows, fitting)
    with torch.random.fork_rng(devices=[]):  # dropout, where a model has it, and the start of low-rank updates
        torch.manual_seed(seed)
        module = _with_low_rank_updates(model, fitting.settings.lora_rank) if _is_lora(fitting) else model
        training = replace(body, model=module)
        costs = [sum(map(len, windows)) for windows in train_rows]
        metric = fit(
            module,
            lambda batch: _logits_of_batch(training, [train_rows[row] for row in batch]),
            costs,
            fitting.settings.batch_tokens,
            lambda: logits_of(training, validation_rows),
            fitting,
            learning_rate=fitting.settings.peak_learning_rate,
            seed=seed,
        )
    if _is_lora(fitting):
        loaded = replace(body, model=module.merge_and_unload().eval())
    return loaded, metric


def _is_lora(fitting: Fitting) -> bool:
    return fitting.settings.method == "lora"


def _logits_of_batch(loaded: LoadedModel, sequences: Rows) -> torch.Tensor:
    """Logits [sequences, outputs] with their gradient; means over the windows of each."""
    model = loaded.model
    owners = torch.tensor([number for number, windows in enumerate(sequences) for _ in windows], device=model.device)
    inputs = padded([row for windows in sequences for row in windows], model.config.pad_token_id, model.device)
    in_bf16 = model.device.type == "cuda" and hardware.has_bf16(model.device)
    with torch.autocast("cuda", torch.bfloat16) if in_bf16 else nullcontext():
        logits = model(**inputs, use_cache=False).logits.float()
    sums = torch.zeros(len(sequences), logits.shape[1], device=model.device).index_add(0, owners, logits)
    return sums / torch.bincount(owners, minlength=len(sequences))[:, None]


def _probe(loaded: LoadedModel, train_rows: Rows, validation_rows: Rows, fitting: Fitting) -> float:
    """The head is the best linear map of what the frozen body says of the training rows."""
    fitting.progress(0.0)
    states = last_states(loaded, train_rows), last_states(loaded, validation_rows)
    fitting.progress(0.9)
    weight, metric = solve(*states, fitting)
    with torch.no_grad():
        getattr(loaded.model, HEAD).weight.copy_(torch.from_numpy(weight))
    fitting.progress(1.0)
    return metric


def _with_low_rank_updates(model: PreTrainedModel, rank: int):
    """LoRA (Hu et al. 2022, arXiv:2106.09685) on every linear layer of the body; the head is trained as it is."""
    try:
        from peft import LoraConfig, TaskType, get_peft_model
    except ImportError:
        raise MissingExtraError(
            "method lora needs the library peft: pip install 'primase[lora]', or choose --method full"
        ) from None
    config = LoraConfig(
        task_type=TaskType.SEQ_CLS, r=rank, lora_alpha=2 * rank, target_modules="all-linear", modules_to_save=[HEAD]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are going away, and of modules that a mixture does not have
        return get_peft_model(model, config)
