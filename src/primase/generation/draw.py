"""Batches of sequences drawn from a model: plans in, text out, again where a constraint could not be met."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from primase.errors import InputError
from primase.generation.constraints import Constraints, Plan
from primase.generation.decoding import Decoder, capacity_tokens, context_of
from primase.generation.rows import Rows
from primase.generation.sampling import Sampling
from primase.generation.vocabulary import TokenSteps, Vocabulary
from primase.scoring import LoadedModel

MOST_ATTEMPTS = 20

ANY_LENGTH = -1
"""The group of sequences that never fill the context: padding may stand before them."""


@dataclass(frozen=True)
class Drawn:
    """One sequence as it came out."""

    text: bytes
    plan: Plan
    attempts: int


@dataclass(frozen=True)
class _Task:
    number: int
    prompt: bytes
    attempt: int


class Drawer:
    """Draws sequences. Each has a random stream of its own, from the seed, its number and the attempt."""

    def __init__(self, loaded: LoadedModel, constraints: Constraints, sampling: Sampling, seed: int) -> None:
        self._loaded, self._constraints, self._sampling, self._seed = loaded, constraints, sampling, seed
        self._vocabulary = Vocabulary(loaded.encoder)
        self._steps = TokenSteps(self._vocabulary, constraints.sites)
        self._ids = torch.from_numpy(self._vocabulary.ids).to(loaded.model.device)
        usual = self._vocabulary.fitting(self._vocabulary.longest)
        bias = torch.from_numpy(np.where(usual, 0.0, -np.inf)).to(self._ids.device)
        self._usual = None if usual.all() else bias.expand(1, -1)

    def draw(
        self, prompts: Sequence[bytes], batch_sequences: int, progress: Callable[[int], None] = lambda done: None
    ) -> list[Drawn]:
        """One sequence for each prompt (A, C, G, T; may be empty), in order.

        Raises InputError where one does not meet the constraints in MOST_ATTEMPTS draws.
        """
        drawn: list[Drawn | None] = [None] * len(prompts)
        tasks = [_Task(number, prompt, 1) for number, prompt in enumerate(prompts)]
        done = 0
        while tasks:
            failed = []
            for batch in self._batches(tasks, batch_sequences):
                for (task, plan, _), text in zip(batch, self._draw_batch(batch), strict=True):
                    if text is None:
                        failed.append(_Task(task.number, task.prompt, task.attempt + 1))
                    else:
                        drawn[task.number] = Drawn(text, plan, task.attempt)
                        done += 1
                progress(done)
            tasks = failed
            if tasks and tasks[0].attempt > MOST_ATTEMPTS:
                raise InputError(
                    f"sequence {tasks[0].number + 1}: no draw met all constraints in {MOST_ATTEMPTS} attempts; widen "
                    "the GC range, forbid fewer sites, or raise top-k or top-p"
                )
        return drawn

    def _batches(
        self, tasks: list[_Task], batch_sequences: int
    ) -> Iterator[list[tuple[_Task, Plan, np.random.Generator]]]:
        """Tasks that can grow together: of equal length, or so short that none fills its context."""
        groups: dict[int, list] = {}
        for task in tasks:
            stream = np.random.default_rng([self._seed, task.number, task.attempt])
            plan = self._constraints.plan(task.prompt, self._loaded.encoder, self._vocabulary.longest, stream)
            tokens = len(context_of(self._loaded, self._loaded.encoder.encode(plan.given))) if plan.given else 0
            fits = tokens + self._most_tokens(plan) < capacity_tokens(self._loaded)
            groups.setdefault(ANY_LENGTH if fits else tokens, []).append((task, plan, stream))
        for tokens, group in sorted(groups.items()):
            if tokens == ANY_LENGTH:
                group.sort(key=lambda entry: len(entry[1].given))
            for first in range(0, len(group), batch_sequences):
                yield group[first : first + batch_sequences]

    def _most_tokens(self, plan: Plan) -> int:
        k = self._loaded.encoder.regular_k or 1
        return len(plan.sets) // k + k

    @torch.inference_mode()
    def _draw_batch(self, batch: list[tuple[_Task, Plan, np.random.Generator]]) -> list[bytes | None]:
        """The text of each sequence, or None where it came to a dead end."""
        plans = [plan for _, plan, _ in batch]
        starts = [
            context_of(self._loaded, self._loaded.encoder.encode(plan.given)) if plan.given else np.empty(0, np.int64)
            for plan in plans
        ]
        most_draws = max(len(plan.sets) for plan in plans)
        uniforms = torch.from_numpy(np.stack([stream.random(most_draws) for _, _, stream in batch]))
        rows = Rows(self._vocabulary, self._constraints, self._steps, plans)
        decoder = Decoder(self._loaded, starts, max(map(len, starts)) + max(map(self._most_tokens, plans)))
        chosen = []
        model, was_training = self._loaded.model, self._loaded.model.training
        model.eval()
        try:
            while rows.active.any():
                tokens = self._next(decoder, rows, uniforms[:, len(chosen)].to(self._ids.device))
                decoder.append(self._ids[tokens])
                chosen.append(tokens.cpu().numpy())
                rows.accept(chosen[-1])
        finally:
            model.train(was_training)
        return self._texts(plans, rows, np.stack(chosen, axis=1))

    def _next(self, decoder: Decoder, rows: Rows, uniform: torch.Tensor) -> torch.Tensor:
        """int64 [rows]: the next token of each, as its number in the vocabulary."""
        logits = decoder.logits()
        if logits is None:  # no start token and no prompt: each token alike
            logits = torch.zeros(len(uniform), self._loaded.model.config.vocab_size, device=uniform.device)
        logits = logits[:, self._ids]
        steers = self._constraints.gc is not None
        penalties = rows.penalties(torch.softmax(logits, dim=1) if steers else None)
        added = self._usual if penalties is None else torch.from_numpy(penalties).to(self._ids.device)
        return self._sampling.draw(logits, added, uniform)

    def _texts(self, plans: list[Plan], rows: Rows, chosen: np.ndarray) -> list[bytes | None]:
        texts: list[bytes | None] = []
        for plan, failed, tokens in zip(plans, rows.failed, chosen, strict=True):
            spelled = b"".join(self._vocabulary.spelled[token] for token in tokens)
            texts.append(None if failed else plan.given + spelled[: plan.end] + plan.right_flank)
        return texts
