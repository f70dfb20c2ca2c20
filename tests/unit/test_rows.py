"""Training rows: every base is seen, strands and shifts are drawn by the seed, padding stays out of the loss."""

from itertools import chain

import numpy as np
import pytest
import torch

from primase.corpus.prepare import prepare
from primase.corpus.rows import IGNORED_LABEL, PaddingCollator, StepBatches, TrainingRows
from primase.dna import reverse_complement
from primase.recipe import Recipe
from primase.sequence_encoder import SequenceEncoder
from primase.tokenizers import load_tokenizer


@pytest.fixture
def make_rows(tmp_path):
    rng = np.random.default_rng(0)
    text = "".join(rng.choice(list("ACGT"), 6000))
    (tmp_path / "g.fa").write_text(f">chr1\n{text}\n")

    def make(window_bases: int, row_tokens: int, **overrides) -> TrainingRows:
        settings = {"data.window_bases": window_bases, "training.strands": "forward", "training.shift_rows": False}
        recipe = Recipe.load("default", settings | {key.replace("__", "."): value for key, value in overrides.items()})
        corpus = prepare([tmp_path / "g.fa"], tmp_path / "corpus", recipe, overwrite=True)
        encoder = SequenceEncoder(load_tokenizer(corpus.folder / "tokenizer"))
        return TrainingRows(corpus, "train", encoder, recipe.training, row_tokens, recipe.seed)

    return make


def spelled(rows: TrainingRows) -> list[str]:
    return [rows.encoder.decode(rows[i][1:].numpy()).decode() for i in range(len(rows))]


def train_text(rows: TrainingRows) -> list[str]:
    return [window.tobytes().decode() for window in rows.corpus.iterate(rows.windows)]


@pytest.mark.parametrize("kind", ["base", "kmer", "byte-pair"])
@pytest.mark.parametrize("row_tokens", [17, 400])
def test_unshifted_rows_spell_the_training_windows_exactly(make_rows, kind, row_tokens):
    rows = make_rows(200, row_tokens, tokenizer__kind=kind, tokenizer__vocabulary_tokens=64)
    assert "".join(spelled(rows)) == "".join(train_text(rows))
    assert all(rows[i][0] == rows.encoder.prefix_ids[0] for i in range(len(rows)))
    assert max(len(rows[i]) for i in range(len(rows))) <= row_tokens


def test_random_strands_give_both_strands_and_change_with_the_epoch(make_rows):
    rows = make_rows(200, 400, training__strands="random")
    forward = train_text(rows)
    seen = []
    for epoch in (0, 1):
        rows.set_epoch(epoch)
        seen.append([text == window for text, window in zip(spelled(rows), forward, strict=True)])
        for text, window in zip(spelled(rows), forward, strict=True):
            assert text in (window, reverse_complement(window))
    assert seen[0] != seen[1] and 0 < sum(seen[0]) < len(forward)


@pytest.mark.parametrize("kind", ["kmer", "byte-pair"])
def test_rows_of_one_strand(make_rows, kind):
    rows = make_rows(200, 400, training__strands="random", tokenizer__kind=kind, tokenizer__vocabulary_tokens=64)
    drawn, forward = spelled(rows), train_text(rows)
    assert spelled(rows.of_strand(is_reversed=False)) == forward
    assert spelled(rows.of_strand(is_reversed=True)) == [reverse_complement(window) for window in forward]
    assert spelled(rows) == drawn, "the rows themselves stay as they are"


def test_shifted_rows_show_every_frame_and_stay_inside_their_window(make_rows):
    rows = make_rows(1000, 34, training__shift_rows=True)
    windows = train_text(rows)
    frames = set()
    for epoch in range(12):
        rows.set_epoch(epoch)
        for text in spelled(rows):
            place = [window.find(text) for window in windows if text in window]
            assert place, "a row must be a stretch of a training window"
            frames.add(place[0] % 3)
    assert frames == {0, 1, 2}


def test_a_row_depends_on_its_index_and_epoch_only(make_rows):
    rows = make_rows(1000, 34, training__shift_rows=True, training__strands="random")
    rows.set_epoch(3)
    forwards = [rows[i].tolist() for i in range(len(rows))]
    backwards = [rows[i].tolist() for i in reversed(range(len(rows)))]
    assert forwards == backwards[::-1]


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_is_masked_and_not_a_target(side):
    batch = PaddingCollator(3, side)([torch.tensor([1, 5, 6, 7]), torch.tensor([1, 8])])
    short = [3, 3, 1, 8] if side == "left" else [1, 8, 3, 3]
    assert batch["input_ids"].tolist() == [[1, 5, 6, 7], short]
    assert batch["attention_mask"][1].tolist() == [int(token != 3) for token in short]
    assert batch["labels"][1].tolist() == [IGNORED_LABEL if token == 3 else token for token in short]


def test_equal_rows_need_no_mask():
    assert "attention_mask" not in PaddingCollator(3, "right")([torch.tensor([1, 5]), torch.tensor([1, 8])])


def test_a_step_has_rows_from_everywhere_and_its_batches_rows_of_like_length(make_rows):
    rows = make_rows(200, 400, tokenizer__kind="byte-pair", tokenizer__vocabulary_tokens=64)
    sampler, tokens = StepBatches(rows, 4, 2), np.array([len(rows[i]) for i in range(len(rows))])
    orders = []
    for epoch in (0, 0, 1):
        rows.set_epoch(epoch)
        batches = list(sampler)
        assert len(batches) == len(sampler) and {len(batch) for batch in batches[:-1]} == {4}
        orders.append([row for batch in batches for row in batch])
    assert orders[0] == orders[1] != orders[2]
    steps = [[order[first : first + 8] for first in range(0, len(order), 8)] for order in orders]
    assert sorted(orders[0]) == sorted(orders[2]) == list(range(len(rows)))
    assert {tuple(sorted(step)) for step in steps[0]} != {tuple(sorted(step)) for step in steps[2]}
    assert np.std([np.mean(step) for step in steps[0][:-1]]) < len(rows) / 4, "not neighbours of the genome"
    for step in steps[0]:
        assert (np.diff(tokens[step]) <= 0).all()


@pytest.mark.parametrize("kind", ["kmer", "byte-pair"])
def test_the_lengths_of_rows_are_known_beforehand(make_rows, kind):
    rows = make_rows(200, 17, tokenizer__kind=kind, tokenizer__vocabulary_tokens=64)
    per_token = 3 if kind == "kmer" else 1
    tokens = [len(rows[i]) - len(rows.encoder.prefix_ids) for i in range(len(rows))]
    lengths = rows.lengths()
    # What is left of a window beyond its last k-mer is spelled in single bases.
    assert all(abs(length - per_token * count) <= 4 for length, count in zip(lengths, tokens, strict=True))
    assert len(set(lengths.tolist())) > 1


@pytest.mark.parametrize("batches_per_step", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("processes", [2, 3, 4])
def test_processes_share_the_rows_of_each_step(make_rows, batches_per_step, processes):
    """The rows of a step are those of one process, and all processes have equally many micro-batches of it."""
    rows = make_rows(200, 400)
    whole = StepBatches(rows, 4, batches_per_step)
    shares = [
        StepBatches(rows, 4, batches_per_step, process=process, processes=processes) for process in range(processes)
    ]
    dealt = [list(share) for share in shares]
    assert {len(share) for share in shares} == {len(batches) for batches in dealt} == {len(shares[0])}
    assert max(len(batch) for batches in dealt for batch in batches) <= 4
    expected, per_step = list(whole), shares[0].accumulation_steps
    steps = -(-len(expected) // batches_per_step)
    assert steps == -(-len(shares[0]) // per_step)
    for step in range(steps):
        of_step = expected[step * batches_per_step : (step + 1) * batches_per_step]
        ours = [batch for batches in dealt for batch in batches[step * per_step : (step + 1) * per_step]]
        assert sorted(chain(*ours)) == sorted(chain(*of_step))
        if batches_per_step % processes == 0:
            assert sorted(batch for batch in ours if batch) == sorted(of_step)


def test_a_batch_of_no_rows_is_out_of_the_loss():
    batch = PaddingCollator(3, "right")([])
    assert batch["input_ids"].tolist() == [[3, 3]] and set(batch["labels"].flatten().tolist()) == {IGNORED_LABEL}
    assert "attention_mask" not in batch
