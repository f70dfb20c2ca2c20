"""Scores of variants against a plain loop: each window a row of its own, in a forward pass of its own."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast

from primase import dna
from primase.base_predictions import predict_bases
from primase.errors import ModelError
from primase.formats import Genome
from primase.scoring import LoadedModel, score_windows
from primase.sequence_encoder import SequenceEncoder
from primase.variants.changes import Change, change_of, random_likes
from primase.variants.edits import Edit, EditedWindow, plain_edit_nats, token_edit_nats
from primase.variants.layout import Layout, layout_for
from primase.variants.shared_passes import SharedPasses
from primase.variants.strands import StrandScorer
from tests.models import tiny_model, uniform_model
from tests.numerics.test_base_predictions import byte_pair_model, sequence

MODELS = {
    "k1": lambda: tiny_model(k=1, context_tokens=256),
    "k3": lambda: tiny_model(k=3, context_tokens=100),
    "byte pairs": byte_pair_model,
    "experts": lambda: tiny_model("mixtral-1m", k=2, context_tokens=128, num_local_experts=4),
}


@pytest.fixture(params=MODELS)
def loaded(request) -> LoadedModel:
    return MODELS[request.param]()


def write_genome(file: Path, records: dict[str, np.ndarray]) -> Path:
    file.write_text("".join(f">{name}\n{bases.tobytes().decode()}\n" for name, bases in records.items()))
    return file


def nats_of(loaded: LoadedModel, text: bytes, bases: int) -> float:
    """ln p of the first bases of a text, one forward pass at a time."""
    letters = np.frombuffer(text, np.uint8)
    (predictions,) = predict_bases(loaded, [letters])
    places = [place for place in range(min(bases, len(text))) if text[place] in b"ACGT"]
    return sum(float(np.log(np.float64(predictions[place, b"ACGT".index(text[place])]))) for place in places)


def in_a_loop(loaded: LoadedModel, genome: bytes, change: Change, layout: Layout, strand: int) -> float:
    """ln p(changed) - ln p(reference) of one change, from the definition on the page."""
    start, end, letters = change.start, change.end, change.letters
    if strand:
        genome = dna.reverse_complement(genome)
        start, end, letters = len(genome) - end, len(genome) - start, dna.reverse_complement(letters)
    cell = start - start % layout.cell_bases
    begin, stop = max(cell - layout.before_bases, 0), cell - layout.before_bases + layout.window_bases
    window = genome[begin:stop]
    changed = window[: start - begin] + letters + window[end - begin :]
    priced = min(end - begin + layout.after_bases, len(window))
    longer = len(letters) - (end - start)
    return nats_of(loaded, changed, priced + longer) - nats_of(loaded, window, priced)


ALLELES = [
    (40, "snv"),
    (41, "mnv"),
    (55, "insertion"),
    (90, "deletion"),
    (91, "both"),
    (0, "snv"),
    (1, "deletion"),
    (299, "snv"),
    (295, "insertion"),
    (152, "snv"),
]


def changes_of(genome: Genome, letters: bytes, layout: Layout) -> list[Change]:
    alts = {"mnv": (3, b"TTG"), "insertion": (1, None), "deletion": (4, None), "both": (3, b"GATTA")}
    changes = []
    for place, kind in ALLELES:
        width, alt = alts.get(kind, (1, None))
        ref = letters[place : place + width]
        if kind == "snv":
            new = [letter for letter in (b"A", b"C", b"G", b"T") if letter != ref]
        else:
            new = [alt or (ref + b"CGT" if kind == "insertion" else ref[:1])]
        changes.extend(
            change_of(genome, "chr1", place, ref, allele, layout.most_changed_bases) for allele in new if allele != ref
        )
    return changes


def test_both_strands_are_what_a_loop_gives(loaded, tmp_path):
    letters = sequence(300, 3)
    layout = layout_for(loaded, after_bases=6)
    with Genome(write_genome(tmp_path / "g.fa", {"chr1": letters})) as genome:
        changes = changes_of(genome, letters.tobytes(), layout)
        scorer = StrandScorer(loaded, genome, layout)
        scores = scorer.nats(changes)
    assert scorer.shares_passes, "these models are read the quick way"
    for change, score in zip(changes[::2], scores[::2], strict=True):
        for strand in (0, 1):
            expected = in_a_loop(loaded, letters.tobytes(), change, layout, strand)
            assert score[strand] == pytest.approx(expected, abs=2e-4), (change, strand)
    assert np.abs(scores).max() > 1


@pytest.mark.parametrize("plain", [plain_edit_nats, token_edit_nats])
@pytest.mark.parametrize("letters", [b"ACGT", b"ACGTACGTACGTACGTN", b"AAAAAAAAAAC"])
def test_shared_passes_are_plain_passes(loaded, letters, plain):
    """Windows of several lengths, changes at their ends, in repeats, and with N among the bases."""
    windows = []
    for bases in (60, 41, 9):
        text = sequence(bases, bases, letters)
        edits = [
            Edit(0, 1, b"T"),
            Edit(bases // 2, bases // 2, b"GATC"),
            Edit(bases // 2, bases // 2 + 3, b""),
            Edit(bases - 1, bases, b"CC"),
            Edit(3, 4, bytes(text[3:4])),
        ]
        windows.append(EditedWindow(text, edits))
    shared = SharedPasses(loaded, 7, token_scores=plain is token_edit_nats)
    assert shared.agree(60)
    for ours, theirs in zip(shared.edit_nats(windows), plain(loaded, windows, 7), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
        assert abs(ours[-1]) < 1e-5, "a change that changes nothing"


def test_shared_token_scores_count_what_a_tokenizer_puts_around_a_sequence():
    """With a start and an end token, the end is one more token that a change makes likelier or less so."""
    loaded = byte_pair_model()
    window = EditedWindow(sequence(50, 9), [Edit(0, 1, b"T"), Edit(25, 25, b"GATC"), Edit(49, 50, b"CC")])
    bare = token_edit_nats(loaded, [window], 7)[0]
    loaded.encoder.prefix_ids, loaded.encoder.suffix_ids = [1], [2]
    (quick,) = SharedPasses(loaded, 7, token_scores=True).edit_nats([window])
    np.testing.assert_allclose(quick, token_edit_nats(loaded, [window], 7)[0], atol=1e-4)
    assert np.abs(quick - bare).max() > 1e-2


@pytest.mark.parametrize("k", [1, 3, 4])
def test_changes_that_lengthen_the_end_by_what_fills_the_last_kmer_up(k):
    """A changed window may begin with all tokens of the window, the last of which spells bases that are not there."""
    loaded, begins = tiny_model(k=k, context_tokens=64), b"TGAAAATTCACCGCGGGGCTTT"
    windows = []
    for bases in range(len(begins) - 4, len(begins) + 1):
        text = np.frombuffer(begins[:bases], np.uint8)
        last = text[-1:].tobytes()
        added = [Edit(bases, bases, b"A" * count) for count in range(1, 6)]
        grown = [Edit(bases - 1, bases, last + letters) for letters in (b"A", b"AA", b"AAAG", b"CC")]
        windows.append(EditedWindow(text, [*added, *grown, Edit(1, 2, b"GGA")]))
    quick, plain = SharedPasses(loaded, 7).edit_nats(windows), plain_edit_nats(loaded, windows, 7)
    for ours, theirs in zip(quick, plain, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_what_else_is_asked_for_does_not_matter(loaded, tmp_path):
    letters = sequence(300, 4)
    layout = layout_for(loaded, after_bases=5)
    with Genome(write_genome(tmp_path / "g.fa", {"chr1": letters, "chr2": sequence(80, 5)})) as genome:
        changes = [*changes_of(genome, letters.tobytes(), layout), Change("chr2", 33, 34, b"A")]
        scorer = StrandScorer(loaded, genome, layout)
        together = scorer.nats(changes)
        backwards = scorer.nats(changes[::-1])[::-1]
        alone = np.concatenate([scorer.nats([change]) for change in changes])
    np.testing.assert_allclose(together, backwards, atol=1e-4)
    np.testing.assert_allclose(together, alone, atol=1e-4)


def test_the_other_strand_of_the_genome_gives_the_same(loaded, tmp_path):
    letters = sequence(333, 6)
    reverse = dna.reverse_complement(letters)
    layout = layout_for(loaded, after_bases=5)
    records = {"chr1": letters, "reverse": reverse}
    with Genome(write_genome(tmp_path / "g.fa", records)) as genome:
        scorer = StrandScorer(loaded, genome, layout)
        ours = changes_of(genome, letters.tobytes(), layout)
        theirs = [change.on_other_strand(333)._replace(record="reverse") for change in ours]
        forward, backward = scorer.nats(ours), scorer.nats(theirs)
    np.testing.assert_allclose(forward, backward[:, ::-1], atol=1e-4)


def test_an_indel_in_a_repeat_is_one_change_wherever_it_is_written(tmp_path):
    letters = np.frombuffer(b"GATTACA" * 3 + b"CACACACACAG" + b"TTTT" + b"GATTACA" * 3, np.uint8)
    text = letters.tobytes()
    with Genome(write_genome(tmp_path / "g.fa", {"chr1": letters})) as genome:
        for unit in (1, 2):
            for insertion in (False, True):
                spelled: dict[bytes, set[Change]] = {}
                for place in range(15, 38):
                    old = text[place - 1 : place + unit]
                    ref, alt = (old[:1], old) if insertion else (old, old[:1])
                    change = change_of(genome, "chr1", place - 1, ref, alt, 40)
                    assert text[: change.start] + change.letters + text[change.end :] == (
                        text[: place - 1] + alt + text[place - 1 + len(ref) :]
                    )
                    result = text[: place - 1] + alt + text[place - 1 + len(ref) :]
                    spelled.setdefault(result, set()).add(change)
                assert all(len(changes) == 1 for changes in spelled.values())
                assert len(spelled) < 23, "some places give the same sequence"


def test_random_likes_have_the_lengths_of_the_indel(tmp_path):
    letters = sequence(600, 8)
    with Genome(write_genome(tmp_path / "g.fa", {"chr1": letters})) as genome:
        ref = letters[300:304].tobytes()
        for alt in (ref[:1], ref + b"GG"):
            likes = random_likes(genome, "chr1", 300, ref, alt, count=20, near_bases=100, most_bases=30)
            again = random_likes(genome, "chr1", 300, ref, alt, count=20, near_bases=100, most_bases=30)
            assert likes == again and len(likes) == 20 and len(set(likes)) > 15
            assert {len(like.letters) - (like.end - like.start) for like in likes} == {len(alt) - len(ref)}
            assert all(150 < like.start < 450 for like in likes)
    with Genome(write_genome(tmp_path / "n.fa", {"chr1": np.frombuffer(b"N" * 600, np.uint8)})) as genome:
        assert random_likes(genome, "chr1", 300, b"NN", b"N", count=5, near_bases=100, most_bases=30) == []


def test_random_likes_do_not_depend_on_the_spelling_and_are_never_the_variant(tmp_path):
    """The deletion of an A from a stretch of six, at its beginning, in its middle and at its end."""
    letters = sequence(600, 8)
    letters[300:308] = np.frombuffer(b"CAAAAAAG", np.uint8)
    with Genome(write_genome(tmp_path / "g.fa", {"chr1": letters})) as genome:
        likes = []
        for start, ref, alt in ((300, b"CA", b"C"), (303, b"AA", b"A"), (306, b"AG", b"G")):
            own = change_of(genome, "chr1", start, ref, alt, 40)
            likes.append(random_likes(genome, "chr1", start, ref, alt, count=40, near_bases=10, most_bases=40))
            assert len(likes[-1]) == 40 and own not in likes[-1]
    assert likes[0] == likes[1] == likes[2]


@pytest.mark.parametrize("k", [1, 3])
def test_a_model_that_knows_nothing_prices_lengths_alone(k, tmp_path):
    """Each base costs ln 4 where only k-mers have a probability: an insertion costs its length, an SNV nothing."""
    loaded = uniform_model(k)

    def only_kmers(_module, _inputs, output):
        output.logits[..., :9] = -1e9
        return output

    if k > 1:
        loaded.model.register_forward_hook(only_kmers)
    window = EditedWindow(sequence(30), [Edit(10, 11, b"A"), Edit(10, 10, b"ACG"), Edit(10, 14, b"")])
    (nats,) = plain_edit_nats(loaded, [window], 5)
    np.testing.assert_allclose(nats, np.array([0, -3, 4]) * np.log(4), atol=1e-4)


def test_token_scores_are_sums_over_whole_tokens(loaded):
    window = EditedWindow(sequence(40, 2), [Edit(20, 21, b"A"), Edit(20, 20, b"TG")])
    (nats,) = token_edit_nats(loaded, [window], 6)
    text = window.bases.tobytes()
    for number, (changed, end) in enumerate(
        ((text[:20] + b"A" + text[21:27], 27), (text[:20] + b"TG" + text[20:26], 26))
    ):
        before, after = (
            next(score_windows(loaded, [np.frombuffer(t, np.uint8)])).nats.sum() for t in (text[:end], changed)
        )
        assert nats[number] == pytest.approx(before - after, abs=1e-4)


def test_a_model_without_such_a_cache_is_read_the_plain_way(tmp_path, monkeypatch):
    loaded = tiny_model(k=1, context_tokens=128)
    forward = loaded.model.forward

    def forgetful(*arguments, past_key_values=None, use_cache=False, **options):
        if past_key_values is not None and past_key_values.get_seq_length():
            raise ValueError("this model keeps no cache")
        return forward(*arguments, past_key_values=past_key_values, use_cache=use_cache, **options)

    letters = sequence(300, 3)
    layout = layout_for(loaded)
    with Genome(write_genome(tmp_path / "g.fa", {"chr1": letters})) as genome:
        changes = changes_of(genome, letters.tobytes(), layout)
        expected = StrandScorer(loaded, genome, layout).nats(changes)
        monkeypatch.setattr(loaded.model, "forward", forgetful)
        scorer = StrandScorer(loaded, genome, layout)
        assert not scorer.shares_passes
        np.testing.assert_allclose(scorer.nats(changes), expected, atol=1e-4)


def see_everything(_visible: torch.Tensor, owner: torch.Tensor, window_tokens: int) -> torch.Tensor:
    return torch.zeros(len(owner), 1, owner.shape[1], window_tokens + owner.shape[1])


@pytest.mark.parametrize("token_scores", [False, True])
def test_shared_passes_that_give_something_else_are_not_used(token_scores, monkeypatch):
    loaded = tiny_model(k=1, context_tokens=128)
    assert SharedPasses(loaded, 8, token_scores=token_scores).agree(100)
    monkeypatch.setattr("primase.variants.shared_passes._mask", see_everything)
    assert not SharedPasses(loaded, 8, token_scores=token_scores).agree(100)


def test_unknown_bases_that_fill_the_context_cost_only_what_stands_behind_them(tmp_path):
    """Each N is a token; with 3-mers a window of N would be three times too long."""
    loaded = tiny_model(k=3, context_tokens=60)
    letters = np.concatenate([np.full(400, ord("N"), np.uint8), sequence(300)])
    layout = layout_for(loaded)
    with Genome(write_genome(tmp_path / "g.fa", {"chr1": letters})) as genome:
        scores = StrandScorer(loaded, genome, layout).nats(
            [Change("chr1", p, p + 1, b"A") for p in range(398, 700, 40)]
        )
    assert np.isnan(scores).any(axis=1).sum() <= 2 and np.isfinite(scores[3:]).all()


def test_a_tokenizer_that_reads_unknown_bases_in_a_row_as_one_is_refused():
    """Windows of A, C, G and T show nothing of it, so the model is read the quick way."""
    vocabulary = {letter: number for number, letter in enumerate(["[UNK]", "A", "C", "G", "T", "AC"])}
    backend = Tokenizer(BPE(vocabulary, merges=[("A", "C")], unk_token="[UNK]", fuse_unk=True))
    backend.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]")
    loaded = LoadedModel(tiny_model().model, tokenizer, SequenceEncoder(tokenizer), 64)
    shared = SharedPasses(loaded, 7)
    assert shared.agree(40)
    window = EditedWindow(np.frombuffer(b"ACGTNNNNGATTACA", np.uint8), [Edit(9, 10, b"C")])
    with pytest.raises(ModelError, match="cannot spell this sequence letter by letter: its tokens hold 12 of 15"):
        shared.edit_nats([window])


def test_layouts_fit_the_context(loaded):
    for after in (None, 3, 9):
        layout = layout_for(loaded, after_bases=after)
        bases = layout.window_bases + layout.after_bases
        tokens = -(-bases // loaded.least_bases_of_a_token)
        assert tokens <= loaded.row_tokens and layout.before_bases >= 1
