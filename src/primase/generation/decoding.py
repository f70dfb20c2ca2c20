"""The model asked token by token, keys and values kept; a full context slides by half, as `score_windows` reads it."""

import inspect

import numpy as np
import torch

from primase.errors import ModelError
from primase.key_value_cache import Room
from primase.scoring import LoadedModel

STRIDE_FRACTION = 0.5


def capacity_tokens(loaded: LoadedModel) -> int:
    """Tokens of a sequence that a row of the model can hold beside the special ones."""
    return loaded.context_tokens - len(loaded.encoder.prefix_ids) - len(loaded.encoder.suffix_ids)


def context_of(loaded: LoadedModel, ids: np.ndarray) -> np.ndarray:
    """The tokens that the next one is predicted from: all of `ids` int64 [tokens], or the newest by the rule above."""
    capacity, keep = capacity_tokens(loaded), _kept_tokens(loaded)
    if len(ids) < capacity:
        return ids
    slides = (len(ids) - capacity) // (capacity - keep)
    return ids[capacity + slides * (capacity - keep) - keep :]


def _kept_tokens(loaded: LoadedModel) -> int:
    capacity = capacity_tokens(loaded)
    return capacity - max(1, int(capacity * STRIDE_FRACTION))


class Decoder:
    """Logits of the next token of each row, for rows that all grow by one token a step.

    When the sequences fill the context, the newest half is read anew and the rest is forgotten: every token is then
    predicted from at least half a context, and from the same one as by `score_windows` with its usual stride (whose
    last row alone may reach further back). What a token is predicted from depends on its own row only.
    """

    def __init__(self, loaded: LoadedModel, starts: list[np.ndarray], most_tokens: int) -> None:
        """`starts`: int64 [tokens] of each row by `context_of`; `most_tokens`: that a row can come to.

        Rows of different lengths are padded on the left, and must not come to fill the context.
        """
        self._loaded = loaded
        self._capacity, self._keep = capacity_tokens(loaded), _kept_tokens(loaded)
        self._starts = [len(ids) for ids in starts]
        self._length = max(self._starts)
        held = min(max(most_tokens, self._length), self._capacity)
        device = loaded.model.device
        prefix = np.asarray(loaded.encoder.prefix_ids, np.int64)
        self._prefix = torch.from_numpy(prefix).to(device).expand(len(starts), -1)
        self._room = Room(len(starts), len(prefix) + held)
        tokens = np.zeros((len(starts), held), np.int64)
        is_real = np.ones((len(starts), len(prefix) + self._length), np.int64)
        for row, ids in enumerate(starts):
            tokens[row, self._length - len(ids) : self._length] = ids
            is_real[row, : self._length - len(ids)] = 0
        self._tokens = torch.from_numpy(tokens).to(device)
        self._mask = None if is_real.all() else torch.from_numpy(is_real).to(device)
        accepted = inspect.signature(loaded.model.forward).parameters
        self._options = {"logits_to_keep": 1} if "logits_to_keep" in accepted else {}
        if hasattr(loaded.model.config, "output_router_logits"):
            self._options["output_router_logits"] = False
        self._cache = None

    def logits(self) -> torch.Tensor | None:
        """fp32 [rows, vocabulary]; None where there is no token at all to predict from."""
        if self._length == self._capacity:
            self._tokens[:, : self._keep] = self._tokens[:, self._capacity - self._keep :].clone()
            self._length, self._cache = self._keep, None
        if self._cache is not None:
            return self._forward(self._tokens[:, self._length - 1 : self._length])
        inputs = self._with_prefix()
        if not inputs.shape[1]:
            return None
        self._cache = self._room.cache(self._loaded.model.config)
        return self._forward(inputs)

    def append(self, ids: torch.Tensor) -> None:
        """One more token a row, int64 [rows]."""
        self._tokens[:, self._length] = ids
        self._length += 1
        if self._mask is not None:
            self._mask = torch.cat([self._mask, self._mask.new_ones(len(ids), 1)], dim=1)

    def _with_prefix(self) -> torch.Tensor:
        """Prefix and tokens of each row; padding stands before a shorter row's prefix."""
        inputs = torch.cat([self._prefix, self._tokens[:, : self._length]], dim=1)
        if self._mask is not None:
            for row, tokens in enumerate(self._starts):
                first = self._length - tokens
                inputs[row, first : first + self._prefix.shape[1]] = self._prefix[row]
        return inputs

    def _forward(self, inputs: torch.Tensor) -> torch.Tensor:
        options = dict(self._options)
        if self._mask is not None:
            options["attention_mask"] = self._mask
            options["position_ids"] = (self._mask.cumsum(1) - 1).clamp_min(0)[:, -inputs.shape[1] :]
        model = self._loaded.model
        logits = model(input_ids=inputs, past_key_values=self._cache, use_cache=True, **options).logits[:, -1].float()
        if not torch.isfinite(logits).all():
            raise ModelError("the model's logits are not finite; it cannot draw a sequence")
        return logits
