"""What a model expects at every single base, whatever its tokens are: probabilities of A, C, G and T.

A token of several bases is taken apart by summing over the vocabulary: the probability of a base, given the bases of
its token before it, is that of all tokens which begin so, divided by that of all tokens which begin with those before.
For k-mers this is exact, and the mean over the k reading frames makes it the same wherever a token begins. A byte-pair
token may also have ended among the given bases, and another one begun; what comes after such an end is taken to be each
base alike, since the model is not asked a second time. So every base keeps a probability, and what is given for a base
depends on the bases after it only by the tokens that the tokenizer chose.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from primase import dna
from primase.scoring import LoadedModel, Row, batch_logits, batches, groups, refuse_not_finite, sliding_rows
from primase.sequence_encoder import SequenceEncoder

UNKNOWN = 0.25
"""Probability of each base where there is nothing to predict it from."""

LEAST = 1e-38
"""Smallest probability of a base that a logarithm is taken of, so that no base costs infinitely much: 126 bits."""

LETTERS = (b"A", b"C", b"G", b"T")

PREDICTIONS_AT_ONCE = 2**24
"""Probabilities that are summed up at once, 8 bytes each."""


def predict_bases(
    loaded: LoadedModel,
    sequences: Iterable[np.ndarray],
    *,
    all_frames: bool = True,
    stride_fraction: float = 0.5,
) -> Iterator[np.ndarray]:
    """For each sequence (uint8 ASCII [bases]) in order, float32 [bases, 4]: probabilities of A, C, G, T given the bases
    before; NaN at letters other than these.

    A sequence longer than the context is read with a context that slides, as `score_windows` does. `all_frames`: of a
    k-mer model the mean over its k reading frames, k times the work; otherwise the frame that begins at the first base.

    Raises ModelError where the tokens do not spell the letters of the sequence one by one.
    """
    vocabulary = PrefixSums.of(loaded.encoder, loaded.model.device)
    frames = loaded.encoder.regular_k or 1 if all_frames else 1
    for group in groups(sequences):
        total = [np.zeros((len(sequence), 4), np.float32) for sequence in group]
        for frame in range(frames):
            read = _one_frame(loaded, vocabulary, group, frame, stride_fraction)
            for sum_of_frames, prediction in zip(total, read, strict=True):
                sum_of_frames[frame:] += prediction
        for sequence, prediction in zip(group, total, strict=True):
            # The first bases stand in fewer frames than the rest.
            prediction /= np.minimum(np.arange(len(sequence)) + 1, frames)[:, None].astype(np.float32)
            prediction[~dna.is_acgt(sequence)] = np.nan
            yield prediction


def surprisal(predictions: np.ndarray, bases: np.ndarray) -> np.ndarray:
    """Bits of each base, float32 [bases], NaN where there is none: -log2 of what `predictions` [bases, 4] gave it."""
    codes = dna.codes(bases)
    known = codes < 4
    bits = np.full(len(bases), np.nan, np.float32)
    bits[known] = -np.log2(np.maximum(predictions[known, codes[known]], LEAST, dtype=np.float64))
    return bits


def _one_frame(
    loaded: LoadedModel, vocabulary: "PrefixSums", group: list[np.ndarray], frame: int, stride_fraction: float
) -> list[np.ndarray]:
    """float32 [bases - frame, 4] for each sequence, read from its base number `frame` on."""
    encoder = loaded.encoder
    # The last bases, too few for a k-mer, are read as the beginning of one: single bases are rare in training.
    filler = np.full((encoder.regular_k or 1) - 1, ord("A"), np.uint8)
    ids = encoder.encode_many([np.concatenate([sequence[frame:], filler]) for sequence in group])
    predictions = [np.full((len(sequence[frame:]) + len(filler), 4), UNKNOWN, np.float32) for sequence in group]
    first_base = []
    rows: list[Row] = []
    for number, (window_ids, prediction) in enumerate(zip(ids, predictions, strict=True)):
        first_base.append(encoder.first_bases(window_ids, len(prediction)))
        rows.extend(sliding_rows(loaded, number, window_ids, stride_fraction))
    for batch in batches(rows, loaded.model):
        _predict_batch(loaded, vocabulary, batch, first_base, predictions)
    return [prediction[: len(prediction) - len(filler)] for prediction in predictions]


@torch.inference_mode()
def _predict_batch(
    loaded: LoadedModel,
    vocabulary: "PrefixSums",
    batch: list[Row],
    first_base: list[np.ndarray],
    predictions: list[np.ndarray],
) -> None:
    logits, _, starts = batch_logits(loaded, batch)
    for row, row_logits, start in zip(batch, logits, starts.tolist(), strict=True):
        tokens = len(first_base[row.window]) - 1  # the tokenizer's suffix holds no base
        end = min(row.end, tokens)
        if end <= row.slot:
            continue
        scored = row.scored(start)
        targets = torch.from_numpy(row.window_ids[row.slot : end]).to(logits.device)
        of_token, at_base, values = vocabulary.predict(row_logits[scored.start : scored.start + len(targets)], targets)
        places = first_base[row.window][row.slot : end][of_token] + at_base
        refuse_not_finite(values)
        predictions[row.window][places] = values


@dataclass(frozen=True)
class PrefixSums:
    """The vocabulary sorted by spelling: the tokens that begin alike stand side by side, and their sum is a difference.

    A node is a beginning that some token has; node 0 is the empty one.
    """

    order: torch.Tensor
    """int64 [tokens that spell A, C, G, T only]: their ids, sorted by spelling."""
    bounds: torch.Tensor
    """int64 [nodes, 6]: where, in that order, the tokens begin that end here, that go on with A, C, G, T, and where the
    last of these end."""
    node: torch.Tensor
    """int64 [vocabulary, longest token]: the node before each base of a token; -1 where there is no base."""

    @classmethod
    def of(cls, encoder: SequenceEncoder, device: torch.device) -> "PrefixSums":
        spelled = encoder.spelled
        bases_only = [i for i, text in enumerate(spelled) if text and not text.translate(None, b"ACGT")]
        bases_only.sort(key=lambda i: spelled[i])
        texts = [spelled[i] for i in bases_only]
        nodes: dict[bytes, int] = {b"": 0}
        node = np.full((len(spelled), max((len(text) for text in texts), default=1)), -1, np.int64)
        for i in bases_only:
            for place in range(len(spelled[i])):
                node[i, place] = nodes.setdefault(spelled[i][:place], len(nodes))
        # Behind T stands no letter of DNA: U closes the range.
        bounds = [[bisect_left(texts, prefix + letter) for letter in (b"", *LETTERS, b"U")] for prefix in nodes]
        arrays = np.array(bases_only, np.int64), np.array(bounds, np.int64), node
        return cls(*(torch.from_numpy(array).to(device) for array in arrays))

    def predict(self, logits: torch.Tensor, targets: torch.Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of each base of the `targets`: its token's place, its place in the token, float32 [bases, 4] its prediction.

        `logits` fp32 [tokens, vocabulary] predict `targets` int64 [tokens]; tokens that spell other letters are left
        out. Sums in fp64: differences of sums in fp32 would drown what is rare.
        """
        node = self.node[targets]
        values, places = [], torch.nonzero(node >= 0)
        at_once = max(1, PREDICTIONS_AT_ONCE // max(1, len(self.order)))
        for first in range(0, len(targets), at_once):
            chunk = slice(first, first + at_once)
            chosen = logits[chunk][:, self.order]
            weights = (chosen - chosen.amax(dim=1, keepdim=True)).double().exp()
            sums = torch.nn.functional.pad(weights.cumsum(dim=1), (1, 0))
            token, place = torch.nonzero(node[chunk] >= 0, as_tuple=True)
            edges = sums[token[:, None], self.bounds[node[chunk][token, place]]]
            ended, goes_on = edges.diff(dim=1).clamp_min(0).split([1, 4], dim=1)
            has_ended = torch.zeros_like(node[chunk], dtype=torch.float64)
            has_ended[token, place] = ended[:, 0]
            for base in range(1, has_ended.shape[1]):
                has_ended[:, base] += UNKNOWN * has_ended[:, base - 1]
            # At such odds for a token that ends before, the sums are too coarse: all four are as likely, then.
            of_base = goes_on + UNKNOWN * has_ended[token, place, None]
            of_base[of_base.sum(dim=1) == 0] = UNKNOWN
            values.append((of_base / of_base.sum(dim=1, keepdim=True)).float())
        return places[:, 0].cpu().numpy(), places[:, 1].cpu().numpy(), torch.cat(values).cpu().numpy()
