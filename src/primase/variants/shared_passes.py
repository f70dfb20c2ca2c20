"""What changes of a window cost, the quick way: the window is read once, each change from where it begins to matter.

A causal model computes the same for the tokens before a change, so their keys and values are kept and shared. The rest
of each changed window, up to the bases after the change, is a segment; segments of one window lie side by side in one
row of the second pass, where a mask shows each its own past and nothing of its neighbours.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from primase import dna
from primase.errors import ModelError
from primase.scoring import LOGITS_OF_A_BATCH, LoadedModel
from primase.variants.edits import Edit, EditedWindow
from primase.variants.shared_prices import BasePrices, Prices, TokenPrices
from primase.variants.shared_sums import Row, Segment

PACK_TOKENS = 192
"""Tokens of the segments in one row: with more, most of the attention goes into pairs that are masked."""
CPU_TOKENS_OF_A_BATCH = 2**12
GPU_TOKENS_OF_A_BATCH = 2**16
"""Tokens whose keys and values are held at once, and copied at once for the segments."""

AGREEMENT_NATS = 1e-2
"""Most by which these passes may differ from plain ones, in a sum over a window, for a model to be read with them."""

Pack = tuple[int, list[Segment]]
"""Place of the row in its batch, and segments of it."""


class SharedPasses:
    """Gives what `plain_edit_nats`, or with `token_scores` what `token_edit_nats` gives, for a model of which `agree`
    says so: one that keeps keys and values of all tokens, and takes a mask for each pair of them."""

    def __init__(self, loaded: LoadedModel, after_bases: int, *, token_scores: bool = False) -> None:
        self._loaded, self._after_bases = loaded, after_bases
        self._prices: Prices = TokenPrices(loaded) if token_scores else BasePrices(loaded)
        self._prefix = np.asarray(loaded.encoder.prefix_ids, np.int64)
        config = loaded.model.config
        self._options = {"output_router_logits": False} if hasattr(config, "output_router_logits") else {}
        most = CPU_TOKENS_OF_A_BATCH if loaded.model.device.type == "cpu" else GPU_TOKENS_OF_A_BATCH
        self._batch_tokens = min(most, LOGITS_OF_A_BATCH // config.vocab_size)

    def agree(self, window_bases: int) -> bool:
        """Whether a random window of that length, with three changes, costs what it costs the plain way."""
        draw = np.random.default_rng(0)
        bases = draw.choice(np.frombuffer(dna.ACGT, np.uint8), window_bases)
        places = draw.integers(window_bases // 2, window_bases, size=3).tolist()
        letters = (b"A", b"C", b"GTA")
        window = EditedWindow(bases, [Edit(place, place + 1, new) for place, new in zip(places, letters, strict=True)])
        plain = self._prices.plain(self._loaded, [window], self._after_bases)[0]
        try:
            quick = self.edit_nats([window])[0]
        except (ModelError, TypeError, ValueError, RuntimeError, LookupError, AttributeError):
            return False  # each model that takes no such cache or mask says so in its own way
        return bool(np.abs(quick - plain).max() < AGREEMENT_NATS)

    @torch.inference_mode()
    def edit_nats(self, windows: Sequence[EditedWindow]) -> list[np.ndarray]:
        """For each window float64 [edits]. Raises ModelError for a model that keeps something else."""
        model, was_training = self._loaded.model, self._loaded.model.training
        sums = [self._prices.sums(window, self._after_bases) for window in windows]
        rows = [row for one in sums for row in one.rows(self._loaded.encoder)]
        model.eval()
        try:
            for batch in self._batches(rows):
                self._read(batch)
        finally:
            model.train(was_training)
        return [one.nats() for one in sums]

    def _batches(self, rows: list[Row]) -> Iterator[list[Row]]:
        rows = sorted(rows, key=lambda row: len(row.ids), reverse=True)
        while rows:
            count = max(1, self._batch_tokens // (len(self._prefix) + len(rows[0].ids)))
            yield rows[:count]
            rows = rows[count:]

    def _read(self, rows: list[Row]) -> None:
        """Windows in one pass, then their segments in a few."""
        prefix, device = len(self._prefix), self._loaded.model.device
        # Filled up on the right, where nothing changes what is computed before it; of another token there is no need.
        ids = np.zeros((len(rows), max(1, prefix + max(len(row.ids) for row in rows))), np.int64)
        ids[:, :prefix] = self._prefix
        for place, row in enumerate(rows):
            ids[place, prefix : prefix + len(row.ids)] = row.ids
        output = self._loaded.model(
            input_ids=torch.from_numpy(ids).to(device), past_key_values=DynamicCache(), use_cache=True, **self._options
        )
        cache = output.past_key_values
        if not isinstance(cache, DynamicCache) or any(type(layer) is not DynamicLayer for layer in cache.layers):
            raise ModelError("the model does not keep the keys and values of all tokens")
        logits = output.logits.float()
        for place, row in enumerate(rows):
            ahead = logits[place, max(prefix - 1, 0) : max(prefix + len(row.ids) - 1, 0)]
            unpredicted = np.arange(0 if prefix else min(1, len(row.ids)))
            row.window.add_row(row, self._prices.price(ahead, row.ids, row.text, unpredicted))
        packs = [(place, pack) for place, row in enumerate(rows) for pack in row.packs(PACK_TOKENS)]
        packs.sort(key=lambda pack: sum(segment.read_tokens for segment in pack[1]), reverse=True)
        at_once = max(1, 2 * self._batch_tokens // (ids.shape[1] + PACK_TOKENS))
        for first in range(0, len(packs), at_once):
            self._read_segments(rows, packs[first : first + at_once], cache, logits)

    def _read_segments(self, rows: list[Row], packs: list[Pack], cache: DynamicCache, logits: torch.Tensor) -> None:
        prefix, device = len(self._prefix), self._loaded.model.device
        ids, positions, visible, owner = (torch.from_numpy(part).to(device) for part in _laid_out(packs, prefix))
        segment_logits = None
        if ids.shape[1]:
            places = torch.tensor([place for place, _ in packs], device=device)
            copy = DynamicCache()
            for number, layer in enumerate(cache.layers):
                copy.update(layer.keys.index_select(0, places), layer.values.index_select(0, places), number)
            segment_logits = self._loaded.model(
                input_ids=ids,
                position_ids=positions,
                attention_mask=_mask(visible, owner, logits.shape[1]),
                past_key_values=copy,
                use_cache=True,
                **self._options,
            ).logits.float()
        ahead, segments = [], [(place, segment) for place, pack in packs for segment in pack if len(segment.ids)]
        for number, (place, pack) in enumerate(packs):
            begin = 0
            for segment in (one for one in pack if len(one.ids)):
                last_shared = prefix + segment.shared - 1
                if last_shared >= 0:
                    ahead.append(logits[place, last_shared : last_shared + 1])
                if segment.read_tokens:
                    ahead.append(segment_logits[number, begin : begin + segment.read_tokens])
                begin += segment.read_tokens
        self._add_segments(rows, segments, ahead)

    def _add_segments(self, rows: list[Row], segments: list[tuple[int, Segment]], ahead: list[torch.Tensor]) -> None:
        """All segments of a pass are priced together: each alone is a dozen small operations."""
        if not segments:
            return
        ids = np.concatenate([segment.ids for _, segment in segments])
        text = np.concatenate([segment.text for _, segment in segments])
        unpredicted = np.cumsum([0, *(len(segment.ids) for _, segment in segments[:-1])])
        unpredicted = unpredicted[[len(self._prefix) + segment.shared == 0 for _, segment in segments]]
        values = self._prices.price(torch.cat(ahead) if ahead else None, ids, text, unpredicted)
        first = 0
        for place, segment in segments:
            end = first + self._prices.values_of(segment)
            rows[place].window.add_segment(rows[place], segment, values[first:end])
            first = end


def _laid_out(packs: list[Pack], prefix: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """int64 [packs, tokens] each: ids, positions, how many tokens of the window are seen, and the segment's number."""
    longest = max(sum(segment.read_tokens for segment in pack) for _, pack in packs)
    ids, positions, visible = np.zeros((3, len(packs), longest), np.int64)
    owner = np.full((len(packs), longest), -1)
    for place, (_, pack) in enumerate(packs):
        begin = 0
        for number, segment in enumerate(pack):
            count, seen = segment.read_tokens, prefix + segment.shared
            here = (place, slice(begin, begin + count))
            ids[here], visible[here], owner[here] = segment.ids[:count], seen, number
            positions[here] = seen + np.arange(count)
            begin += count
    return ids, positions, visible, owner


def _mask(visible: torch.Tensor, owner: torch.Tensor, window_tokens: int) -> torch.Tensor:
    """fp32 [packs, 1, tokens, window_tokens + tokens] to be added: a segment sees the window before it, and itself."""
    tokens = owner.shape[1]
    of_window = torch.arange(window_tokens, device=owner.device) < visible[..., None]
    of_itself = (owner[:, :, None] == owner[:, None, :]).tril() if tokens else owner.new_zeros(len(owner), 0, 0)
    seen = torch.cat([of_window, of_itself], dim=2)[:, None]
    return torch.zeros(seen.shape, device=owner.device).masked_fill_(~seen, torch.finfo(torch.float32).min)
