"""Examples for a picture: surprisal base by base at three places of the held-out part."""

import numpy as np

from primase.evaluation.sample import Sample
from primase.results import Locus

LOCUS_BASES = 1_000


def choose_loci(
    sample: Sample,
    advantage: np.ndarray,
    model: list[np.ndarray],
    markov: list[np.ndarray] | None,
    copying: list[np.ndarray] | None,
) -> list[Locus]:
    """Three loci: the middles of the cells where the model's advantage is the median, the greatest and the least.

    `advantage` float64 [cells]: bits per base by which the model is better than its rival. The others are bits, float
    [bases] of each stretch. Fewer than three cells of LOCUS_BASES give fewer loci.
    """
    # The extremes of means are those of short cells, of which there is little to see.
    long = np.flatnonzero(sample.lengths >= min(LOCUS_BASES, sample.lengths.max()))
    order = long[np.argsort(advantage[long], kind="stable")]
    chosen = dict.fromkeys((int(order[len(order) // 2]), int(order[-1]), int(order[0])))
    stretch_of_cell = np.repeat(np.arange(len(sample.stretches)), [len(cells) for cells in sample.cell_bases])
    ends = np.concatenate([np.cumsum(cells) for cells in sample.cell_bases])
    return [
        _locus(sample, int(stretch_of_cell[cell]), int(ends[cell]), int(sample.lengths[cell]), model, markov, copying)
        for cell in chosen
    ]


def _locus(
    sample: Sample,
    stretch: int,
    end: int,
    bases: int,
    model: list[np.ndarray],
    markov: list[np.ndarray] | None,
    copying: list[np.ndarray] | None,
) -> Locus:
    length = min(bases, LOCUS_BASES)
    start = end - bases + (bases - length) // 2
    place = sample.places[stretch]

    def cut(bits: list[np.ndarray] | None) -> list[float] | None:
        if bits is None:
            return None
        return [round(float(value), 3) for value in np.nan_to_num(bits[stretch][start : start + length])]

    return Locus(
        record=place.record,
        start=place.start + start,
        sequence=sample.stretches[stretch][start : start + length].tobytes().decode("ascii"),
        model_bits=cut(model),
        markov_bits=cut(markov),
        copy_bits=cut(copying),
    )
