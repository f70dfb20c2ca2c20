"""The one seam to transformers.Trainer: what it gets wrong for this work is mended here, and nowhere else.

Mended: resume and best-model loading of expert models (upstream issue 48805), the weight of the balancing loss under
accumulation and several processes, losses that are not finite, half-written checkpoints, and losses in nats that no
other tokenizer can be compared with.
"""

import json
import math
import random
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import nn
from transformers import PreTrainedModel, TrainingArguments

from primase.corpus.rows import PaddingCollator, TrainingRows
from primase.errors import NonFiniteLossError
from primase.models.build import count_parameters, experts, is_mixture
from primase.recipe import Recipe, TrainingSettings
from primase.training import checkpoints
from primase.training.callbacks import MetricsFile, RouterHealth
from primase.training.optimizers import MuonWithAdamW

PROGRESS_FILE = "progress.json"


@dataclass
class Progress:
    """Counters that a checkpoint carries, so that a resumed run's metrics are those of the undisturbed one."""

    tokens: int = 0
    bases: int = 0
    seconds: float = 0.0
    nats_since_log: float = 0.0
    tokens_since_log: int = 0
    bases_since_log: int = 0
    seconds_at_log: float = 0.0


def training_arguments(
    recipe: Recipe, run: Path, *, steps: int, precision: str, device: torch.device
) -> TrainingArguments:
    """The recipe in transformers' words."""
    settings = recipe.training
    evaluates = settings.evaluate_every != "never"
    per_epoch = settings.evaluate_every == "epoch"
    save_steps = settings.save_every if isinstance(settings.save_every, int) else None
    return TrainingArguments(
        output_dir=str(run),
        seed=recipe.seed,
        data_seed=recipe.seed,
        max_steps=steps,
        per_device_train_batch_size=settings.rows_per_batch,
        gradient_accumulation_steps=settings.accumulation_steps,
        learning_rate=settings.learning_rate,
        lr_scheduler_type={"constant": "constant_with_warmup"}.get(settings.schedule, settings.schedule),
        warmup_steps=math.ceil(settings.warmup_fraction * steps),
        weight_decay=settings.weight_decay,
        adam_beta2=settings.beta2,
        max_grad_norm=settings.max_gradient_norm,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        use_cpu=device.type == "cpu",
        eval_strategy="no" if not evaluates else "epoch" if per_epoch else "steps",
        eval_steps=None if per_epoch or not evaluates else settings.evaluate_every,
        save_strategy="epoch" if settings.save_every == "epoch" else "steps" if save_steps else "no",
        save_steps=save_steps or 500,
        metric_for_best_model="bits_per_base" if evaluates else None,
        greater_is_better=False,
        logging_steps=settings.log_every,
        logging_nan_inf_filter=False,
        restore_callback_states_from_checkpoint=True,
        dataloader_pin_memory=device.type == "cuda",
        disable_tqdm=True,
        report_to=list(settings.report_to) or "none",
    )


class PretrainingTrainer(transformers.Trainer):
    """transformers.Trainer for causal DNA models, with checkpoints that are complete or are none."""

    def __init__(
        self,
        *,
        model: PreTrainedModel,
        arguments: TrainingArguments,
        rows: TrainingRows,
        collator: PaddingCollator,
        settings: TrainingSettings,
        measure: Callable[[PreTrainedModel], dict[str, float]],
        facts: dict[str, Any],
        peak_flops: float,
        callbacks: list[transformers.TrainerCallback],
    ) -> None:
        super().__init__(
            model=model,
            args=arguments,
            data_collator=collator,
            train_dataset=rows,
            eval_dataset=rows,  # transformers insists on one; `evaluate` measures the validation part instead
            callbacks=callbacks,
        )
        # The display and the metrics file are ours; transformers' printer would write dictionaries between them.
        self.remove_callback(transformers.PrinterCallback)
        self.settings, self.measure, self.facts, self.peak_flops = settings, measure, facts, peak_flops
        self.run = Path(arguments.output_dir)
        self.progress = Progress()
        self.metrics_file = MetricsFile(self.run / "metrics.jsonl")
        self.training_flops_per_token = count_parameters(model.config).training_flops_per_token
        self.router_health = RouterHealth(model, experts(model.config)) if is_mixture(model.config) else None
        self._bases_per_token = torch.from_numpy(rows.encoder.bases_per_token.astype(np.int64))
        self._random_state_at_step_begin: tuple | None = None
        self._clock = time.perf_counter()

    # ---- loss ----

    def compute_loss(
        self, model: nn.Module, inputs: dict, return_outputs: bool = False, num_items_in_batch: Any = None
    ):
        """Mean nats a target token of the whole accumulated batch, plus the balancing loss at its stated weight.

        transformers adds the balancing loss undivided to every micro-batch and multiplies it by the number of
        processes; here it is averaged over both, as the token loss is.
        """
        targets = num_items_in_batch.clamp_min(
            1
        )  # a batch of one-token rows has no target, and must not be 0 / 0
        outputs = model(**inputs, num_items_in_batch=targets)
        token_loss = outputs.loss
        balancing = 0.0
        if getattr(outputs, "aux_loss", None) is not None:
            balancing = self.model.config.router_aux_loss_coef * outputs.aux_loss
            token_loss = token_loss - balancing
        self._count(inputs["labels"], token_loss.detach() * targets)
        loss = (
            token_loss * self.accelerator.num_processes + balancing / self.current_gradient_accumulation_steps
        )
        return (loss, outputs) if return_outputs else loss

    def _count(self, labels: torch.Tensor, nats: torch.Tensor) -> None:
        targets = labels[:, 1:][labels[:, 1:] >= 0]
        bases = int(self._bases_per_token.to(targets.device)[targets].sum())
        self.progress.tokens += len(targets)
        self.progress.bases += bases
        self.progress.tokens_since_log += len(targets)
        self.progress.bases_since_log += bases
        self.progress.nats_since_log += float(nats)

    def training_step(self, model: nn.Module, inputs: dict, num_items_in_batch: Any = None) -> torch.Tensor:
        if self._at_step_begin():
            self._random_state_at_step_begin = _random_state()
            self._progress_at_step_begin = asdict(self.progress)
        loss = super().training_step(model, inputs, num_items_in_batch)
        if not math.isfinite(self.progress.nats_since_log):
            self._refuse_not_finite("training loss")
        return loss

    def _at_step_begin(self) -> bool:
        """Whether the micro-batch about to be computed is the first of its optimizer step: no gradient is there yet."""
        return all(parameter.grad is None for parameter in self.model.parameters())

    def _clip_grad_norm(self, model: nn.Module):
        norm = super()._clip_grad_norm(model)
        if norm is not None and not math.isfinite(float(norm)):
            self._refuse_not_finite("gradient")
        return norm

    def _refuse_not_finite(self, what: str) -> None:
        saved = checkpoints.complete_checkpoints(self.run)
        kept = f"the last checkpoint is {saved[-1].folder}" if saved else "no checkpoint had been written"
        raise NonFiniteLossError(
            f"the {what} is not finite at step {self.state.global_step + 1}; the weights were not touched and {kept}. "
            f"Try a lower training.learning_rate (now {self.settings.learning_rate:g}), a longer "
            "training.warmup_fraction, or training.precision=fp32"
        )

    # ---- optimizer ----

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        if self.settings.optimizer == "adamw":
            return super().create_optimizer(model)
        if self.optimizer is None:
            decayed = set(self.get_decay_parameter_names(self.model))
            self.optimizer = MuonWithAdamW(self.model, self.settings, decayed)
        return self.optimizer

    # ---- measuring and logging ----

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Our own bits per base of the validation part; transformers' eval_loss would contain the balancing loss."""
        self._tick()
        metrics = {f"eval_{name}": value for name, value in self.measure(self.model).items()}
        self._clock = time.perf_counter()  # measuring is not training time
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        is_better = super()._determine_best_metric(metrics, trial)
        if is_better:
            self.state.best_global_step = self.state.global_step
        if self.settings.save_every == "evaluation" or (is_better and self.settings.keep_best):
            self.control.should_save = True
        return is_better

    def _tick(self) -> None:
        now = time.perf_counter()
        self.progress.seconds += now - self._clock
        self._clock = now

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Write a line of metrics.jsonl and pass the same values on to the trackers."""
        if "train_runtime" in logs:
            return  # transformers' summary of the whole run; metrics.jsonl and environment.json say it
        if "loss" in logs:
            logs = self._training_metrics(logs)
        logs = {"step": self.state.global_step, "epoch": self.state.epoch, **logs}
        super().log(logs)
        if self.is_world_process_zero():
            self.metrics_file.append(logs)

    def _training_metrics(self, logs: dict[str, float]) -> dict[str, float]:
        self._tick()
        progress = self.progress
        seconds = progress.seconds - progress.seconds_at_log
        tokens_per_second = progress.tokens_since_log / seconds if seconds > 0 else 0.0
        metrics = {
            "tokens": progress.tokens,
            "bases": progress.bases,
            "seconds": round(progress.seconds, 3),
            "loss_nats_per_token": progress.nats_since_log / max(progress.tokens_since_log, 1),
            "bits_per_base": progress.nats_since_log / math.log(2) / max(progress.bases_since_log, 1),
            "learning_rate": logs["learning_rate"],
            "gradient_norm": logs.get("grad_norm"),
            "tokens_per_second": round(tokens_per_second, 1),
            "mfu": round(self.training_flops_per_token * tokens_per_second / self.peak_flops, 4),
        } | (self.router_health.read() if self.router_health else {})
        progress.nats_since_log, progress.tokens_since_log, progress.bases_since_log = 0.0, 0, 0
        progress.seconds_at_log = progress.seconds
        return metrics

    # ---- checkpoints ----

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Everything that a bitwise resume needs; see `checkpoints` for what makes it complete."""
        self._tick()
        with checkpoints.writing_checkpoint(self.run, self.state.global_step, self.facts) as folder:
            self.save_model(str(folder), _internal_call=True)
            self._save_optimizer_and_scheduler(str(folder))
            self._save_scaler(str(folder))
            self._save_random_and_progress(folder)
            self._store_callback_states()
            self.state.save_to_json(str(folder / "trainer_state.json"))
        checkpoints.delete_old_checkpoints(
            self.run, self.settings.keep_checkpoints, self.state.best_global_step
        )

    def _save_random_and_progress(self, folder: Path) -> None:
        """In the middle of an accumulation, the state is that of its beginning: those micro-batches are made again."""
        now, progress = _random_state(), asdict(self.progress)
        if not self._at_step_begin():
            _set_random_state(self._random_state_at_step_begin)
            progress = self._progress_at_step_begin
        self._save_rng_state(str(folder))
        _set_random_state(now)
        (folder / PROGRESS_FILE).write_text(json.dumps(progress), "utf-8")

    def _store_callback_states(self) -> None:
        exportable = [
            c
            for c in [*self.callback_handler.callbacks, self.control]
            if hasattr(c, "state") and callable(c.state)
        ]
        self.state.stateful_callbacks = {type(callback).__name__: callback.state() for callback in exportable}

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        """Weights and configuration only: transformers would add its arguments as a pickle."""
        self.model.save_pretrained(output_dir, state_dict=state_dict)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        load_weights(self.model, Path(resume_from_checkpoint))
        checkpoint = Path(resume_from_checkpoint)
        self.progress = Progress(**json.loads((checkpoint / PROGRESS_FILE).read_text("utf-8")))
        self.metrics_file.drop_after(
            json.loads((checkpoint / "trainer_state.json").read_text("utf-8"))["global_step"]
        )


def load_weights(model: PreTrainedModel, folder: Path) -> None:
    """Put the weights of `folder` into `model`, every one of them.

    transformers' own resume reads the file as it is, one key an expert, and skips what does not match; reading through
    the model class converts it first.
    """
    loaded = type(model).from_pretrained(
        folder, dtype=torch.float32, local_files_only=True, use_safetensors=True
    )
    model.load_state_dict(loaded.state_dict(), strict=True)


def _random_state() -> tuple:
    return random.getstate(), np.random.get_state(), torch.random.get_rng_state()


def _set_random_state(state: tuple) -> None:
    random.setstate(state[0])
    np.random.set_state(state[1])
    torch.random.set_rng_state(state[2])
