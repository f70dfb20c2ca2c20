"""Sequences to vectors, one a sequence, pooled over its real tokens: the model's part of `primase embed`."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from primase import dna, processes
from primase.errors import InputError, ModelError
from primase.formats import read_records
from primase.scoring import LoadedModel, Precision, layer_outputs, load_model, refuse_not_finite
from primase.sequence_encoder import unknown_in_words

POOLINGS = ("mean", "max", "last")
SEQUENCES_OF_A_GROUP = 1024


def embed(
    model: str | Path | LoadedModel,
    sequences: str | Path | Sequence[str | bytes],
    *,
    layer: int | str = -1,
    pooling: str = "mean",
    both_strands: bool = False,
    batch_tokens: int = 16_384,
    precision: Precision = "fp32",
    column: str | None = None,
    progress: Callable[[int], None] = lambda done: None,
    on_unknown: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Vectors float32 [sequences, width] of DNA sequences, or of the records of a file.

    `model`: a run, a folder, a Hub name, or a model already loaded. `layer`: -1 the last hidden state, 0 the embedding,
    1, 2, … after that layer, `logits` the output layer's (width = vocabulary; what the tutorial calls hidden states),
    `all` every hidden state in one pass: float32 [sequences, layers + 1, width].
    `pooling` is over real tokens only, padding never among them; the special tokens that the tokenizer adds are real.
    `both_strands`: the mean of the vectors of the sequence and of its reverse complement.
    `precision`: as `load_model` takes it; a model already loaded has its own.
    A sequence longer than the model's context is cut into rows side by side: mean and max are over the tokens of all of
    them, last is the last token of the last. `progress` is called with the number of sequences done;
    `on_unknown`, or else a Python warning, tells how many tokens the tokenizer could not spell, if any.

    Raises InputError for an empty sequence, ModelError for a layer that the model does not have.
    """
    loaded = load(model, layer, precision)
    if isinstance(sequences, str | Path):
        sequences = [record.sequence for record in read_records([sequences], column=column)]
    vectors, done = [np.empty((0, *vector_shape(loaded, layer)), np.float32)], 0
    with processes.alone():  # the vectors are for this process
        groups = embed_stream(
            loaded,
            sequences,
            layer=layer,
            pooling=pooling,
            both_strands=both_strands,
            batch_tokens=batch_tokens,
            on_unknown=on_unknown,
        )
        for group in groups:
            vectors.append(group)
            done += len(group)
            progress(done)
    return np.concatenate(vectors)


def embed_stream(
    loaded: LoadedModel,
    sequences: Iterable[str | bytes],
    *,
    layer: int | str = -1,
    pooling: str = "mean",
    both_strands: bool = False,
    batch_tokens: int = 16_384,
    first_number: int = 0,
    on_unknown: Callable[[int], None] | None = None,
) -> Iterator[np.ndarray]:
    """As `embed`, SEQUENCES_OF_A_GROUP at a time: float32 [sequences, …]. No more of `sequences` is held at once.

    Several processes share the groups: the main one gets all of them, the others none.

    `first_number`: sequences that went before, for the numbers in messages. Raises as `embed`, at once for the
    settings.
    """
    layer, pooling = _check_layer(loaded, layer), _check_pooling(pooling)
    return _groups(
        loaded, sequences, layer, pooling, both_strands, batch_tokens, first_number, on_unknown or _warn_of_unknown
    )


def vector_shape(loaded: LoadedModel, layer: int | str) -> tuple[int, ...]:
    """The shape of one vector; with `all` layers, that of their pile."""
    config = loaded.model.config
    if layer == "logits":
        return (config.vocab_size,)
    return (config.num_hidden_layers + 1, config.hidden_size) if layer == "all" else (config.hidden_size,)


def load(model: str | Path | LoadedModel, layer: int | str, precision: Precision = "fp32") -> LoadedModel:
    """The model with an output layer only where the logits are asked for: a classifier's body can be embedded too."""
    if isinstance(model, LoadedModel):
        return model
    return load_model(model, causal=layer == "logits", precision=precision)


def _warn_of_unknown(tokens: int) -> None:
    warnings.warn(f"{unknown_in_words(tokens)}: it cannot spell every letter", stacklevel=3)


def _check_layer(loaded: LoadedModel, layer: int | str) -> int | str:
    layers = loaded.model.config.num_hidden_layers
    if layer == "logits" and loaded.model.get_output_embeddings() is None:
        raise ModelError("layer logits: the model was loaded without an output layer; load it with causal=True")
    if layer in ("logits", "all", -1):
        return layer
    if not isinstance(layer, int) or not -1 <= layer <= layers:
        raise ModelError(
            f"layer {layer!r}: the model has layers 0 (the embedding) to {layers}, -1 (the last), all and logits"
        )
    return layer


def _check_pooling(pooling: str) -> str:
    if pooling not in POOLINGS:
        raise InputError(f"pooling {pooling!r}: choose {', '.join(POOLINGS)}")
    return pooling


def _groups(
    loaded: LoadedModel,
    sequences: Iterable[str | bytes],
    layer: int | str,
    pooling: str,
    both_strands: bool,
    batch_tokens: int,
    first_number: int,
    on_unknown: Callable[[int], None],
) -> Iterator[np.ndarray]:
    def embedded(group: list[bytes]) -> tuple[np.ndarray, int]:
        strands = [group, [dna.reverse_complement(sequence) for sequence in group]] if both_strands else [group]
        vectors, unknown = [], 0
        for strand in strands:
            all_ids = loaded.encoder.encode_many(strand)
            unknown += sum(map(loaded.encoder.unknown_count, all_ids))
            _refuse_without_tokens(strand, all_ids)
            rows = [(index, row) for index, ids in enumerate(all_ids) for row in _rows(loaded, ids)]
            vectors.append(_pool_group(loaded, rows, len(group), layer, pooling, batch_tokens))
            refuse_not_finite(vectors[-1])
        return np.mean(vectors, axis=0, dtype=np.float32) if both_strands else vectors[0], unknown

    all_unknown = 0
    for vectors, unknown in processes.shared(_sequence_groups(sequences, first_number), embedded):
        all_unknown += unknown
        yield vectors
    if all_unknown:
        on_unknown(all_unknown)


def _refuse_without_tokens(sequences: list[bytes], all_ids: list[np.ndarray]) -> None:
    for sequence, ids in zip(sequences, all_ids, strict=True):
        if not len(ids):
            letters = sequence if len(sequence) <= 20 else sequence[:20] + b"..."
            raise InputError(
                f"the tokenizer makes no token of the sequence {letters.decode('ascii', 'replace')}; remove it"
            )


def _sequence_groups(sequences: Iterable[str | bytes], first_number: int) -> Iterator[list[bytes]]:
    iterator, done = iter(sequences), first_number
    while group := [_as_bytes(sequence) for sequence in islice(iterator, SEQUENCES_OF_A_GROUP)]:
        if b"" in group:
            raise InputError(f"sequence {done + group.index(b'') + 1} is empty; remove it")
        yield group
        done += len(group)


def _as_bytes(sequence: str | bytes) -> bytes:
    return sequence.encode("ascii", "replace") if isinstance(sequence, str) else sequence


def _rows(loaded: LoadedModel, ids: np.ndarray) -> Iterator[np.ndarray]:
    """Rows side by side, each with the special tokens around it."""
    prefix, suffix = loaded.encoder.prefix_ids, loaded.encoder.suffix_ids
    capacity = loaded.context_tokens - len(prefix) - len(suffix)
    for start in range(0, len(ids), capacity):
        yield np.concatenate([prefix, ids[start : start + capacity], suffix]).astype(np.int64)


def _pool_group(
    loaded: LoadedModel,
    rows: list[tuple[int, np.ndarray]],
    sequences: int,
    layer: int | str,
    pooling: str,
    batch_tokens: int,
) -> np.ndarray:
    """Rows sorted by length so that little is padded; combined in order of rows, so that batches do not matter."""
    outputs: dict[int, np.ndarray] = {}
    by_length = sorted(range(len(rows)), key=lambda place: len(rows[place][1]), reverse=True)
    while by_length:
        count = max(1, batch_tokens // len(rows[by_length[0]][1]))
        batch, by_length = by_length[:count], by_length[count:]
        for place, values in zip(batch, layer_outputs(loaded, [rows[p][1] for p in batch], layer), strict=True):
            outputs[place] = _pool_row(values, pooling)
    pooled: list[np.ndarray | None] = [None] * sequences
    tokens = np.zeros(sequences)
    for place, (index, row) in enumerate(rows):
        before, value = pooled[index], outputs[place]
        if before is None or pooling == "last":
            pooled[index] = value
        elif pooling == "max":
            pooled[index] = np.maximum(before, value)
        else:
            pooled[index] = (before * tokens[index] + value * len(row)) / (tokens[index] + len(row))
        tokens[index] += len(row)
    return np.array(pooled, np.float32)


def _pool_row(values: np.ndarray, pooling: str) -> np.ndarray:
    """One vector […, width] of one row […, tokens, width]."""
    if pooling == "last":
        return values[..., -1, :].copy()  # a view would keep the whole batch
    return values.max(axis=-2) if pooling == "max" else values.mean(axis=-2)
