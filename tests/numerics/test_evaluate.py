"""The whole measurement on a small simulated genome, each of its figures got a second time by another way."""

import json
from dataclasses import replace

import numpy as np
import pytest

from primase.base_predictions import predict_bases
from primase.cli.evaluation_table import table
from primase.corpus.prepare import prepare
from primase.dna import codes, reverse_complement
from primase.errors import InputError, ModelError
from primase.evaluation.copy_mixture import CopyMixture
from primase.evaluation.ensembles import can_be_member
from primase.evaluation.evaluate import Method, Subject, TrainingBases, evaluate, measure
from primase.evaluation.markov import MarkovModels
from primase.evaluation.model_bits import model_bits
from primase.evaluation.sample import Sample
from primase.recipe import EvaluationSettings, ModelSettings, Recipe
from primase.results import Evaluation
from primase.scoring import score_windows
from primase.sequence_encoder import SequenceEncoder
from primase.simulate import read_simulation, simulate_to_file, simulation_file
from primase.tokenizers import train_byte_pair_tokenizer
from tests.models import TINY, tiny_model


def say_nothing(*_: object) -> None:
    pass


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A model with fresh weights, measured on one record of six; half of the record stands in the training part too."""
    folder = tmp_path_factory.mktemp("evaluate")
    genome = folder / "genome.fa"
    simulate_to_file(genome, bases=60_000, records=6)
    overrides = {
        "data.window_bases": 500,
        "split.heldout_records": ["sim2"],
        "evaluation.markov_max_order": 6,
        "evaluation.bootstrap_samples": 200,
        "model.settings": TINY,
    }
    recipe = Recipe.load("default", overrides)
    corpus = prepare([genome], folder / "corpus", recipe)
    loaded = tiny_model(k=3, context_tokens=64)
    source = read_simulation(simulation_file(genome))
    evaluation = measure(
        loaded,
        Method(recipe.evaluation, recipe.model, recipe.seed),
        Subject.held_out(corpus, None, recipe.seed, None),
        TrainingBases(lambda: corpus.iterate_stretches(corpus.part("train")), corpus.part_bases("train")),
        name="tiny",
        source=source.surprisal,
        progress=say_nothing,
    )
    return evaluation, loaded, corpus, source


def held_out(corpus) -> list[np.ndarray]:
    return list(corpus.iterate_stretches(corpus.part("heldout")))


def test_the_held_out_record_and_nothing_else_is_measured(measured):
    evaluation, _, corpus, _ = measured
    assert {corpus.place(int(window))[0] for window in corpus.part("heldout")} == {"sim2"}
    assert (evaluation.part, evaluation.split_strategy) == ("heldout", "records")
    assert evaluation.forward.bases == 10_000 and evaluation.windows == 20
    assert evaluation.stretches == 1, "windows of a record that touch are read as one"


def test_forward_and_reverse_figures_are_sums_of_token_nats(measured):
    evaluation, loaded, corpus, _ = measured
    stretches = held_out(corpus)
    for estimate, texts in (
        (evaluation.forward, stretches),
        (evaluation.reverse_complement, [reverse_complement(stretch) for stretch in stretches]),
    ):
        nats = sum(score.nats.sum() for score in score_windows(loaded, texts))
        assert estimate.bits_per_base == pytest.approx(nats / np.log(2) / 10_000)
        assert estimate.low < estimate.bits_per_base < estimate.high
    mean = (evaluation.forward.bits_per_base + evaluation.reverse_complement.bits_per_base) / 2
    assert evaluation.both_strands_mean.bits_per_base == pytest.approx(mean)


def test_repeats_and_the_rest_make_up_the_whole(measured):
    evaluation = measured[0]
    parts = evaluation.classes.values()
    bits = sum(part.bits_per_base * part.bases for part in parts)
    assert list(evaluation.classes) == ["repeat", "non-repeat"]
    assert sum(part.bases for part in parts) == evaluation.forward.bases
    assert bits == pytest.approx(evaluation.forward.bits_per_base * evaluation.forward.bases)
    markov = evaluation.rival("markov")
    weighted = sum(markov.classes[name] * part.bases for name, part in evaluation.classes.items())
    assert weighted == pytest.approx(markov.bits_per_base * evaluation.forward.bases)


def test_the_rivals_are_trained_on_the_training_part(measured):
    evaluation, _, corpus, source = measured
    training = list(corpus.iterate_stretches(corpus.part("train")))
    markov = MarkovModels.fit(training, max_order=6)
    expected = markov.score(held_out(corpus)).bits_per_base
    np.testing.assert_allclose(evaluation.markov_bits_per_base, expected)
    assert evaluation.best_markov_order == int(np.argmin(expected))
    assert evaluation.rival("markov").bits_per_base == pytest.approx(min(expected))
    truth = sum(bits.sum() for bits in source.surprisal(held_out(corpus))) / 10_000
    assert evaluation.true_entropy_bits_per_base == pytest.approx(truth)
    assert truth < min(expected) < 2.0
    mixture = CopyMixture.fit(training, expected_bases=corpus.part_bases("train") + 10_000)
    copied = sum(float(bits.sum(dtype=np.float64)) for bits in mixture.surprisal(held_out(corpus))) / 10_000
    assert evaluation.rival("copy-mixture").bits_per_base == pytest.approx(copied)
    assert truth < copied


def test_the_model_in_company(measured):
    """The mean over the three frames, and the copy mixture that hears it, each got from its parts."""
    evaluation, loaded, corpus, _ = measured
    frames, together = evaluation.ensembles
    (stretch,) = held_out(corpus)
    by_frame = []
    for frame in range(3):
        (predicted,) = predict_bases(loaded, [stretch[frame:]], all_frames=False)
        by_frame.append(np.concatenate([np.full((frame, 4), np.nan), predicted]))
    mean = np.nanmean(by_frame, axis=0)
    bits = -np.log2(mean[np.arange(len(stretch)), codes(stretch)])
    assert (frames.kind, frames.figure.bases) == ("frames", 10_000)
    assert frames.figure.bits_per_base == pytest.approx(bits.mean(), rel=1e-5)

    training = list(corpus.iterate_stretches(corpus.part("train")))
    validation = list(corpus.iterate_stretches(corpus.part("validation")))
    assert validation
    mixture = CopyMixture.fit(training, expected_bases=corpus.part_bases("train") + 10_000)
    mixture = mixture.with_model(validation, predict_bases(loaded, validation))
    (bits,) = mixture.surprisal([stretch], [mean.astype(np.float32)])
    assert together.kind == "with-copy-mixture"
    assert together.figure.bits_per_base == pytest.approx(bits.mean(dtype=np.float64), rel=1e-5)

    assert [rival.kind for rival in together.rivals] == ["model", "markov", "copy-mixture"]
    for ensemble in evaluation.ensembles:
        alone, *others = ensemble.rivals
        assert alone.bits_per_base == pytest.approx(evaluation.forward.bits_per_base)
        for rival in others:
            assert rival.bits_per_base == pytest.approx(evaluation.rival(rival.kind).bits_per_base)
        weighted = sum(ensemble.classes[name] * part.bases for name, part in evaluation.classes.items())
        assert weighted == pytest.approx(ensemble.figure.bits_per_base * 10_000)
    assert f"with the copy mixture{together.figure.bits_per_base:>29.4f}" in table(evaluation)


def test_who_can_be_a_member():
    """Who predicts a base from the bases before it alone: a byte-pair tokenizer has looked at those behind it too."""
    assert can_be_member(tiny_model()) and can_be_member(tiny_model(k=4))
    pairs = train_byte_pair_tokenizer([b"ACGTACGGT" * 50], vocab_size=16, max_token_bases=4)
    assert not can_be_member(replace(tiny_model(), encoder=SequenceEncoder(pairs)))


def test_a_file_may_be_called_as_a_part_is(tmp_path, monkeypatch):
    saved(tiny_model(), tmp_path / "model")
    (tmp_path / "heldout").write_text(f">a\n{'ACGTTGCA' * 40}\n")
    monkeypatch.chdir(tmp_path)
    alone = evaluate("model", sequences="heldout")
    assert alone.part == "heldout" and [ensemble.kind for ensemble in alone.ensembles] == ["with-copy-mixture"]


def test_the_loci_are_the_bits_of_their_bases(measured):
    evaluation, loaded, corpus, _ = measured
    (stretch,), (score,) = held_out(corpus), score_windows(loaded, held_out(corpus))
    assert len(evaluation.loci) == 3
    for locus in evaluation.loci:
        assert locus.sequence == stretch[locus.start : locus.start + 500].tobytes().decode()
        token = -(-locus.start // 3)  # the first token inside the locus
        inside = np.array(locus.model_bits)[3 * token - locus.start :][:3]
        assert len(inside) == 3
        np.testing.assert_allclose(inside, score.nats[token] / np.log(2) / 3, rtol=2e-3)


def test_clean_and_hit_windows_make_up_those_that_were_looked_at(measured):
    evaluation, _, corpus, _ = measured
    leaked = evaluation.leaked
    certificate, looked_at = corpus.leakage()
    assert leaked.hit_windows == int((looked_at["kmer_share"] >= 0.5).sum())
    assert leaked.clean_windows + leaked.hit_windows == certificate.windows == 20


def test_each_advantage_is_the_difference_of_two_figures(measured):
    evaluation = measured[0]
    for rival in evaluation.rivals:
        difference = 1000 * (rival.bits_per_base - evaluation.forward.bits_per_base)
        assert rival.model_advantage_millibits == pytest.approx(difference)
        assert rival.low <= difference <= rival.high or rival.name == "untrained twin"


def test_the_file_reads_back(measured, tmp_path):
    evaluation = measured[0]
    evaluation.write(tmp_path / "evaluation.json")
    assert Evaluation.model_validate_json((tmp_path / "evaluation.json").read_text()) == evaluation
    assert json.loads((tmp_path / "evaluation.json").read_text())["schema_version"] == 2


def saved(loaded, folder):
    loaded.model.save_pretrained(folder)
    loaded.tokenizer.model_max_length = loaded.context_tokens
    loaded.tokenizer.save_pretrained(folder)
    return folder


def test_any_model_is_measured_on_any_sequences(tmp_path):
    """Beside what is counted on other files, or on nothing but the sequence's own past."""
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("ACGT"), size)) for size in (3000, 700)]
    (tmp_path / "mine.fa").write_text(f">a\n{texts[0]}NNNN{texts[0][:500].lower()}\n>b\n{texts[1]}\n")
    (tmp_path / "other.csv").write_text(f"name,text\nx,{texts[0]}\n")
    (tmp_path / "genes.bed").write_text("a\t0\t1000\tcopied\n")
    loaded = tiny_model("mixtral-1m", k=3, context_tokens=64, num_local_experts=4, num_experts_per_tok=2)
    model = saved(loaded, tmp_path / "model")
    alone = evaluate(model, sequences=[tmp_path / "mine.fa"], annotations=tmp_path / "genes.bed")
    assert (alone.part, alone.split_strategy, alone.markov_bits_per_base) == ("mine.fa", "given", None)
    assert {rival.kind for rival in alone.rivals} == {"uniform", "copy-mixture", "untrained"}
    assert alone.forward.bases == 4200 and alone.leaked is None and alone.verdict.startswith("does not beat the copy")
    assert {name: part.bases for name, part in alone.classes.items()} == {
        "repeat": 500, "non-repeat": 3700, "copied": 1000, "elsewhere": 2500,
    }  # fmt: skip
    assert alone.routing.experts == 4 and set(alone.routing.layers[0].enrichment) == set(alone.classes) - {
        "repeat",
        "non-repeat",
    }
    counted = evaluate(model, sequences=[tmp_path / "mine.fa"], count_on=[tmp_path / "other.csv"], stride_fraction=0.25)
    assert counted.rival("markov").bits_per_base < 1.5, "it has seen most of it"
    assert counted.rival("copy-mixture").bits_per_base < alone.rival("copy-mixture").bits_per_base - 1
    assert counted.stride_fraction == 0.25
    seen = 2970 + 470  # 31-mers of the 3,000 bases and of their copy; those of b are new
    assert counted.share_in_training == pytest.approx(seen / (seen + 670)) and alone.share_in_training is None
    assert "Warning: 84% of the 31-mers of these sequences stand in the training bases" in table(counted)
    assert "Warning" not in table(alone)
    as_text = evaluate(str(model), sequences=str(tmp_path / "mine.fa"), count_on=str(tmp_path / "other.csv"))
    as_lists = evaluate(model, sequences=[tmp_path / "mine.fa"], count_on=[tmp_path / "other.csv"])
    assert as_text == as_lists, "one file is a list of one, not of letters"
    short = evaluate(model, sequences=[tmp_path / "mine.fa"], context_tokens=16, ensembles=False)
    assert [ensemble.kind for ensemble in alone.ensembles] == ["frames", "with-copy-mixture"]
    assert not short.ensembles and "company" not in table(short)
    assert short.context_tokens == 16 and short.forward.bases == alone.forward.bases
    assert short.forward.bits_per_base != alone.forward.bits_per_base
    assert {entry.name for entry in tmp_path.iterdir()} == {"mine.fa", "other.csv", "genes.bed", "model"}


def test_a_token_that_nothing_precedes_is_no_prediction_to_be_calibrated(tmp_path):
    loaded = tiny_model(k=3)
    (tmp_path / "x.fa").write_text(f">a\n{'ACG' * 5}\n>b\nACG\n")
    sample = Sample.of_files([tmp_path / "x.fa"], None, None)
    encoder = tiny_model(k=3).encoder
    encoder.prefix_ids = []
    for one, predicted in ((loaded, 6), (replace(loaded, encoder=encoder), 4)):
        calibration = model_bits(one, sample, 0.5, say_nothing).calibration
        assert sum(bin_.tokens for bin_ in calibration.bins()) == predicted


def test_what_cannot_be_measured_is_refused(tmp_path):
    loaded = tiny_model()
    model = saved(loaded, tmp_path / "model")
    with pytest.raises(InputError, match=r"no run here .* or say what to measure"):
        evaluate(model)
    (tmp_path / "mine.fa").write_text(f">a\n{'ACGT' * 50}\n")
    tokenizer = (model / "tokenizer.json").read_text()
    spelled = '"G": 6'
    assert spelled in tokenizer
    (model / "tokenizer.json").write_text(tokenizer.replace(spelled, '"X": 6'))
    with pytest.raises(ModelError, match="cannot spell this sequence: its tokens hold 150 of 200 bases"):
        evaluate(model, sequences=[tmp_path / "mine.fa"])


def test_a_model_without_a_recipe_is_measured_as_recipes_say_by_default():
    method = Method.of_model({"stride_fraction": 0.25, "ensembles": None})
    assert method.settings == EvaluationSettings(stride_fraction=0.25)
    assert isinstance(method.model, ModelSettings)
