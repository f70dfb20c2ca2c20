"""The verdict in one sentence: which rivals are beaten, by how many millibits, and whether chance could explain it."""

from collections.abc import Sequence

import numpy as np

from primase.results import FEWEST_BLOCKS, Ensemble, Estimate, Rival

GUESSING = 2.0
"""Bits per base of whoever knows nothing."""


def verdict(
    headline: Estimate,
    rivals: list[Rival],
    by_order: np.ndarray | None,
    blocks: int,
    ensembles: Sequence[Ensemble] = (),
) -> str:
    """One sentence over the rivals that count: Markov models and the copy mixture, or guessing where there are none.

    Then what the model adds to the copy mixture, where `ensembles` has both together. `by_order`: bits per base of
    every Markov order. `blocks`: how many the intervals resampled.
    """
    of_kind = {rival.kind: rival for rival in rivals}
    said = []
    if by_order is not None:
        said.append(_against_counting(headline, of_kind["markov"], by_order, blocks))
    if "copy-mixture" in of_kind:
        said.append(_against(of_kind["copy-mixture"], "the copy mixture", blocks))
    is_beside_guessing = not said
    if is_beside_guessing:
        said.append(_against(of_kind["uniform"], "uniform guessing", blocks))
    if headline.bits_per_base > GUESSING and not is_beside_guessing:
        said.append("it is worse than guessing")
    for ensemble in ensembles:
        if ensemble.kind == "with-copy-mixture":
            said += [_added(ensemble, rival, blocks) for rival in ensemble.rivals if rival.kind == "copy-mixture"]
    return "; ".join(said)


def _against_counting(headline: Estimate, best: Rival, by_order: np.ndarray, blocks: int) -> str:
    beaten = [order for order, bits in enumerate(by_order) if headline.bits_per_base < bits]
    margin = _margin(best, blocks)
    if len(beaten) == len(by_order):
        orders = f"all Markov models of order 0 to {len(beaten) - 1}" if len(beaten) > 1 else "the Markov model"
        return f"beats {orders}, the best of them (order {np.argmin(by_order)}) by {margin}"
    some = f"it beats {ranges(beaten)}" if beaten else "it beats no order"
    return f"does not beat counting: the best Markov model (order {np.argmin(by_order)}) is better by {margin}; {some}"


def _against(rival: Rival, name: str, blocks: int) -> str:
    margin = _margin(rival, blocks)
    if rival.model_advantage_millibits > 0:
        return f"beats {name} by {margin}"
    return f"does not beat {name}, which is better by {margin}"


def _added(ensemble: Ensemble, rival: Rival, blocks: int) -> str:
    what = "better" if rival.model_advantage_millibits > 0 else "worse"
    margin = _margin(rival, blocks)
    return f"with the copy mixture it reaches {ensemble.figure.bits_per_base:.4f}, {what} than that mixture by {margin}"


def _margin(rival: Rival, blocks: int) -> str:
    certainty = "the interval includes zero" if rival.low <= 0 <= rival.high else "the interval excludes zero"
    if blocks < FEWEST_BLOCKS:
        certainty = f"from {blocks} stretch{'es' if blocks > 1 else ''} of the genome, too few for an interval"
    return f"{abs(rival.model_advantage_millibits):.1f} millibits a base ({certainty})"


def ranges(orders: list[int]) -> str:
    """Orders as text: 'order 0-5 and 12-16'."""
    runs: list[list[int]] = []
    for order in orders:
        if runs and order == runs[-1][-1] + 1:
            runs[-1].append(order)
        else:
            runs.append([order])
    return "order " + " and ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
