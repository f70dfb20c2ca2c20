"""The incremental passes: one token a lane and step, keys and values kept, the same arithmetic for encoder and decoder.

Encoder and decoder call `code_lanes` with the same shapes in the same order; only where the next symbols come from
differs. So their probabilities agree to the last bit by construction, on the same machine.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from zlib import crc32

import numpy as np
import torch

from primase.codec.schedule import Block, schedule
from primase.errors import ModelError
from primase.key_value_cache import Room
from primase.scoring import LoadedModel

Choose = Callable[[np.ndarray, np.ndarray, int], np.ndarray]
"""(probabilities float64 [lanes, vocabulary], lanes int64 [lanes], place in them) -> symbols int [lanes]."""


@dataclass
class Coded:
    """What the passes over all lanes came to."""

    ids: np.ndarray
    """int64 [lanes, longest lane]: tokens, 0 after a lane's end."""
    bits: float
    """Sum of -log2 of the probabilities of all tokens."""
    checks: list[int] = field(default_factory=list)
    """CRC-32 of the tokens of each block, by which a decoder that goes astray is stopped early."""


@torch.inference_mode()
def code_lanes(
    loaded: LoadedModel,
    token_counts: np.ndarray,
    stride_fraction: float,
    choose: Choose,
    *,
    on_block: Callable[[float, int], None] = lambda share, check: None,
) -> Coded:
    """Walk through all tokens of all lanes; `choose` is asked for each step's symbols, given their probabilities.

    `on_block` is told the share that is done and the CRC-32 of the block's tokens. Where a tokenizer has no start
    token, the first token of a lane is given a uniform distribution. Raises ModelError for logits that are not finite.
    """
    model, was_training = loaded.model, loaded.model.training
    model.eval()
    prefix = len(loaded.encoder.prefix_ids)
    coded = Coded(np.zeros((len(token_counts), int(token_counts.max(initial=0))), np.int64), 0.0)
    room = Room(len(token_counts), 2 * loaded.context_tokens)
    done = 0
    try:
        for block in schedule(loaded, token_counts, stride_fraction):
            passes = _BlockPasses(loaded, block, room, coded.ids)
            for place in range(block.begin, int(block.ends.max())):
                if place == 0 and not prefix:
                    probabilities = np.full((len(block.lanes), model.config.vocab_size), 1 / model.config.vocab_size)
                else:
                    probabilities = passes.probabilities(place)
                is_active = block.ends > place
                lanes, probabilities = block.lanes[is_active], probabilities[is_active]
                symbols = choose(probabilities, lanes, place)
                coded.ids[lanes, place] = symbols
                of_symbols = probabilities[np.arange(len(lanes)), symbols]
                coded.bits -= float(np.log2(np.maximum(of_symbols, np.finfo(np.float64).tiny)).sum())
            done += int((block.ends - block.begin).sum())
            coded.checks.append(crc32(coded.ids[:, block.begin : int(block.ends.max())].astype("<i8").tobytes()))
            on_block(done / int(token_counts.sum()), coded.checks[-1])
    finally:
        model.train(was_training)
    return coded


class _BlockPasses:
    """The forward passes of one block: the context once, then a token a lane and step."""

    def __init__(self, loaded: LoadedModel, block: Block, room: Room, ids: np.ndarray) -> None:
        self._model, self._ids, self._block = loaded.model, ids, block
        self._prefix = np.asarray(loaded.encoder.prefix_ids, np.int64)
        self._cache = room.cache(loaded.model.config)
        accepted = inspect.signature(loaded.model.forward).parameters
        self._options = {"logits_to_keep": 1} if "logits_to_keep" in accepted else {}
        if hasattr(loaded.model.config, "output_router_logits"):
            self._options["output_router_logits"] = False
        self._last_position = loaded.context_tokens - 1
        self._mask: torch.Tensor | None = None
        self._is_begun = False

    def probabilities(self, place: int) -> np.ndarray:
        """float64 [rows, vocabulary] of the token at `place`, given those before it in the lane's context."""
        tokens = self._last(place) if self._is_begun else self._context(place)
        logits = self._forward(tokens)[:, -1].float().cpu()
        probabilities = torch.softmax(logits, dim=-1, dtype=torch.float64).numpy()
        if not np.isfinite(probabilities).all():
            raise ModelError("the model's logits are not finite; it cannot code a sequence")
        return probabilities

    def _last(self, place: int) -> np.ndarray:
        """int64 [rows, 1]: the token before `place`."""
        return self._ids[self._block.lanes, place - 1 : place]

    def _context(self, place: int) -> np.ndarray:
        """int64 [rows, longest]: prefix and context of each lane up to `place`, padded on the left."""
        contexts = [
            np.concatenate([self._prefix, self._ids[lane, first:place]])
            for lane, first in zip(self._block.lanes, self._block.firsts, strict=True)
        ]
        longest = max(map(len, contexts))
        tokens = np.zeros((len(contexts), longest), np.int64)
        is_real = np.zeros_like(tokens)
        for row, context in enumerate(contexts):
            tokens[row, longest - len(context) :] = context
            is_real[row, longest - len(context) :] = 1
        if not is_real.all():
            self._mask = torch.from_numpy(is_real).to(self._model.device)
        return tokens

    def _forward(self, tokens: np.ndarray) -> torch.Tensor:
        inputs = {"input_ids": torch.from_numpy(np.ascontiguousarray(tokens)).to(self._model.device)}
        if self._mask is not None:
            if self._is_begun:
                self._mask = torch.cat([self._mask, self._mask.new_ones(len(tokens), 1)], dim=1)
            inputs["attention_mask"] = self._mask
            positions = (self._mask.cumsum(1) - 1)[:, -tokens.shape[1] :]
            # A lane that ended before its mates goes on with zeros, which nobody looks at, beyond the last position.
            inputs["position_ids"] = positions.clamp(0, self._last_position)
        self._is_begun = True
        return self._model(**inputs, past_key_values=self._cache, use_cache=True, **self._options).logits
