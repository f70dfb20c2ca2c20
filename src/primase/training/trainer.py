"""The one seam to transformers.Trainer: what it gets wrong for this work is mended here, and nowhere else.

Mended: resume of expert models (huggingface/transformers issue 48805) and of runs that are over, the weight of the
balancing loss under accumulation and several processes, losses that are not finite, half-written checkpoints, and
losses in nats that no other tokenizer can be compared with.
"""

import copy
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from accelerate.data_loader import prepare_data_loader
from torch import nn
from transformers import PreTrainedModel, TrainingArguments

from primase import processes
from primase.corpus.rows import IGNORED_LABEL, PaddingCollator, StepBatches, TrainingRows, next_tokens
from primase.errors import CheckpointError, NonFiniteLossError
from primase.models.build import count_parameters, experts
from primase.models.compiling import prepare_layers, uncompiled
from primase.models.losses import batch_nats
from primase.models.packing import packed
from primase.recipe import TrainingSettings
from primase.training import checkpoints, explosion, optimizers, sharding
from primase.training.metrics import MetricsFile, Progress, RouterHealth
from primase.training.optimizers import MuonWithAdamW
from primase.training.random_state import random_state, set_random_state
from primase.training.time_limit import place_in_schedule
from primase.whole_files import with_usual_modes

PROGRESS_FILE = "progress.json"

Measure = Callable[[PreTrainedModel], dict[str, float] | None]
"""Measures the validation part: `bits_per_base` and what else is to be logged, or None where it was given up."""


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
        measure: Measure,
        facts: dict[str, Any],
        peak_flops: float,
        callbacks: list[transformers.TrainerCallback],
    ) -> None:
        """`facts` are written into every checkpoint; `peak_flops` is what `mfu` refers to."""
        prepare_layers(model, is_compiled=settings.compile == "yes")
        super().__init__(
            model=model,
            args=arguments,
            data_collator=collator,
            train_dataset=rows,
            eval_dataset=rows,  # transformers insists on one; `evaluate` measures the validation part instead
            callbacks=callbacks,
        )
        # As of a model that transformers itself sharded: neither the Trainer nor accelerate wraps it again.
        self.is_distributed_loading_by_transformers = sharding.is_sharded(model)
        # The display and the metrics file are ours; transformers' printer would write dictionaries between them.
        self.remove_callback(transformers.PrinterCallback)
        # The loss is ours: targets are counted for it whatever the model's own loss would accept.
        self.model_accepts_loss_kwargs = self._loss_shifts_labels = True
        self.settings, self.measure, self.facts, self.peak_flops = settings, measure, facts, peak_flops
        self.run = Path(arguments.output_dir)
        self.progress = Progress()
        self.metrics_file = MetricsFile(self.run / "metrics.jsonl")
        self.router_health = RouterHealth(model, experts(model.config))
        self.training_flops_per_token = count_parameters(model.config).training_flops_per_token
        self._bases_per_token = torch.from_numpy(rows.encoder.bases_per_token.astype(np.int64))
        self._at_step_begin: tuple[tuple, Progress, torch.Tensor] | None = None
        self._is_mid_step = False
        self._batches_of_step = 1.0
        self._clock = 0.0
        """When the seconds of training were last counted; set as the training begins."""
        self.seconds_beside = 0.0
        """Of measuring and saving, in this process."""

    # ---- the order of things ----

    def _init_training_state(self, max_steps: int, num_update_steps_per_epoch: int, *rest: Any) -> tuple[int, int]:
        """Find out where the run ends, and whether it was stopped before the measurement due after its newest step."""
        place = super()._init_training_state(max_steps, num_update_steps_per_epoch, *rest)
        self.state.compute_steps(self.args, max_steps)  # the intervals of this run's recipe, not the checkpoint's
        if self.progress.planned_steps != max_steps:  # a fresh run, or one that goes on with other steps
            self.progress.planned_steps, self.progress.shortened = max_steps, []
        elif self.progress.shortened:
            self.state.max_steps = self.progress.shortened[-1][1]
        every, step = self.settings.evaluate_every, self.state.global_step
        if every == "epoch":
            every = num_update_steps_per_epoch
        is_due = every != "never" and step > 0 and (step % every == 0 or step == self.state.max_steps)
        self.args.eval_on_start = is_due and self.progress.measured_step != step
        self._clock = time.perf_counter()
        return place

    def _run_epoch(self, *, epoch: int, **rest: Any) -> None:
        """Nothing where a resumed run is over already: transformers would take one more step before it looks."""
        self.control.should_training_stop |= (
            self.state.global_step >= self.state.max_steps or self._is_out_of_patience()
        )
        if not self.control.should_training_stop:
            self.train_dataset.set_epoch(epoch)  # accelerate forgets to where it skips the rows before a checkpoint
            super()._run_epoch(epoch=epoch, **rest)

    def get_train_dataloader(self) -> torch.utils.data.DataLoader:
        """With batches that are this process's already, and a generator of its own: what it draws as an epoch begins
        would shift the numbers of a resumed run."""
        loader = torch.utils.data.DataLoader(
            self.train_dataset,
            batch_sampler=training_batches(self.train_dataset, self.settings),
            collate_fn=self.data_collator,
            pin_memory=self.args.dataloader_pin_memory,
            generator=torch.Generator(),
        )
        return prepare_data_loader(loader, self.args.device, num_processes=1, process_index=0, put_on_device=True)

    def end_at(self, step: int) -> None:
        """Let the run end at this step, no later than the one that was planned, and its schedule with it."""
        self.progress.shortened = [*self.progress.shortened, (self.state.global_step, step)]
        self.state.max_steps = step
        if self.is_world_process_zero():  # not by `log`, after which transformers forgets a line that is due
            self.metrics_file.append({"step": self.state.global_step, "epoch": self.state.epoch, "last_step": step})

    def _is_out_of_patience(self) -> bool:
        patience = self.settings.patience
        return patience is not None and self.progress.measurements_without_better >= patience

    # ---- loss ----

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict,
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, Any]:
        """Mean nats a target token of the whole accumulated batch, plus the balancing loss at its stated weight.

        transformers adds the balancing loss undivided to every micro-batch and multiplies it by the number of
        processes; here it is averaged over both, as the token loss is. Gradients are averaged over the processes.
        """
        everywhere = self.accelerator.num_processes
        inputs = inputs | {"targets": next_tokens(inputs["labels"])}
        dtype = torch.bfloat16 if self.args.bf16 else self.model.dtype
        with packed(self.model, inputs, IGNORED_LABEL, dtype) as batch:
            labels, targets = batch["labels"], batch["targets"]
            with self.router_health.counting(labels != IGNORED_LABEL):
                nats, outputs = batch_nats(model, batch, IGNORED_LABEL, unwrapped=self.model)
        self._count(targets, nats.detach())
        # A batch of one-token rows has no target, and must not be 0 / 0.
        loss = nats / num_items_in_batch.clamp_min(1) * everywhere
        if getattr(outputs, "aux_loss", None) is not None:
            weight = self.model.config.router_aux_loss_coef * everywhere / self._batches_of_step
            loss = loss + weight * _has_tokens(labels) * outputs.aux_loss
        return (loss, outputs) if return_outputs else loss

    def get_batch_samples(self, *args: Any) -> tuple[list, torch.Tensor | int | None]:
        """Count the micro-batches of the step in all processes, those of padding alone left out."""
        batches, targets = super().get_batch_samples(*args)
        self._batches_of_step = max(1.0, *processes.total(sum(_has_tokens(batch["labels"]) for batch in batches)))
        return batches, targets

    def _count(self, targets: torch.Tensor, nats: torch.Tensor) -> None:
        targets = targets[targets != IGNORED_LABEL]
        own_bases = int(self._bases_per_token.to(targets.device)[targets].sum())
        all_nats, tokens, bases = processes.total(float(nats), len(targets), own_bases)
        self.progress.tokens += int(tokens)
        self.progress.bases += int(bases)
        self.progress.tokens_since_log += int(tokens)
        self.progress.bases_since_log += int(bases)
        self.progress.nats_since_log += all_nats

    def training_step(
        self, model: nn.Module, inputs: dict, num_items_in_batch: torch.Tensor | None = None
    ) -> torch.Tensor:
        if not self._is_mid_step:
            self._at_step_begin = random_state(), copy.copy(self.progress), self.router_health.load.clone()
        loss = super().training_step(model, inputs, num_items_in_batch)
        self._is_mid_step = not self.accelerator.sync_gradients
        if not math.isfinite(self.progress.nats_since_log):
            self._refuse_not_finite("training loss", self.state.global_step + 1)
        return loss

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm)
        # In fp16 an overflow is expected: the gradient scaler skips such a step and lowers its scale.
        norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm  # of shards
        if self.accelerator.scaler is None and not math.isfinite(norm):
            self._refuse_not_finite("gradient", self.state.global_step + 1)
        self._refuse_exploded()
        return norm

    def _refuse_not_finite(self, what: str, step: int) -> None:
        raise NonFiniteLossError(
            f"{self.run}: the {what} is not finite at step {step}; "
            f"{explosion.kept(self.run)}. {explosion.advice(self.run, self.settings)}"
        )

    def _refuse_exploded(self) -> None:
        """Before the optimizer step, as all targets of the step have been counted."""
        before = self._at_step_begin[1]
        tokens = self.progress.tokens_since_log - before.tokens_since_log
        nats = self.progress.nats_since_log - before.nats_since_log
        vocabulary = len(self._bases_per_token)
        if tokens and explosion.note_step(self.progress, nats / tokens, vocabulary):
            step = self.state.global_step + 1
            processes.by_main(lambda: explosion.refuse(self.run, step, vocabulary, self.settings))

    # ---- optimizer ----

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        if self.settings.optimizer == "adamw":
            return super().create_optimizer(model)
        if self.optimizer is None:
            decayed = set(self.get_decay_parameter_names(self.model))
            self.optimizer = MuonWithAdamW(self.model, self.settings, decayed)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, **rest: Any) -> torch.optim.lr_scheduler.LambdaLR:
        """The schedule of the planned steps, which goes by more quickly where the run is shortened."""
        scheduler = super().create_scheduler(num_training_steps, **rest)

        def shortened(factor: Callable[[float], float]) -> Callable[[int], float]:
            return lambda step: factor(place_in_schedule(step, num_training_steps, self.progress.shortened))

        scheduler.lr_lambdas = [shortened(factor) for factor in scheduler.lr_lambdas]
        return scheduler

    # ---- measuring and logging ----

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Our own bits per base of the validation part; transformers' eval_loss would contain the balancing loss."""
        with self._clock_stopped(), uncompiled():
            measured = self.measure(self.model) or {}
        metrics = {f"eval_{name}": value for name, value in measured.items()}
        if measured:
            self.log({"seconds": round(self.progress.seconds, 3), **metrics})
            self._judge(measured["bits_per_base"])
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _judge(self, bits_per_base: float) -> None:
        """Note the best step, and decide whether to save and whether to stop."""
        if not math.isfinite(bits_per_base):
            self._refuse_not_finite("validation loss", self.state.global_step)
        is_better = self.state.best_metric is None or bits_per_base < self.state.best_metric
        if is_better:
            self.state.best_metric, self.state.best_global_step = bits_per_base, self.state.global_step
        self.progress.measured_step = self.state.global_step
        self.progress.measurements_without_better = 0 if is_better else self.progress.measurements_without_better + 1
        self.control.should_save |= self.settings.save_every == "evaluation" or (is_better and self.settings.keep_best)
        self.control.should_training_stop |= self._is_out_of_patience()

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Write a line of metrics.jsonl and pass the same values on to the trackers."""
        if "train_runtime" in logs:
            return  # transformers' summary of the whole run; metrics.jsonl and environment.json say it
        if "loss" in logs:
            logs = self._training_metrics(logs["learning_rate"])
        logs = {"step": self.state.global_step, "epoch": self.state.epoch, **logs}
        super().log(logs)
        self.state.log_history.clear()  # metrics.jsonl has it; each checkpoint would hold all of it again
        if self.is_world_process_zero():
            self.metrics_file.append(logs)

    def _training_metrics(self, learning_rate: float) -> dict[str, float]:
        """Means over the steps since the last line; the rate is that of the first group, Muon's where it is used."""
        self._tick()
        progress = self.progress
        tokens_per_second = progress.tokens_since_log / progress.seconds_since_log
        metrics = {
            "tokens": progress.tokens,
            "bases": progress.bases,
            "seconds": round(progress.seconds, 3),
            "loss_nats_per_token": progress.nats_since_log / max(progress.tokens_since_log, 1),
            "bits_per_base": progress.nats_since_log / math.log(2) / max(progress.bases_since_log, 1),
            "learning_rate": learning_rate,
            "tokens_per_second": round(tokens_per_second, 1),
            "mfu": round(self.training_flops_per_token * tokens_per_second / (self.peak_flops * processes.count()), 6),
        }
        progress.begin_line()
        return metrics | self.router_health.read()

    def _tick(self) -> None:
        now = time.perf_counter()
        self.progress.seconds += now - self._clock
        self.progress.seconds_since_log += now - self._clock
        self._clock = now

    @contextmanager
    def _clock_stopped(self) -> Iterator[None]:
        """Measuring and saving are not training time."""
        self._tick()
        try:
            yield
        finally:
            now = time.perf_counter()
            self.seconds_beside += now - self._clock
            self._clock = now

    # ---- checkpoints ----

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Everything that a bitwise resume needs, gathered from all processes; `checkpoints` makes it complete."""
        step = self.state.global_step
        own = checkpoints.checkpoint_folder(self.run, step)
        with self._clock_stopped():
            # Where one of this step exists it is as good: a measurement made since is made again after a resume.
            if processes.by_main(lambda: checkpoints.read_checkpoint(own) is None):
                if self._is_mid_step:
                    self._go_back_to_step_begin()
                needed = processes.by_main(lambda: checkpoints.bytes_of_state(self.model, self.optimizer))
                random_states = processes.gathered(self._random_state_file())
                whole = self._whole_state()
                self.progress.expert_load_since_log = self.router_health.everywhere().tolist()
                processes.by_main(lambda: self._write_checkpoint(step, needed, random_states, *whole))
            if not self.progress.exploded_steps:  # else the older ones may be needed
                best_step, keep = self.state.best_global_step, self.settings.keep_checkpoints
                processes.by_main(lambda: checkpoints.delete_old_checkpoints(self.run, keep, best_step))

    def _whole_state(self) -> tuple[dict | None, dict | None]:
        """Weights and state of the optimizer where they are in shards, whole in the main process."""
        if self.settings.sharding == "none":
            return None, None
        return sharding.whole_weights(self.model), sharding.whole_optimizer(self.model, self.optimizer.optimizer)

    def _write_checkpoint(
        self,
        step: int,
        bytes_needed: int,
        random_states: list[tuple[str, bytes]],
        weights: dict | None,
        optimizer: dict | None,
    ) -> None:
        self.metrics_file.flush_to_disk()
        with checkpoints.writing_checkpoint(self.run, step, self.facts, bytes_needed) as folder:
            self._save(str(folder), weights)
            self._save_optimizer_and_scheduler(str(folder))
            if optimizer is not None:
                torch.save(optimizer, folder / sharding.OPTIMIZER_FILE)
            self._save_scaler(str(folder))
            for name, content in random_states:
                (folder / name).write_bytes(content)
            self.state.save_to_json(str(folder / "trainer_state.json"))
            self.progress.metrics_lines = self.metrics_file.lines
            self.progress.write(folder / PROGRESS_FILE)

    def _random_state_file(self) -> tuple[str, bytes]:
        """Name and content of the file in which transformers keeps the random state of a process."""
        with tempfile.TemporaryDirectory() as folder:
            self._save_rng_state(folder)
            file = next(Path(folder).iterdir())
            return file.name, file.read_bytes()

    def _go_back_to_step_begin(self) -> None:
        """A run is stopped in the middle of an accumulation: its micro-batches are made again when it is resumed."""
        state, self.progress, self.router_health.load = self._at_step_begin
        set_random_state(state)

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        """Weights and configuration only: transformers would add its arguments as a pickle."""
        self.model.save_pretrained(output_dir, state_dict=state_dict)
        with_usual_modes(Path(output_dir))

    def _load_rng_state(self, checkpoint: str | None) -> None:
        with checkpoints.damage_told(checkpoint, "random states"):
            super()._load_rng_state(checkpoint)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        folder = Path(resume_from_checkpoint)
        sharding.load_weights(self.model, folder)
        self.progress = Progress.read(folder / PROGRESS_FILE)
        load = torch.tensor(self.progress.expert_load_since_log)
        if load.numel() != self.router_health.load.numel():
            raise checkpoints.damaged(folder, f"{PROGRESS_FILE} is of another model")
        if processes.is_main():
            self.router_health.load = load
        processes.by_main(lambda: self.metrics_file.keep(self.progress.metrics_lines))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """Then the settings of this run's recipe again, for a changed one that was accepted."""
        fresh = optimizers.settings_of(self.optimizer)
        with checkpoints.damage_told(checkpoint, "optimizer's state"):
            try:
                self._load_optimizer_state(checkpoint)
            except (ValueError, KeyError) as error:
                raise CheckpointError(
                    f"{checkpoint}: its optimizer is not that of the recipe ({self.settings.optimizer}); restore "
                    "training.optimizer or pretrain again"
                ) from error
        optimizers.restore_settings(self.optimizer, self.lr_scheduler, fresh)

    def _load_optimizer_state(self, checkpoint: str | None) -> None:
        if checkpoint is None or self.settings.sharding == "none":
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        sharding.load_optimizer(self.model, self.optimizer.optimizer, Path(checkpoint))
        self.lr_scheduler.load_state_dict(torch.load(Path(checkpoint) / "scheduler.pt", weights_only=True))

    @contextmanager
    def _defer_fsdp_gradient_reduction(self) -> Iterator[None]:
        """Not at all: gradients of an accumulation would lie whole in every process, and memory is why they do not."""
        yield


def training_batches(rows: TrainingRows, settings: TrainingSettings) -> StepBatches:
    """Those of this process, in a run of as many processes as there are."""
    return StepBatches(
        rows,
        settings.rows_per_batch,
        settings.accumulation_steps,
        process=processes.rank(),
        processes=processes.count(),
    )


def _has_tokens(labels: torch.Tensor) -> bool:
    return bool((labels != IGNORED_LABEL).any())
