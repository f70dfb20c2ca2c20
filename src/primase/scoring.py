"""The one forward pass: nats of every token, and hidden states, of sequences of any length.

Rows are sorted by length, padded on the tokenizer's side, and put back in order; what shares a batch with a row does
not change its result beyond rounding. Arithmetic is fp32 whatever the model was trained in, unless bf16 is asked for.
"""

from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from torch import nn
from transformers import AutoModel, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from primase import hardware
from primase.corpus.rows import PaddingCollator
from primase.errors import InputError, MissingFileError, ModelError
from primase.hub import MODEL_FILES, local_folder, refuse_paths_outside
from primase.models import bf16_forward
from primase.models.build import silence_transformers
from primase.models.trial import refuse_unfit
from primase.own_files import one_line
from primase.run_folder import RunFolder
from primase.sequence_encoder import SequenceEncoder
from primase.tokenizers import load_tokenizer

Precision = Literal["fp32", "bf16"]

LOGITS_OF_A_BATCH = 2**25
"""Largest number of logits held at once: 128 MiB in fp32."""

CPU_TOKENS_OF_A_BATCH = 2**13
"""On a CPU a larger batch is slower: its activations fall out of the caches (1.4 times for 1,348 rows of 341)."""

WINDOWS_OF_A_GROUP = 4096
BASES_OF_A_GROUP = 4_000_000
"""Windows that are tokenized and sorted by length together, at most so many, and about so many bases."""


@dataclass(frozen=True)
class LoadedModel:
    """A model with what it needs to read DNA."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    encoder: SequenceEncoder
    context_tokens: int
    """Longest row that the model was made for, special tokens included."""
    precision: Precision = "fp32"
    """Of the forward passes of this module; weights and what is made of the results are fp32."""

    @property
    def row_tokens(self) -> int:
        """Tokens of a sequence that the longest row has room for beside the special tokens."""
        return self.context_tokens - len(self.encoder.prefix_ids) - len(self.encoder.suffix_ids)

    @property
    def least_bases_of_a_token(self) -> int:
        """By which the room of a row is reckoned in bases: exact for k-mers; byte-pair tokens hold more on average."""
        return self.encoder.regular_k or 2

    def with_context(self, tokens: int) -> "LoadedModel":
        """The same with shorter rows. Raises InputError for a row without room, or longer than the model's own."""
        fewest = len(self.encoder.prefix_ids) + len(self.encoder.suffix_ids) + 2
        if not fewest <= tokens <= self.context_tokens:
            raise InputError(
                f"a context of {tokens:,} tokens does not suit this model, which takes {fewest} to "
                f"{self.context_tokens:,}; give --context-tokens in between"
            )
        return replace(self, context_tokens=tokens)

    def refuse_rounding(self, use: str) -> None:
        """Raises InputError where it was loaded in bf16: `use` is about small differences, or the same bits again."""
        if self.precision != "fp32":
            raise InputError(f"{use} is computed in fp32, and this model was loaded in bf16; load it without precision")


@dataclass
class WindowScore:
    """The price of one window, token by token."""

    ids: np.ndarray
    """int64 [tokens]: every scored token, the tokenizer's end token included, its start token not."""
    nats: np.ndarray = field(repr=False)
    """float64 [tokens]: -ln of the probability of each token given those before it."""
    confidence: np.ndarray = field(repr=False)
    """float32 [tokens]: probability of the likeliest token at each place."""
    is_likeliest: np.ndarray = field(repr=False)
    """bool [tokens]: whether the token that came was that one."""


def load_model(
    name_or_folder: str | Path, *, causal: bool = True, may_be_unfit: bool = False, precision: Precision = "fp32"
) -> LoadedModel:
    """A run, a model folder, or a Hub name, ready to score. `causal=False` loads the body without the output layer.

    `may_be_unfit`: not tried out, for the self-tests, which say more of a model whose results are not finite.
    `precision`: bf16 rounds the products of `score_windows`, `predict_bases` and `embed`, which is about twice as quick
    on a processor with bf16 in hardware (some seconds may go into building its kernels, once); logits are fp32.
    Variants, generation, search, pictures and compression do not take such a model.

    Raises MissingFileError for a run without a final model, ModelError where the model or its tokenizer cannot be used,
    InputError for another precision.
    """
    if precision not in get_args(Precision):
        raise InputError(f"precision {precision!r}: choose {' or '.join(get_args(Precision))}")
    place = str(name_or_folder)
    run = RunFolder(Path(place))
    if run.recipe_file.is_file():
        if not run.final.is_dir():
            raise MissingFileError(
                f"{place}: the run has no final model yet; go on with primase pretrain --resume {place}"
            )
        place = str(run.final)
    silence_transformers()
    folder = local_folder(place, MODEL_FILES)
    if not (folder / "config.json").is_file():
        raise ModelError(f"{place}: no model here (config.json is missing); give a run, a model folder or a Hub name")
    refuse_paths_outside(folder)
    tokenizer = load_tokenizer(folder)
    model_class = AutoModelForCausalLM if causal else AutoModel
    try:
        model, loading = model_class.from_pretrained(
            folder,
            dtype=torch.float32,
            output_loading_info=True,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,  # else transformers asks at the terminal whether to run code of the folder
        )
    except Exception as error:  # transformers and safetensors raise a dozen types here
        raise ModelError(
            f"{place}: the model cannot be loaded ({' '.join(str(error).split())[:200]}); it needs config.json and "
            "model.safetensors as transformers saves them"
        ) from error
    if loading["missing_keys"]:
        is_classifier = causal and "score.weight" in loading["unexpected_keys"]
        remedy = "give the causal model that the classifier was made of" if is_classifier else "give all of its weights"
        raise ModelError(
            f"{place}: not a complete {'causal language model' if causal else 'model'} "
            f"(without {sorted(loading['missing_keys'])[0]}); missing weights would be random: {remedy}"
        )
    device = hardware.best_device()
    hardware.keep_freed_memory(device)
    loaded = assembled(place, model.eval().to(device), tokenizer, may_be_unfit=may_be_unfit)
    if precision == "bf16":
        bf16_forward.take_kernels(loaded.model)
    return replace(loaded, precision=precision)


def assembled(
    place: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, may_be_unfit: bool = False
) -> LoadedModel:
    """Raises ModelError, which names `place`, where the two do not fit each other or a sequence cannot be read."""
    try:
        encoder, tokens = SequenceEncoder(tokenizer), context_tokens(model, tokenizer)
    except BaseException as error:  # of values that cannot be; a panic of the Rust library is no Exception
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise ModelError(f"{place}: the tokenizer cannot be used ({one_line(error)}); save it again") from error
    if not may_be_unfit:
        refuse_unfit(place, model, encoder, tokens)
    return LoadedModel(model, tokenizer, encoder, tokens)


def context_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """The smaller of the model's positions and the tokenizer's stated maximum."""
    return int(min(getattr(model.config, "max_position_embeddings", 1024), tokenizer.model_max_length))


def score_windows(
    loaded: LoadedModel, windows: Iterable[np.ndarray], *, stride_fraction: float = 0.5
) -> Iterator[WindowScore]:
    """Nats of every token of every window (uint8 ASCII arrays [bases]), in order.

    A window longer than the context is scored with a sliding context that advances by `stride_fraction` of it: every
    token is predicted once, and after the first row each sees at least (1 - stride_fraction) of the context.
    Where a tokenizer has no start token, the first token costs ln(vocabulary): nothing predicts it.
    """
    for group in groups(windows):
        scores, rows = [], []
        for number, ids in enumerate(loaded.encoder.encode_many(group)):
            scores.append(_unscored(loaded, ids))
            rows.extend(sliding_rows(loaded, number, ids, stride_fraction))
        for batch in batches(rows, loaded.model):
            _score_batch(loaded, batch, scores)
        yield from scores


def groups(windows: Iterable[np.ndarray]) -> Iterator[list[np.ndarray]]:
    """Windows in order, in lists that are tokenized and sorted by length together."""
    group, bases = [], 0
    for window in windows:
        group.append(window)
        bases += len(window)
        if len(group) == WINDOWS_OF_A_GROUP or bases >= BASES_OF_A_GROUP:
            yield group
            group, bases = [], 0
    if group:
        yield group


@dataclass(frozen=True)
class Row:
    """One row of a forward pass, and which tokens it scores: neighbours overlap, so none holds its tokens."""

    window: int
    """Number of the window in its group."""
    window_ids: np.ndarray = field(repr=False)
    """int64 [tokens] of the whole window, the tokenizer's suffix included, its prefix not."""
    prefix_ids: np.ndarray = field(repr=False)
    first: int
    """Place in `window_ids` of the first token after the prefix."""
    end: int
    slot: int
    """Place in `window_ids` of the first token that is scored here; the last is the one before `end`."""

    def __len__(self) -> int:
        return len(self.prefix_ids) + self.end - self.first

    @property
    def ids(self) -> np.ndarray:
        """int64 [tokens] of the row."""
        return np.concatenate([self.prefix_ids, self.window_ids[self.first : self.end]])

    def scored(self, start: int) -> slice:
        """Where the predictions of the scored tokens are, in a batch where the row begins at `start`."""
        last = start + len(self) - 1
        return slice(last - (self.end - self.slot), last)


def _with_suffix(loaded: LoadedModel, ids: np.ndarray) -> np.ndarray:
    return np.concatenate([ids, loaded.encoder.suffix_ids]).astype(np.int64)


def _unscored(loaded: LoadedModel, ids: np.ndarray) -> WindowScore:
    all_ids = _with_suffix(loaded, ids)
    tokens, vocabulary = len(all_ids), loaded.model.config.vocab_size
    return WindowScore(
        ids=all_ids,
        nats=np.full(tokens, np.log(vocabulary)),
        confidence=np.full(tokens, 1 / vocabulary, np.float32),
        is_likeliest=np.zeros(tokens, bool),
    )


def stride_tokens(loaded: LoadedModel, stride_fraction: float) -> int:
    """By how many tokens the rows of a window move on: so few that something precedes each token that a row scores."""
    prefix, suffix = len(loaded.encoder.prefix_ids), len(loaded.encoder.suffix_ids)
    capacity = loaded.context_tokens - prefix - suffix
    return max(1, min(int(capacity * stride_fraction), capacity if prefix else capacity - 1))


def sliding_rows(loaded: LoadedModel, window: int, ids: np.ndarray, stride_fraction: float) -> Iterator[Row]:
    """The rows that score every token of a window once; `ids` int64 [tokens] without special tokens."""
    prefix = np.asarray(loaded.encoder.prefix_ids, np.int64)
    all_ids = _with_suffix(loaded, ids)
    if len(prefix) + len(all_ids) < 2:
        return  # nothing to predict, or nothing to predict it from
    capacity = loaded.context_tokens - len(prefix) - len(loaded.encoder.suffix_ids)
    if len(ids) <= capacity:
        yield Row(window, all_ids, prefix, 0, len(all_ids), 0 if len(prefix) else 1)
        return
    stride = stride_tokens(loaded, stride_fraction)
    begin, end = 0, capacity
    while True:
        slot = begin if len(prefix) or begin else 1
        yield Row(window, all_ids, prefix, max(end - capacity, 0), end, slot)
        if end == len(all_ids):
            return
        begin, end = end, min(end + stride, len(all_ids))


def batches(rows: list[Row], model: PreTrainedModel) -> Iterator[list[Row]]:
    """Rows of like length together, as many as their logits and, on a CPU, its caches allow."""
    most_tokens = LOGITS_OF_A_BATCH // model.config.vocab_size
    if model.device.type == "cpu":
        most_tokens = min(most_tokens, CPU_TOKENS_OF_A_BATCH)
    rows = sorted(rows, key=len, reverse=True)
    first = 0
    while first < len(rows):
        after = first + max(1, most_tokens // len(rows[first]))
        yield rows[first:after]
        first = after


def padded(loaded: LoadedModel, rows: list[np.ndarray]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Model inputs for token rows, and int64 [rows]: where each row begins in them."""
    side = loaded.tokenizer.padding_side
    pad, embeddings = loaded.tokenizer.pad_token_id, loaded.model.get_input_embeddings().num_embeddings
    pad = pad if pad is not None and pad < embeddings else 0  # any token: nothing sees it
    inputs = PaddingCollator(pad, side)([torch.from_numpy(row) for row in rows])
    del inputs["labels"]
    if "attention_mask" in inputs:
        inputs["position_ids"] = (inputs["attention_mask"].cumsum(1) - 1).clamp_min(0)
    longest = inputs["input_ids"].shape[1]
    starts = torch.tensor([longest - len(row) if side == "left" else 0 for row in rows])
    return {name: tensor.to(loaded.model.device) for name, tensor in inputs.items()}, starts


@torch.inference_mode()
def batch_logits(loaded: LoadedModel, batch: list[Row]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits fp32 [rows, tokens, vocabulary], their inputs int64 [rows, tokens], and where each row begins."""
    inputs, starts = padded(loaded, [row.ids for row in batch])
    return _forward(loaded, loaded.model, inputs).logits.float(), inputs["input_ids"], starts


@torch.inference_mode()
def _score_batch(loaded: LoadedModel, batch: list[Row], scores: list[WindowScore]) -> None:
    logits, input_ids, starts = batch_logits(loaded, batch)
    # Row by row, so that what is made of the logits stays in a processor's cache.
    results = [_priced(of_row[:-1], ids[1:]) for of_row, ids in zip(logits, input_ids, strict=True)]
    for row, start, values in zip(batch, starts.tolist(), results, strict=True):
        place, scored, score = slice(row.slot, row.end), row.scored(start), scores[row.window]
        score.nats[place], score.confidence[place], score.is_likeliest[place] = (part[scored] for part in values)


def refuse_not_finite(values: np.ndarray | torch.Tensor) -> None:
    """Raises ModelError where what a model computed holds something that is no number."""
    if not np.isfinite(np.asarray(values)).all():
        raise ModelError("the model's results are not finite; its weights or its config.json may be damaged")


def _priced(logits: torch.Tensor, targets: torch.Tensor) -> list[np.ndarray]:
    """Of each target int64 [tokens]: its nats, the probability of the likeliest token, and whether it was that one."""
    nats = nn.functional.cross_entropy(logits, targets, reduction="none")
    likeliest, token = logits.max(dim=-1)
    # ln p of the likeliest token: its logit is ahead of the target's by so much.
    lead = likeliest - logits.gather(1, targets[:, None]).squeeze(1)
    return [tensor.cpu().numpy() for tensor in (nats, (lead - nats).exp(), token == targets)]


@torch.inference_mode()
def layer_outputs(loaded: LoadedModel, rows: list[np.ndarray], layer: int | str) -> Iterator[np.ndarray]:
    """float32 [tokens, width] of each row: hidden states after `layer` (0 the embedding, -1 the last), or `logits`.

    `all`: every hidden state, float32 [layers + 1, tokens, width].
    """
    inputs, starts = padded(loaded, rows)
    if layer == "logits":
        values = _forward(loaded, loaded.model, inputs).logits
    else:
        body = _forward(loaded, loaded.model.base_model, inputs, output_hidden_states=layer != -1)
        if layer == "all":
            values = torch.stack(body.hidden_states, dim=1)
        else:
            values = body.last_hidden_state if layer == -1 else body.hidden_states[layer]
    for row, row_values, start in zip(rows, values.float().cpu().numpy(), starts.tolist(), strict=True):
        yield row_values[..., start : start + len(row), :]


def _forward(loaded: LoadedModel, model: PreTrainedModel, inputs: dict[str, torch.Tensor], **options: bool):
    """Through `loaded`'s model or its body. It is put back as found: training mode stays training mode."""
    was_training = model.training
    model.eval()
    try:
        with bf16_forward.rounded(loaded.model) if loaded.precision == "bf16" else nullcontext():
            return model(**inputs, use_cache=False, **options)
    finally:
        model.train(was_training)
