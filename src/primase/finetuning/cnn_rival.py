"""The convolutional rival: a small net on one-hot bases, with both strands in training where that helps."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from primase import dna, hardware
from primase.finetuning.fit import Fitting, fit
from primase.finetuning.task import Task
from primase.finetuning.windows import batches

CHANNELS = 64
LEARNING_RATE = 2e-3
BASES_OF_A_BATCH = 2**13
PATIENCE = 4
"""Epochs; its epochs cost little, and a rival is not to lose for want of them."""
FEWEST_EPOCHS = 20


class ConvolutionalNet(nn.Module):
    """Two convolutions of 64 channels, then the largest and the mean value of each over the sequence."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.motifs = nn.Conv1d(4, CHANNELS, 15, padding=7)
        self.combinations = nn.Conv1d(CHANNELS, CHANNELS, 7, padding=3)
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(2 * CHANNELS, outputs)

    def forward(self, bases: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Logits [rows, outputs] of one-hot bases float32 [rows, 4, longest]; what is beyond a length is not seen."""
        inside = torch.arange(bases.shape[2], device=bases.device) < lengths[:, None]
        inside = inside[:, None, :]
        hidden = torch.relu(self.motifs(bases)) * inside
        hidden = torch.relu(self.combinations(hidden)) * inside
        pooled = torch.cat([hidden.amax(dim=2), hidden.sum(dim=2) / lengths[:, None]], dim=1)
        return self.head(self.drop(pooled))


@dataclass(frozen=True)
class CnnRival:
    """The better of two nets on the validation rows."""

    both_strands: bool
    validation: float
    logits: np.ndarray
    """float32 [test rows, outputs]."""


def train(
    train_sequences: Sequence[bytes],
    validation_sequences: Sequence[bytes],
    test_sequences: Sequence[bytes],
    fitting: Fitting,
    seed: int,
) -> CnnRival:
    """With either strand of each training row drawn anew each time, and with the strand as given: the better one."""
    settings = fitting.settings
    settings = settings.model_copy(
        update={"epochs": max(settings.epochs, FEWEST_EPOCHS), "patience": max(settings.patience, PATIENCE)}
    )
    found = []
    for number, both_strands in enumerate((True, False)):
        half = replace(
            fitting,
            settings=settings,
            log=lambda line, both=both_strands: fitting.log(line | {"both_strands": both}),
            progress=lambda share, done=number: fitting.progress((done + share) / 2),
        )
        found.append(_train_one(train_sequences, validation_sequences, test_sequences, half, seed, both_strands))
    return max(found, key=lambda rival: rival.validation)


def _train_one(train_sequences, validation_sequences, test_sequences, fitting, seed, both_strands) -> CnnRival:
    device = hardware.best_device()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = ConvolutionalNet(fitting.task.outputs).to(device)
        draw = np.random.default_rng(seed)

        def logits_of_batch(batch: list[int]) -> torch.Tensor:
            chosen = [train_sequences[row] for row in batch]
            if both_strands:
                flips = draw.integers(2, size=len(chosen))
                chosen = [dna.reverse_complement(s) if flip else s for s, flip in zip(chosen, flips, strict=True)]
            return net(*one_hot(chosen, device))

        validation = fit(
            net,
            logits_of_batch,
            [len(sequence) for sequence in train_sequences],
            BASES_OF_A_BATCH,
            lambda: _logits(net, validation_sequences, fitting.task, device),
            fitting,
            learning_rate=LEARNING_RATE,
            seed=seed,
        )
    return CnnRival(both_strands, validation, _logits(net, test_sequences, fitting.task, device))


@torch.inference_mode()
def _logits(net: nn.Module, sequences: Sequence[bytes], task: Task, device: torch.device) -> np.ndarray:
    net.eval()
    logits = np.empty((len(sequences), task.outputs), np.float32)
    for batch in batches([len(sequence) for sequence in sequences], 4 * BASES_OF_A_BATCH):
        logits[batch] = net(*one_hot([sequences[row] for row in batch], device)).cpu().numpy()
    return logits


def one_hot(sequences: Sequence[bytes], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """float32 [rows, 4, longest], nothing for other letters and beyond the end, and float32 [rows]: the lengths."""
    lengths = np.array([len(sequence) for sequence in sequences])
    codes = np.full((len(sequences), lengths.max()), dna.UNKNOWN_CODE, np.uint8)
    for row, sequence in enumerate(sequences):
        codes[row, : len(sequence)] = dna.codes(sequence)
    bases = codes[:, None, :] == np.arange(4, dtype=np.uint8)[None, :, None]
    return torch.from_numpy(bases.astype(np.float32)).to(device), torch.from_numpy(lengths).to(device, torch.float32)
