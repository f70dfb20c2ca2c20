"""Training rows: what one position of a batch holds. Windows that fit are rows; longer ones are cut into rows."""

import copy
import math
from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from primase import dna
from primase.corpus.store import REMEDY, Corpus
from primase.errors import InputError
from primase.recipe import TrainingSettings
from primase.sequence_encoder import SequenceEncoder

IGNORED_LABEL = -100
"""transformers leaves targets of this value out of the loss."""


def next_tokens(labels: torch.Tensor) -> torch.Tensor:
    """int64 [rows, tokens]: what each place has to predict, the label of the next one; the last predicts nothing."""
    return torch.nn.functional.pad(labels[:, 1:], (0, 1), value=IGNORED_LABEL)


class TrainingRows(Dataset):
    """Map-style rows of one part. Row i of epoch e depends only on the corpus, the settings, the seed, i and e.

    Each item is an int64 tensor [tokens] that begins with the tokenizer's own prefix ([BOS] or [CLS]) and, where it is
    a whole window, ends with its suffix.
    """

    def __init__(
        self,
        corpus: Corpus,
        part: str,
        encoder: SequenceEncoder,
        settings: TrainingSettings,
        row_tokens: int,
        seed: int,
    ) -> None:
        self.corpus, self.encoder, self.settings, self.seed = corpus, encoder, settings, seed
        self.windows = corpus.part(part)
        self.row_tokens = row_tokens
        self.epoch = 0
        self.is_reversed: bool | None = None
        """Of all rows; None where the settings decide."""
        special_tokens = len(encoder.prefix_ids) + len(encoder.suffix_ids)
        self.capacity_tokens = row_tokens - special_tokens
        if encoder.regular_k is not None:
            units = corpus.windows["length"][self.windows].astype(np.int64)
            self.capacity_units = self.capacity_tokens * encoder.regular_k
        else:
            units = np.diff(corpus.token_starts)[self.windows]
            self.capacity_units = self.capacity_tokens
        self._units = units
        self.rows_of_window = _rows_of_window(units, self.capacity_units, shifted=settings.shift_rows)
        self.last_row = np.cumsum(self.rows_of_window)

    def __len__(self) -> int:
        return int(self.last_row[-1]) if len(self.last_row) else 0

    def lengths(self) -> np.ndarray:
        """int64 [rows]: about how many bases (byte pairs: tokens) each row holds; strand and shift may change it."""
        window = np.repeat(np.arange(len(self.windows)), self.rows_of_window)
        row_in_window = np.arange(len(window)) - (self.last_row - self.rows_of_window)[window]
        return np.minimum(self._units[window] - row_in_window * self.capacity_units, self.capacity_units)

    def set_epoch(self, epoch: int) -> None:
        """Called by accelerate's data loader; strands and shifts are drawn anew each epoch."""
        self.epoch = epoch

    def of_strand(self, *, is_reversed: bool) -> "TrainingRows":
        """The same rows, all of one strand, whatever the settings say; shifts are drawn as ever."""
        rows = copy.copy(self)
        rows.is_reversed = is_reversed
        return rows

    def __getitem__(self, row: int) -> torch.Tensor:
        position = int(np.searchsorted(self.last_row, row, side="right"))
        row_in_window = row - int(self.last_row[position] - self.rows_of_window[position])
        window, rows = int(self.windows[position]), int(self.rows_of_window[position])
        draw = np.random.default_rng((self.seed, self.epoch, window))
        ids, is_whole = self._cut(window, row_in_window, rows, draw)
        suffix = self.encoder.suffix_ids if is_whole else []
        return torch.from_numpy(np.concatenate([self.encoder.prefix_ids, ids, suffix]).astype(np.int64))

    def _cut(self, window: int, row_in_window: int, rows: int, draw: np.random.Generator) -> tuple[np.ndarray, bool]:
        """Token ids of one row, and whether it is the whole window."""
        is_reversed = self.settings.strands == "random" and bool(draw.integers(2))
        if self.is_reversed is not None:
            is_reversed = self.is_reversed
        if self.encoder.regular_k is not None:
            length = int(self.corpus.windows["length"][window])
            start, stop = self._bounds(length, row_in_window, rows, draw)
            bases = self.corpus.bases(window, start, stop)
            ids = self.encoder.encode(dna.reverse_complement(bases) if is_reversed else bases)
        else:
            tokens = self.corpus.tokens(window)
            if len(tokens) and tokens.max() >= len(self.encoder.spelled):
                raise InputError(f"{self.corpus.folder / 'tokens.bin'}: damaged: token {tokens.max()}; {REMEDY}")
            if is_reversed:
                tokens = self.encoder.encode(dna.reverse_complement(self.corpus.bases(window)))
            length = len(tokens)
            start, stop = self._bounds(length, row_in_window, rows, draw)
            ids = tokens[start:stop]
        return ids[: self.capacity_tokens], stop - start == length

    def _bounds(self, units: int, row_in_window: int, rows: int, draw: np.random.Generator) -> tuple[int, int]:
        """Where a row lies in its window, in bases or tokens. All rows of a window share one shift an epoch."""
        shift = 0
        if self.settings.shift_rows:
            frames = self.encoder.regular_k or 1
            slack = max(units - rows * self.capacity_units, min(frames, units) - 1)
            shift = int(draw.integers(slack + 1))
        start = shift + row_in_window * self.capacity_units
        return min(start, units), min(start + self.capacity_units, units)


def _rows_of_window(units: np.ndarray, capacity: int, *, shifted: bool) -> np.ndarray:
    """Rows that each window gives: enough to cover it, or, where they are shifted, with half a row left to shift."""
    if not shifted:
        return np.maximum(1, -(-units // capacity))
    return np.maximum(1, (units - capacity // 2) // capacity)


class StepBatches(Sampler[list[int]]):
    """The micro-batches of one process, in an order of all rows drawn for each epoch.

    The rows of an optimizer step are sorted by length, so that hardly anything is padded. They are the same for any
    number of processes: where that divides `batches_per_step`, whole micro-batches are dealt out, else each is split.
    All processes have equally many; an empty one stands where the rows of an epoch's last step do not suffice.
    """

    def __init__(
        self, rows: TrainingRows, rows_per_batch: int, batches_per_step: int, *, process: int = 0, processes: int = 1
    ) -> None:
        self.rows, self.rows_per_batch, self.batches_per_step = rows, rows_per_batch, batches_per_step
        self.process, self.processes = process, processes
        self._lengths = rows.lengths()

    @property
    def _deals(self) -> bool:
        return self.batches_per_step % self.processes == 0

    @property
    def accumulation_steps(self) -> int:
        """Micro-batches of an optimizer step in this process."""
        return self.batches_per_step // self.processes if self._deals else self.batches_per_step

    def __len__(self) -> int:
        steps, rest = divmod(math.ceil(len(self.rows) / self.rows_per_batch), self.batches_per_step)
        return steps * self.accumulation_steps + (math.ceil(rest / self.processes) if self._deals else rest)

    def __iter__(self) -> Iterator[list[int]]:
        order = np.random.default_rng((self.rows.seed, self.rows.epoch)).permutation(len(self.rows))
        rows_per_step = self.rows_per_batch * self.batches_per_step
        for first in range(0, len(order), rows_per_step):
            step = order[first : first + rows_per_step]
            yield from self._own(step[np.argsort(-self._lengths[step], kind="stable")].tolist())

    def _own(self, step: list[int]) -> Iterator[list[int]]:
        batches = [step[first : first + self.rows_per_batch] for first in range(0, len(step), self.rows_per_batch)]
        if self._deals:
            batches += [[]] * (-len(batches) % self.processes)
            yield from batches[self.process :: self.processes]
        else:
            yield from (batch[self.process :: self.processes] for batch in batches)


class PaddingCollator:
    """Rows to a batch: padded to its longest on the tokenizer's side, padding out of the loss and the attention."""

    def __init__(self, pad_token_id: int, padding_side: str) -> None:
        self.pad_token_id, self.padding_side = pad_token_id, padding_side

    def __call__(self, rows: list[torch.Tensor]) -> dict[str, torch.Tensor]:
        """`input_ids` and `labels` int64 [rows, tokens], and `attention_mask` where any row is padded.

        Of no rows one of padding alone is made, out of the loss: the other processes wait for this one's gradients.
        """
        if not rows:
            input_ids = torch.full((1, 2), self.pad_token_id)
            return {"input_ids": input_ids, "labels": torch.full_like(input_ids, IGNORED_LABEL)}
        longest = max(len(row) for row in rows)
        input_ids = torch.full((len(rows), longest), self.pad_token_id)
        mask = torch.zeros_like(input_ids)
        for index, row in enumerate(rows):
            place = slice(longest - len(row), longest) if self.padding_side == "left" else slice(len(row))
            input_ids[index, place] = row
            mask[index, place] = 1
        batch = {"input_ids": input_ids, "labels": input_ids.masked_fill(mask == 0, IGNORED_LABEL)}
        if not mask.all():
            batch["attention_mask"] = mask
        return batch
