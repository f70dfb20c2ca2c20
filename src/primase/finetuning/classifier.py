"""The classifier: loaded with a fresh head or a trained one, its logits for sequences, and its folder.

A ...ForSequenceClassification of transformers: its logits are a linear map of the last token's last hidden state.
"""

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import transformers
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from primase import hardware
from primase.errors import MissingFileError, ModelError
from primase.finetuning.folder import FinetuningFolder
from primase.finetuning.results import Finetuning
from primase.finetuning.task import Task
from primase.finetuning.windows import batches, padded
from primase.hub import MODEL_FILES, local_folder, refuse_paths_outside
from primase.models.build import silence_transformers
from primase.own_files import one_line, read_json
from primase.run_folder import RunFolder
from primase.scoring import CPU_TOKENS_OF_A_BATCH, LoadedModel, assembled
from primase.tokenizers import load_tokenizer
from primase.whole_files import with_usual_modes

HEAD = "score"
"""What transformers calls the linear layer on top of the last token, in all its causal classifiers."""

GPU_TOKENS_OF_A_BATCH = 2**16


def load_body(name_or_folder: str | Path, task: Task, seed: int) -> LoadedModel:
    """A pretrained model with a fresh head for `task`; whatever head it had is left behind.

    `name_or_folder`: a run, a model folder (of a causal model or a classifier), or a Hub name. Raises ModelError where
    it cannot be used, MissingFileError for a run without a final model.
    """
    folder = _folder(name_or_folder)
    tokenizer = load_tokenizer(folder)
    needs_pad = tokenizer.pad_token_id is None
    if needs_pad:  # the last token is told from padding by its id, so padding needs one of its own
        tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.padding_side = "right"
    labels = dict(enumerate(task.labels))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, loading = _from_pretrained(
            name_or_folder,
            folder,
            ignore_mismatched_sizes=True,
            num_labels=task.outputs,
            id2label=labels,
            label2id={label: i for i, label in labels.items()},
            problem_type=task.problem_type,
            pad_token_id=tokenizer.pad_token_id,
        )
        unusable = [*loading["missing_keys"], *(name for name, *_ in loading["mismatched_keys"])]
        missing = [name for name in unusable if not name.startswith(HEAD)]
        if missing or not isinstance(getattr(model, HEAD, None), nn.Linear):
            lacks = (
                f"without {missing[0]}" if missing else f"a {model.config.model_type} model has no head of that kind"
            )
            raise ModelError(
                f"{name_or_folder}: no causal model that can be fine-tuned ({lacks}); give a causal DNA model"
            )
        if needs_pad and len(tokenizer) > model.get_input_embeddings().num_embeddings:
            model.resize_token_embeddings(len(tokenizer))
        fresh_head(model, seed)
    model.config.primase = {"task": task.kind, "label_mean": task.mean, "label_deviation": task.deviation}
    return _loaded(str(name_or_folder), model, tokenizer)


def fresh_twin(loaded: LoadedModel, seed: int) -> LoadedModel:
    """The same architecture with fresh weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForSequenceClassification.from_config(copy.deepcopy(loaded.model.config))
    fresh_head(model, seed)
    return _loaded("the untrained twin", model, loaded.tokenizer)


def fresh_head(model: PreTrainedModel, seed: int) -> None:
    """Normal weights of the model's own scale, the same for the same seed."""
    deviation = getattr(model.config, "initializer_range", None) or 0.02
    weight = getattr(model, HEAD).weight
    values = torch.empty(weight.shape).normal_(0, deviation, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        weight.copy_(values)


def load_classifier(name_or_folder: str | Path) -> tuple[LoadedModel, Task]:
    """A model that classifies, of `primase finetune` or of anyone, and the task that it does.

    Raises ModelError where it has no trained head, MissingFileError for a run that is not finished.
    """
    folder = _folder(name_or_folder)
    tokenizer = load_tokenizer(folder)
    model, loading = _from_pretrained(name_or_folder, folder)
    if loading["missing_keys"]:
        raise ModelError(
            f"{name_or_folder}: no classifier (without {sorted(loading['missing_keys'])[0]}); make one of it with "
            f"primase finetune {name_or_folder} TABLE --label COLUMN -o RUN"
        )
    tokenizer.padding_side = "right"
    if model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id
    try:
        task = _task_of(model)
    except Exception as error:  # labels and scales that cannot be
        raise ModelError(f"{name_or_folder}: no task in its config.json ({one_line(error)}); save it again") from error
    return _loaded(str(name_or_folder), model, tokenizer), task


def _task_of(model: PreTrainedModel) -> Task:
    config = model.config
    labels = tuple(str(config.id2label[i]) for i in range(config.num_labels))
    own = getattr(config, "primase", None) or {}
    if config.problem_type == "regression" or (config.problem_type is None and len(labels) == 1):
        scale = {"mean": own.get("label_mean", 0.0), "deviation": own.get("label_deviation", 1.0)}
        return Task("regression", labels, labels, **scale)
    if config.problem_type == "multi_label_classification":
        return Task("multi-label", labels, labels)
    return Task("binary" if len(labels) == 2 else "multi-class", labels, ("label",))


@torch.inference_mode()
def logits_of(loaded: LoadedModel, sequences: Sequence[list[np.ndarray]]) -> np.ndarray:
    """float32 [sequences, outputs] of token rows (`windows.token_rows`): means over the windows of each."""
    outputs = np.zeros((len(sequences), loaded.model.config.num_labels), np.float32)
    for places, values in _batched(loaded, sequences, lambda inputs: loaded.model(**inputs, use_cache=False).logits):
        np.add.at(outputs, places, values)
    return outputs / np.array([[len(windows)] for windows in sequences], np.float32)


@torch.inference_mode()
def last_states(loaded: LoadedModel, sequences: Sequence[list[np.ndarray]]) -> np.ndarray:
    """float32 [sequences, width]: what the head reads, the last token's last hidden state; means over windows."""
    states = np.zeros((len(sequences), getattr(loaded.model, HEAD).in_features), np.float32)

    def last(inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        hidden = loaded.model.base_model(**inputs, use_cache=False).last_hidden_state
        # The last place without padding, as transformers' heads choose it: the start token may be the padding token.
        ids = inputs["input_ids"]
        is_real = ids != loaded.model.config.pad_token_id
        ends = (torch.arange(ids.shape[1], device=ids.device) * is_real).argmax(dim=1)
        return hidden[torch.arange(len(hidden), device=hidden.device), ends]

    for places, values in _batched(loaded, sequences, last):
        np.add.at(states, places, values)
    return states / np.array([[len(windows)] for windows in sequences], np.float32)


def _batched(loaded: LoadedModel, sequences: Sequence[list[np.ndarray]], forward) -> Iterator[tuple]:
    """Numbers of sequences and the forward pass of one of their windows each, batch by batch, in eval mode."""
    owners = [number for number, windows in enumerate(sequences) for _ in windows]
    rows = [row for windows in sequences for row in windows]
    pad = loaded.model.config.pad_token_id
    most = CPU_TOKENS_OF_A_BATCH if loaded.model.device.type == "cpu" else GPU_TOKENS_OF_A_BATCH
    was_training = loaded.model.training
    loaded.model.eval()
    try:
        for batch in batches([len(row) for row in rows], most if pad is not None else 1):
            values = forward(padded([rows[place] for place in batch], pad or 0, loaded.model.device))
            yield [owners[place] for place in batch], values.float().cpu().numpy()
    finally:
        loaded.model.train(was_training)


def save(loaded: LoadedModel, folder: Path) -> None:
    """In the Hub's layout: loads with plain AutoModelForSequenceClassification and AutoTokenizer."""
    loaded.model.save_pretrained(folder)
    with_usual_modes(folder)
    loaded.tokenizer.save_pretrained(folder)


def _folder(name_or_folder: str | Path) -> Path:
    """Of the model's files. Raises MissingFileError for a run without a final model, ModelError for no model."""
    place = Path(name_or_folder)
    run, finetuned = RunFolder(place), FinetuningFolder(place)
    silence_transformers()
    if finetuned.settings_file.is_file():
        if not finetuned.results_file.is_file():
            raise MissingFileError(f"{place}: this fine-tuning was never finished; run primase finetune again")
        newest = Finetuning.model_fields["schema_version"].default
        read_json(finetuned.results_file, schema=newest, remedy="run primase finetune again")
        folder = finetuned.final
    elif run.recipe_file.is_file():
        if not run.final.is_dir():
            raise MissingFileError(
                f"{place}: the run has no final model yet; go on with primase pretrain --resume {place}"
            )
        folder = run.final
    else:
        folder = local_folder(name_or_folder, MODEL_FILES)
    if not (folder / "config.json").is_file():
        raise ModelError(f"{place}: no model here (config.json is missing); give a run, a model folder or a Hub name")
    refuse_paths_outside(folder)
    return folder


def _from_pretrained(name: str | Path, folder: Path, **options) -> tuple[PreTrainedModel, dict]:
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        if type(config) not in transformers.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
            raise ModelError(
                f"{name}: transformers has no classifier of type {config.model_type}; choose another model"
            )
        return AutoModelForSequenceClassification.from_pretrained(
            folder,
            dtype=torch.float32,
            output_loading_info=True,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            **options,
        )
    except ModelError:
        raise
    except Exception as error:  # transformers and safetensors raise a dozen types here
        raise ModelError(
            f"{name}: the model cannot be loaded ({' '.join(str(error).split())[:200]}); it needs config.json and "
            "model.safetensors as transformers saves them"
        ) from error


def _loaded(place: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> LoadedModel:
    pad, embeddings = model.config.pad_token_id, model.get_input_embeddings().num_embeddings
    if pad is not None and not 0 <= pad < embeddings:
        raise ModelError(f"{place}: the padding token {pad} has no embedding, of which there are {embeddings}")
    return assembled(place, model.eval().to(hardware.best_device()), tokenizer)
