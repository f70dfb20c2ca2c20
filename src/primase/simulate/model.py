"""The source that a genome is drawn from: a stationary autoregressive hidden Markov model.

A hidden state emits one base, given the previous `order` bases, and moves on, whatever was emitted.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from primase.errors import InputError

MAX_CONTEXT_STEPS = 10_000
TOLERANCE = 1e-9
RELATIVE_CHANGE = 1e-15  # a few units in the last place of a float64


@dataclass(frozen=True, eq=False)
class GenomeModel:
    """States, transitions and emissions; everything else follows from them.

    A context is the previous `order` bases as a number in base 4, the nearest base in the last digit (A 0, C 1,
    G 2, T 3). Every state must be reachable from every other.

    labels: what each state stands for, [states].
    transitions: float64 [states, states], rows sum to 1.
    emissions: float64 [states, 4**order contexts, 4 bases], the last axis sums to 1.
    soft_masked: bool [states], whether the bases of a state are written in lower case.

    Raises InputError where shapes disagree or probabilities do not sum to 1; `stationary`, and all that needs it,
    where there is no single stationary distribution.
    """

    order: int
    labels: tuple[str, ...]
    transitions: np.ndarray
    emissions: np.ndarray
    soft_masked: np.ndarray

    def __post_init__(self) -> None:
        states = len(self.labels)
        shapes = {
            "transitions": (states, states),
            "emissions": (states, self.contexts, 4),
            "soft_masked": (states,),
        }
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise InputError(f"genome model: {name} has shape {getattr(self, name).shape}; give {shape}")
        for name in ("transitions", "emissions"):
            rows = getattr(self, name)
            if (rows < 0).any() or not np.allclose(rows.sum(axis=-1), 1, rtol=0, atol=TOLERANCE):
                raise InputError(f"genome model: a row of {name} is no distribution; let it sum to 1")

    @property
    def states(self) -> int:
        return len(self.labels)

    @property
    def contexts(self) -> int:
        return 4**self.order

    @cached_property
    def stationary_states(self) -> np.ndarray:
        """Share of the bases that each state emits in a long genome, float64 [states]."""
        balance = self.transitions.T - np.eye(self.states)
        balance[-1] = 1.0  # one equation follows from the others; in its place: the shares sum to 1
        try:
            share = np.linalg.solve(balance, np.eye(self.states)[-1]).clip(min=0)
        except np.linalg.LinAlgError as error:
            raise InputError("genome model: a state cannot be reached from the others; join them") from error
        return share / share.sum()

    @cached_property
    def stationary(self) -> np.ndarray:
        """Joint probability of a base's state and of the context before it, float64 [states, contexts].

        The states' shares are exact from the start, so the iteration has only the contexts to settle: as fast as
        the emitted text forgets its first base, not as fast as the states mix.
        """
        joint = np.repeat(self.stationary_states[:, None] / self.contexts, self.contexts, axis=1)
        for _ in range(MAX_CONTEXT_STEPS):
            words = (joint[:, :, None] * self.emissions).reshape(self.states, 4, self.contexts)
            # A word is a context and its base; without its first letter it is the next context.
            moved = self.advance(words.sum(axis=1).T).T
            moved /= moved.sum()
            change, joint = np.abs(moved - joint).max(), moved
            if change <= RELATIVE_CHANGE * joint.max():
                return joint
        raise InputError("genome model: its contexts never settle, since its text is periodic")

    def advance(self, mass: np.ndarray) -> np.ndarray:
        """`mass @ transitions` for mass [..., states], at the cost of the chains' length instead of its square.

        Nearly all states have one successor, the state after them: that part is a shift.
        """
        onward, exits, entries, jumps = self._sparse_transitions
        moved = np.empty_like(mass)
        moved[..., 0] = 0.0
        np.multiply(mass[..., :-1], onward, out=moved[..., 1:])
        moved[..., entries] += mass[..., exits] @ jumps
        return moved

    @cached_property
    def _sparse_transitions(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The superdiagonal, and the states from which, to which and how likely the other transitions are."""
        onward = np.diag(self.transitions, 1)
        other = self.transitions - np.diag(onward, 1)
        exits, entries = np.flatnonzero(other.any(axis=1)), np.flatnonzero(other.any(axis=0))
        return onward, exits, entries, other[np.ix_(exits, entries)]
