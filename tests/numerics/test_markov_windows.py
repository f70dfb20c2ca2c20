"""The Markov rivals on real human windows: the figures that a neural model is measured against.

Windows of 201 bases, the first 8,000 to train on and the last 2,000 held out. A rival that gets weaker than this
flatters every model, so the figures are pinned; one that gets better should have its figures moved.
"""

import gzip

import numpy as np
import pytest

from primase.evaluation.markov import MarkovModels

pytestmark = pytest.mark.data

TOLERANCE_BITS = 0.002


def human_windows(shared_data, name: str) -> list[np.ndarray]:
    with gzip.open(shared_data / "windows" / f"SNP{name}_ref_201b.fasta.gz", "rb") as file:
        entries = file.read().split(b">")[1:]
    sequences = [b"".join(entry.splitlines()[1:]) for entry in entries]
    return [np.frombuffer(sequence, dtype=np.uint8) for sequence in sequences]


@pytest.mark.parametrize(
    ("name", "both_strands", "expected_by_order"),
    [
        ("intron", True, {6: 1.8805, 12: 1.8143, 16: 1.8100}),
        ("intron", False, {6: 1.8829, 12: 1.827}),
        ("exon", False, {12: 1.9123}),
        ("exon", True, {6: 1.9239, 12: 1.9070, 16: 1.9001}),
    ],
)
def test_bits_per_base_of_held_out_windows(shared_data, name, both_strands, expected_by_order):
    windows = human_windows(shared_data, name)
    assert len(windows) == 10_000 and {window.size for window in windows} == {201}
    highest = max(expected_by_order)
    models = MarkovModels.fit(windows[:8000], max_order=highest, both_strands=both_strands)
    score = models.score(windows[8000:])
    assert score.bases.sum() == 2000 * 201
    found = {order: score.bits_per_base[order] for order in expected_by_order}
    assert found == pytest.approx(expected_by_order, abs=TOLERANCE_BITS)
    assert score.best_order == highest
