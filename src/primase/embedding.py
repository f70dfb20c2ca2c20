"""Embedding (`primase embed`): sequences to vectors, one a sequence, pooled over its real tokens."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from primase.errors import InputError, ModelError, OutputExistsError
from primase.formats import read_records
from primase.scoring import LoadedModel, layer_outputs, load_model

POOLINGS = ("mean", "max", "last")
FORMATS = (".npy", ".parquet")
SEQUENCES_OF_A_GROUP = 1024


def embed(
    model: str | Path | LoadedModel,
    sequences: str | Path | Sequence[str | bytes],
    *,
    layer: int | str = -1,
    pooling: str = "mean",
    batch_tokens: int = 16_384,
    column: str | None = None,
    progress: Callable[[int], None] = lambda done: None,
    on_unknown: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Vectors float32 [sequences, width] of DNA sequences, or of the records of a file.

    `model`: a run, a folder, a Hub name, or a model already loaded. `layer`: -1 the last hidden state, 0 the embedding,
    1, 2, … after that layer, `logits` the output layer's (width = vocabulary; what the tutorial calls hidden states).
    `pooling` is over real tokens only, padding never among them; the special tokens that the tokenizer adds are real.
    A sequence longer than the model's context is cut into rows side by side: mean and max are over the tokens of all of
    them, last is the last token of the last. `progress` is called with the number of sequences done;
    `on_unknown`, or else a Python warning, tells how many tokens the tokenizer could not spell, if any.

    Raises InputError for an empty sequence, ModelError for a layer that the model does not have.
    """
    loaded = load(model, layer)
    if isinstance(sequences, str | Path):
        sequences = [record.sequence for record in read_records([sequences], column=column)]
    layer, pooling = _check_layer(loaded, layer), _check_pooling(pooling)
    vectors = list(_pooled(loaded, sequences, layer, pooling, batch_tokens, progress, on_unknown or _warn_of_unknown))
    return np.stack(vectors) if vectors else np.empty((0, loaded.model.config.hidden_size), np.float32)


def embed_to_file(
    model: str | Path,
    sources: Sequence[str | Path],
    output: str | Path,
    *,
    overwrite: bool = False,
    column: str | None = None,
    **options,
) -> tuple[int, int]:
    """Embed all records of files into `output` (.npy: the matrix; .parquet: columns name and embedding).

    Returns the numbers of sequences and of dimensions. Nothing is left at `output` unless all went well. Raises as
    `embed` does, and OutputExistsError where `output` is there and `overwrite` is not set.
    """
    output = Path(output)
    if output.suffix not in FORMATS:
        raise InputError(f"{output}: embeddings are written as {' or '.join(FORMATS)}; choose one of these endings")
    if output.is_dir():
        raise OutputExistsError(f"{output}: is a folder; choose another file")
    if output.exists() and not overwrite:
        raise OutputExistsError(f"{output}: already exists; choose another file or pass --overwrite")
    records = list(read_records(sources, column=column))
    output.parent.mkdir(parents=True, exist_ok=True)
    vectors = embed(model, [record.sequence for record in records], **options)
    partial = output.with_name(f".{output.name}.partial")
    try:
        if output.suffix == ".npy":
            with open(partial, "wb") as out:
                np.save(out, vectors)
        else:
            width = pa.list_(pa.float32(), vectors.shape[1])
            embedding = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), type=width)
            pq.write_table(pa.table({"name": [record.name for record in records], "embedding": embedding}), partial)
        partial.replace(output)
    finally:
        partial.unlink(missing_ok=True)
    return vectors.shape


def load(model: str | Path | LoadedModel, layer: int | str) -> LoadedModel:
    """The model with an output layer only where the logits are asked for: a classifier's body can be embedded too."""
    return model if isinstance(model, LoadedModel) else load_model(model, causal=layer == "logits")


def _warn_of_unknown(tokens: int) -> None:
    warnings.warn(f"{tokens:,} tokens are unknown to the tokenizer: it cannot spell every letter", stacklevel=3)


def _check_layer(loaded: LoadedModel, layer: int | str) -> int | str:
    layers = loaded.model.config.num_hidden_layers
    if layer == "logits" and loaded.model.get_output_embeddings() is None:
        raise ModelError("layer logits: the model was loaded without an output layer; load it with causal=True")
    if layer == "logits" or layer == -1:
        return layer
    if not isinstance(layer, int) or not -1 <= layer <= layers:
        raise ModelError(
            f"layer {layer!r}: the model has layers 0 (the embedding) to {layers}, -1 (the last) and logits"
        )
    return layer


def _check_pooling(pooling: str) -> str:
    if pooling not in POOLINGS:
        raise InputError(f"pooling {pooling!r}: choose {', '.join(POOLINGS)}")
    return pooling


def _pooled(
    loaded: LoadedModel,
    sequences: Iterable[str | bytes],
    layer: int | str,
    pooling: str,
    batch_tokens: int,
    progress: Callable[[int], None],
    on_unknown: Callable[[int], None],
) -> Iterator[np.ndarray]:
    iterator, done, unknown = iter(sequences), 0, 0
    while group := [_as_bytes(sequence) for sequence in islice(iterator, SEQUENCES_OF_A_GROUP)]:
        rows: list[tuple[int, np.ndarray]] = []
        for index, ids in enumerate(loaded.encoder.encode_many(group)):
            if not len(ids):
                raise InputError(f"sequence {done + index + 1} is empty; remove it")
            unknown += loaded.encoder.unknown_count(ids)
            rows.extend((index, row) for row in _rows(loaded, ids))
        yield from _pool_group(loaded, rows, len(group), layer, pooling, batch_tokens)
        done += len(group)
        progress(done)
    if unknown:
        on_unknown(unknown)


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
) -> list[np.ndarray]:
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
    return [np.asarray(vector, np.float32) for vector in pooled]


def _pool_row(values: np.ndarray, pooling: str) -> np.ndarray:
    """One vector [width] of one row [tokens, width]."""
    if pooling == "last":
        return values[-1]
    return values.max(axis=0) if pooling == "max" else values.mean(axis=0)
