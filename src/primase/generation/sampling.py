"""From logits to a token: temperature, top-k, top-p, and one uniform number a token from the row's own stream."""

from dataclasses import dataclass

import torch

from primase.errors import InputError

LEAST_TEMPERATURE = 1e-6
"""Logits divided by far smaller ones are infinite, and no token has a probability."""


@dataclass(frozen=True)
class Sampling:
    """How a token is drawn, in the order of transformers: temperature, top-k, top-p (Holtzman et al. 2020)."""

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        if not LEAST_TEMPERATURE <= self.temperature < float("inf"):
            raise InputError(
                f"temperature {self.temperature:g}: must be {LEAST_TEMPERATURE:g} or more, and finite; top-k 1 gives "
                "the likeliest tokens"
            )
        if self.top_k is not None and self.top_k < 1:
            raise InputError(f"top-k {self.top_k}: must be 1 or more")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise InputError(f"top-p {self.top_p:g}: must be above 0 and at most 1")

    def draw(self, logits: torch.Tensor, penalties: torch.Tensor | None, uniform: torch.Tensor) -> torch.Tensor:
        """int64 [rows]: the token of each row of `logits` fp32 [rows, tokens], which `uniform` fp64 [rows] picks.

        `penalties` fp64 [rows, tokens] are added behind the temperature and before top-k and top-p: -inf is never
        drawn. By inversion of the cumulative distribution in fp64, so that a row's draw needs nothing but its own.
        """
        scores = logits.double()
        if self.temperature != 1:
            scores = scores / self.temperature
        if penalties is not None:
            scores = scores + penalties
        if self.top_k is not None and self.top_k < scores.shape[1]:
            least = scores.topk(self.top_k, dim=1).values[:, -1:]
            scores = scores.masked_fill(scores < least, -torch.inf)
        probabilities = torch.softmax(scores, dim=1)
        if self.top_p is not None and self.top_p < 1:
            probabilities = self._nucleus(probabilities)
        cumulative = probabilities.cumsum(dim=1)
        total = cumulative[:, -1]
        # Below the total whatever the rounding, so that the token found has a probability above zero.
        target = torch.minimum(uniform * total, torch.nextafter(total, torch.zeros_like(total)))
        return torch.searchsorted(cumulative, target[:, None], right=True)[:, 0]

    def _nucleus(self, probabilities: torch.Tensor) -> torch.Tensor:
        """The likeliest tokens that together reach top-p; the others get 0."""
        ordered, order = probabilities.sort(dim=1, descending=True, stable=True)
        is_reached = ordered.cumsum(dim=1) - ordered >= self.top_p
        return probabilities.masked_fill(is_reached.gather(1, order.argsort(dim=1)), 0.0)
