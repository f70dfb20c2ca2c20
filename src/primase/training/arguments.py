"""The training section of a recipe in the words of transformers."""

import math
from pathlib import Path

import torch
from transformers import TrainingArguments

from primase.recipe import Recipe


def training_arguments(
    recipe: Recipe,
    run: Path,
    *,
    steps: int,
    precision: str,
    device: torch.device,
    accumulation_steps: int | None = None,
    may_leave_out: bool = False,
) -> TrainingArguments:
    """Arguments for `steps` optimizer steps that write into the folder `run`.

    `accumulation_steps`: those of each process, where several share a step. `may_leave_out`: whether a pass may leave
    out parameters, as one does that chooses none of some expert's tokens.
    """
    settings = recipe.training
    save_every = settings.save_every
    if save_every == "evaluation":  # the trainer saves after its measurements itself; without any, each epoch
        save_every = "epoch" if settings.evaluate_every == "never" else "never"
    arguments = TrainingArguments(
        output_dir=str(run),
        seed=recipe.seed,
        data_seed=recipe.seed,
        max_steps=steps,
        per_device_train_batch_size=settings.rows_per_batch,
        gradient_accumulation_steps=accumulation_steps or settings.accumulation_steps,
        learning_rate=settings.learning_rate,
        lr_scheduler_type={"constant": "constant_with_warmup"}.get(settings.schedule, settings.schedule),
        warmup_steps=math.ceil(settings.warmup_fraction * steps),
        weight_decay=settings.weight_decay,
        adam_beta2=settings.beta2,
        max_grad_norm=settings.max_gradient_norm,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        use_cpu=device.type == "cpu",
        eval_strategy=_strategy(settings.evaluate_every),
        eval_steps=settings.evaluate_every if isinstance(settings.evaluate_every, int) else None,
        save_strategy=_strategy(save_every),
        save_steps=save_every if isinstance(save_every, int) else 500,  # 500 is ignored, but must be a number
        logging_steps=settings.log_every,
        logging_nan_inf_filter=False,
        dataloader_pin_memory=device.type == "cuda",
        disable_tqdm=True,
        ddp_find_unused_parameters=may_leave_out,
        report_to=list(settings.report_to) or "none",
    )
    # One process drives one GPU: nn.DataParallel would hand the loss a tensor a GPU.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def _strategy(every: int | str) -> str:
    return {"never": "no", "epoch": "epoch"}.get(every, "steps")
