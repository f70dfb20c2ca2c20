"""Fine-tuning of tiny models on tasks whose answer is known, and the promise that the result loads without Primase."""

import gzip
import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, GPT2Config, GPT2LMHeadModel

from primase.errors import InputError, MissingExtraError, MissingFileError, ModelError
from primase.finetuning import classifier, fit, kmer_rival, windows
from primase.finetuning.examples import gather
from primase.finetuning.finetune import finetune
from primase.finetuning.predict import predict, predict_to_file
from primase.finetuning.settings import FinetuningSettings
from primase.finetuning.task import Task
from primase.tokenizers import base_tokenizer
from tests.models import tiny_model

BINARY = Task("binary", ("0", "1"), ("label",))
QUICK = {"label": "label", "rivals": False, "epochs": 5, "learning_rate": 1e-2, "batch_tokens": 512, "patience": 5}


def save(loaded, folder: Path) -> Path:
    loaded.model.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return save(tiny_model(k=3), tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def mixture(tmp_path_factory):
    return save(tiny_model("mixtral-1m"), tmp_path_factory.mktemp("models") / "mixture")


def random_sequences(count: int, bases: int = 24, seed: int = 0) -> list[str]:
    return ["".join(row) for row in np.random.default_rng(seed).choice(list("ACGT"), (count, bases))]


def write(file: Path, sequences, labels, columns="label") -> Path:
    lines = [f"{sequence},{label}" for sequence, label in zip(sequences, labels, strict=True)]
    file.write_text("\n".join([f"sequence,{columns}", *lines]) + "\n")
    return file


@pytest.fixture(scope="module")
def motif(tmp_path_factory) -> Path:
    """Half of the sequences end in a motif."""
    sequences = [s[:15] + "TATAAATAC" if i % 2 else s for i, s in enumerate(random_sequences(300))]
    return write(tmp_path_factory.mktemp("data") / "motif.csv", sequences, [i % 2 for i in range(300)])


@pytest.fixture(scope="module")
def finished(tiny, motif, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "motif"
    return run, finetune(tiny, motif, run, **QUICK)


def test_a_planted_motif_is_found(finished):
    run, result = finished
    assert result.leading_metric == "mcc" and result.model_scores.leading.value > 0.9
    assert {part.name: part.rows for part in result.parts} == {"train": 210, "validation": 30, "test": 60}
    assert json.loads((run / "finetuning.json").read_text()) == json.loads(result.model_dump_json())
    settings = tomllib.loads((run / "finetuning.toml").read_text())
    assert settings["label"] == ["label"] and settings["learning_rate"] == 1e-2
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4, 5] and lines[-1]["loss"] < lines[0]["loss"]
    assert "pipeline_tag: text-classification" in (run / "final" / "README.md").read_text()
    table = (run / "predictions.csv").read_text().splitlines()
    assert table[0] == "name,truth,label,probability_0,probability_1" and len(table) == 61
    right = np.mean([line.split(",")[1] == line.split(",")[2] for line in table[1:]])
    accuracy = next(score for score in result.model_scores.scores if score.metric == "accuracy")
    assert right == pytest.approx(accuracy.value)


def test_random_labels_are_not(tiny, tmp_path):
    labels = np.random.default_rng(3).integers(2, size=400)
    data = write(tmp_path / "noise.csv", random_sequences(400, seed=4), labels)
    result = finetune(tiny, data, tmp_path / "run", **QUICK | {"epochs": 3, "test_fraction": 0.45})
    score = result.model_scores.leading
    assert abs(score.value) < 0.25 and score.low < 0 < score.high


def test_plain_transformers_gives_the_same_logits(finished):
    run, _ = finished
    model = AutoModelForSequenceClassification.from_pretrained(run / "final")
    tokenizer = AutoTokenizer.from_pretrained(run / "final")
    sequences = [*random_sequences(4, 24), "ACGTAC", "T" * 31]
    expected = []
    for sequence in sequences:
        with torch.no_grad():
            expected.append(model(**tokenizer(sequence, return_tensors="pt")).logits[0])
    found = predict(run, sequences)
    np.testing.assert_allclose(found.logits, torch.stack(expected).numpy(), atol=1e-5)
    np.testing.assert_allclose(found.probabilities, torch.stack(expected).softmax(1).numpy(), atol=1e-5)
    with torch.no_grad():  # all at once, padded by the tokenizer that was saved
        together = model(**tokenizer(sequences, return_tensors="pt", padding=True)).logits
    np.testing.assert_allclose(found.logits, together.numpy(), atol=1e-5)
    assert model.config.id2label == {0: "0", 1: "1"}


def test_batch_mates_do_not_matter(finished):
    run, _ = finished
    sequences = [*random_sequences(6, 24), "ACG", "ACGT" * 40]
    together = predict(run, sequences).logits
    alone = np.concatenate([predict(run, [sequence]).logits for sequence in sequences])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_the_same_seed_gives_the_same_weights(tiny, motif, tmp_path):
    options = QUICK | {"epochs": 1, "max_rows": 60}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        finetune(tiny, motif, tmp_path / name, **options, seed=seed)
    a, b, c = ((tmp_path / name / "final" / "model.safetensors").read_bytes() for name in "abc")
    assert a == b != c


def test_windows_side_by_side(tiny, tmp_path):
    loaded = classifier.load_body(tiny, BINARY, 0)
    short = type(loaded)(loaded.model, loaded.tokenizer, loaded.encoder, 8)
    sequence = random_sequences(1, 61)[0].encode()  # 20 tokens and a base: 21, in rooms for 7
    rows = windows.token_rows(short, [sequence, b"ACGTAC"])
    assert [len(row) for row in rows.rows[0]] == [8, 8, 8] and len(rows.rows[1]) == 1 and rows.long_sequences == 1
    prefix = loaded.encoder.prefix_ids
    whole = loaded.encoder.encode(sequence)
    assert np.concatenate([row[len(prefix) :] for row in rows.rows[0]]).tolist() == whole.tolist()
    each = [classifier.logits_of(short, [[row]])[0] for row in rows.rows[0]]
    np.testing.assert_allclose(classifier.logits_of(short, rows.rows)[0], np.mean(each, axis=0), atol=1e-6)


def test_long_sequences_are_trained_on_by_the_same_rule(tmp_path):
    model = save(tiny_model(max_position_embeddings=16), tmp_path / "short")
    sequences = [s[:15] + "TATAAATAC" + s[:9] if i % 2 else s + s[:9] for i, s in enumerate(random_sequences(80))]
    data = write(tmp_path / "t.csv", sequences, [i % 2 for i in range(80)])
    result = finetune(model, data, tmp_path / "run", **QUICK | {"epochs": 1})
    assert any("80 sequences are longer than the context of 16 tokens: cut into windows" in n for n in result.notes)
    summary = predict_to_file(tmp_path / "run", [data], tmp_path / "p.csv")
    assert (summary.sequences, summary.long_sequences) == (80, 80)


@pytest.mark.parametrize("method", ["lora", "probe"])
def test_other_methods_leave_a_plain_model(method, tiny, motif, tmp_path):
    rate = {} if method == "probe" else {"learning_rate": 2e-2, "lora_rank": 4}
    result = finetune(tiny, motif, tmp_path / "run", **QUICK | rate, method=method)
    assert result.model_scores.leading.value > 0.5
    final = tmp_path / "run" / "final"
    assert not list(final.glob("adapter*"))
    model, loading = AutoModelForSequenceClassification.from_pretrained(final, output_loading_info=True)
    assert not loading["missing_keys"] and not loading["unexpected_keys"]
    before = classifier.load_body(tiny, BINARY, 0).model.state_dict()
    changed = {name for name, weights in model.state_dict().items() if not torch.equal(weights, before[name])}
    assert "score.weight" in changed
    of_body = changed - {"score.weight"}
    assert of_body == set() if method == "probe" else of_body and all("_proj" in name for name in of_body)
    table = (tmp_path / "run" / "predictions.csv").read_text().splitlines()[1:]
    sequence_of = dict(enumerate(motif.read_text().splitlines()))
    name, _, _, _, probability = table[0].split(",")
    ids = AutoTokenizer.from_pretrained(final)(sequence_of[int(name)].split(",")[0], return_tensors="pt")
    with torch.no_grad():
        assert model(**ids).logits.softmax(1)[0, 1].item() == pytest.approx(float(probability), abs=1e-5)


def test_lora_without_peft(tiny, motif, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'primase\[lora\]'"):
        finetune(tiny, motif, tmp_path / "run", **QUICK, method="lora")
    assert not (tmp_path / "run").exists()


def test_regression(tiny, tmp_path):
    """The value is the number of G and C in the last three bases, scaled and far from nil."""
    sequences = random_sequences(300, seed=7)
    values = [100 + 5 * sum(base in "GC" for base in s[-3:]) for s in sequences]
    data = write(tmp_path / "t.csv", sequences, values)
    result = finetune(tiny, data, tmp_path / "run", **QUICK | {"epochs": 8}, task="regression")
    named = {score.metric: score.value for score in result.model_scores.scores}
    assert named["spearman"] > 0.7 and named["r2"] > 0.4
    found = predict(tmp_path / "run", sequences[:50])
    assert found.labels == ["label"] and found.predicted == []
    assert abs(found.probabilities[:, 0].mean() - np.mean(values[:50])) < 3
    assert abs(found.logits.mean()) < 1, "as transformers gives them: standardised"


def test_small_values_are_written_and_standardised_by_the_training_rows(tiny, tmp_path):
    sequences = random_sequences(60, seed=9)
    values = [1e-9 * (1 + sum(base in "GC" for base in s)) for s in sequences]
    data = write(tmp_path / "t.csv", sequences, values)
    finetune(tiny, data, tmp_path / "run", **QUICK | {"epochs": 1}, task="regression")
    rows = (tmp_path / "run" / "predictions.csv").read_text().splitlines()
    assert rows[0] == "name,truth,value" and all(0 < abs(float(row.split(",")[2])) < 1e-6 for row in rows[1:])
    examples = gather(data, FinetuningSettings(label=["label"], task="regression"))
    assert examples.train.targets.mean() == pytest.approx(0, abs=1e-5)
    assert examples.train.targets.std() == pytest.approx(1, abs=1e-5)


def test_truth_is_written_as_the_labels_are(tiny, tmp_path):
    sequences = random_sequences(80, seed=10)
    numbers = write(tmp_path / "n.csv", sequences, [f"{i % 2}.0" for i in range(80)])
    finetune(tiny, numbers, tmp_path / "numbers", **QUICK | {"epochs": 1})
    several = write(tmp_path / "s.csv", sequences, [["left|right", "left", "right"][i % 3] for i in range(80)])
    finetune(tiny, several, tmp_path / "several", **QUICK | {"epochs": 1, "label_separator": "|"})
    for run, known in (("numbers", {"0", "1"}), ("several", {"left;right", "left", "right"})):
        rows = (tmp_path / run / "predictions.csv").read_text().splitlines()[1:]
        assert {row.split(",")[1] for row in rows} == known


def test_a_label_of_every_training_row_is_refused(tiny, tmp_path):
    """Two of the rows do not have it, and both are copies of rows of the test part."""
    (tmp_path / "data").mkdir()
    sequences = random_sequences(40, seed=11)
    flags = [f"{int(i > 1)},{i % 2}" for i in range(40)]
    write(tmp_path / "data" / "train.csv", sequences, flags, columns="a,b")
    write(tmp_path / "data" / "dev.csv", sequences[20:30], flags[20:30], columns="a,b")
    write(tmp_path / "data" / "test.csv", sequences[:2] + sequences[30:], flags[:2] + flags[30:], columns="a,b")
    settings = FinetuningSettings(label=["a", "b"], remove_duplicates=True)
    with pytest.raises(InputError, match="all training rows have label 'a'; give rows without it"):
        gather(tmp_path / "data", settings)


def test_several_labels_and_several_classes(tiny, tmp_path):
    sequences = random_sequences(240, seed=8)
    flags = [f"{int(s[-1] in 'GC')},{int(s[-2] in 'AG')}" for s in sequences]
    several = write(tmp_path / "several.csv", sequences, flags, columns="strong,purine")
    options = QUICK | {"label": ["strong", "purine"], "class_weights": "balanced"}
    result = finetune(tiny, several, tmp_path / "several", **options)
    assert result.task == "multi-label" and result.model_scores.leading.value > 0.8
    found = predict(tmp_path / "several", ["A" * 22 + "AG", "A" * 22 + "CT"])
    assert found.labels == ["strong", "purine"] and found.predicted == ["strong;purine", ""]
    classes = write(tmp_path / "classes.csv", sequences, [s[-1] for s in sequences])
    result = finetune(tiny, classes, tmp_path / "classes", **QUICK, class_weights="balanced")
    assert result.labels == ["A", "C", "G", "T"] and result.model_scores.leading.value > 0.8


def test_rivals_and_seeds(tiny, motif, tmp_path):
    options = QUICK | {"rivals": True, "epochs": 2, "max_rows": 80}
    result = finetune(tiny, motif, tmp_path / "run", **options, seeds=2)
    kinds = {predictor.kind: predictor for predictor in result.predictors}
    assert list(kinds) == ["model", "untrained", "cnn", "kmer"]
    for kind in ("model", "untrained", "cnn"):
        assert len(kinds[kind].validation) == len(kinds[kind].leading.by_seed) == 2
    assert kinds["kmer"].leading.value > 0.8 and kinds["cnn"].leading.value > 0.8
    best = int(np.argmax(kinds["model"].validation))
    assert result.chosen_seed == [0, 1][best]
    for rival in result.predictors[1:]:
        assert rival.advantage == pytest.approx(kinds["model"].leading.value - rival.leading.value)
        assert rival.low <= rival.advantage <= rival.high
    trained = {json.loads(line)["predictor"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()}
    assert trained == {"model", "untrained", "cnn"}


def test_kmer_shares_by_counting():
    sequences = [b"ACGTACG", b"acNGT", b"A", b"TTTT"]
    found = kmer_rival.kmer_shares(sequences, 2).toarray()
    for row, sequence in zip(found, sequences, strict=True):
        text = sequence.decode().upper()
        pairs = [text[i : i + 2] for i in range(len(text) - 1) if "N" not in text[i : i + 2]]
        expected = [pairs.count(a + b) / max(len(pairs), 1) for a in "ACGT" for b in "ACGT"]
        assert row == pytest.approx(expected)


def test_the_learning_rate_rises_and_falls():
    rates = [fit.rate(step, 10, 0.2) for step in range(10)]
    assert rates == pytest.approx([0.5, 1.0, *(1 - i / 8 for i in range(8))])


def test_balanced_weights():
    settings = FinetuningSettings(label=("label",), class_weights="balanced")
    assert fit.class_weights(BINARY, np.array([0, 0, 0, 1]), settings).tolist() == pytest.approx([2 / 3, 2.0])
    assert fit.class_weights(BINARY, np.array([0, 1]), FinetuningSettings(label=("label",))) is None
    several = Task("multi-label", ("a", "b"), ("a", "b"))
    targets = np.array([[1, 0], [0, 0], [0, 1], [0, 1]], np.float32)
    assert fit.class_weights(several, targets, settings).tolist() == pytest.approx([3.0, 1.0])


def test_shuffled_batches_hold_every_row_once():
    costs = np.random.default_rng(0).integers(5, 50, size=333).tolist()
    found = windows.shuffled_batches(costs, 100, np.random.default_rng(1))
    assert sorted(row for batch in found for row in batch) == list(range(333))
    assert all(len(batch) == 1 or len(batch) * max(costs[row] for row in batch) <= 100 for batch in found)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_mixture_of_experts(method, mixture, motif, tmp_path):
    result = finetune(mixture, motif, tmp_path / "run", **QUICK, method=method)
    assert result.model_scores.leading.value > 0.5


def test_a_tokenizer_without_padding_gets_one_of_its_own(motif, tmp_path):
    tokenizer = base_tokenizer()
    tokenizer.pad_token = None
    config = GPT2Config(vocab_size=9, n_positions=64, n_embd=16, n_layer=1, n_head=2, bos_token_id=1, eos_token_id=2)
    torch.manual_seed(0)
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "gpt2")
    tokenizer.save_pretrained(tmp_path / "gpt2")
    loaded = classifier.load_body(tmp_path / "gpt2", BINARY, 0)
    assert loaded.tokenizer.pad_token == "[PAD]" and loaded.model.config.pad_token_id == loaded.tokenizer.pad_token_id
    finetune(tmp_path / "gpt2", motif, tmp_path / "run", **QUICK | {"epochs": 1})
    assert len(predict(tmp_path / "run", ["ACGT", "ACGTTGCA"]).predicted) == 2


def test_the_start_token_may_be_the_padding_token(tmp_path):
    """As in GPT-2: the last state is that of the last base all the same."""
    tokenizer = base_tokenizer()
    tokenizer.pad_token = tokenizer.bos_token
    config = GPT2Config(
        vocab_size=9, n_positions=64, n_embd=16, n_layer=1, n_head=2, pad_token_id=tokenizer.bos_token_id
    )
    torch.manual_seed(0)
    GPT2LMHeadModel(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded = classifier.load_body(tmp_path, BINARY, 0)
    assert loaded.model.config.pad_token_id == loaded.tokenizer.bos_token_id
    ids = np.array([loaded.tokenizer.bos_token_id, *loaded.encoder.encode(b"ACG")])
    with torch.no_grad():
        hidden = loaded.model.eval().base_model(torch.from_numpy(ids)[None]).last_hidden_state
    shorter = ids[:3]
    states = classifier.last_states(loaded, [[ids], [shorter]])
    np.testing.assert_allclose(states, hidden[0, [3, 2]].numpy(), rtol=1e-4, atol=1e-6)


def test_a_head_of_another_task_is_left_behind(finished):
    run = finished[0]
    old = classifier.load_classifier(run)[0].model.score.weight
    new = classifier.load_body(run, BINARY, 5).model.score.weight
    assert not torch.equal(old, new)
    three = classifier.load_body(run, Task("multi-class", ("a", "b", "c"), ("label",)), 5).model
    assert three.score.weight.shape[0] == 3 and three.config.id2label == {0: "a", 1: "b", 2: "c"}


def test_models_that_cannot(tiny, motif, tmp_path):
    with pytest.raises(
        ModelError, match=r"no classifier \(without score.weight\); make one of it with primase finetune"
    ):
        predict(tiny, ["ACGT"])
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    (unfinished / "finetuning.toml").write_text("")
    with pytest.raises(MissingFileError, match="was never finished"):
        predict(unfinished, ["ACGT"])
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text('{"model_type": "mamba"}')
    base_tokenizer().save_pretrained(tmp_path / "bert")
    with pytest.raises(ModelError, match="transformers has no classifier of type mamba"):
        classifier.load_body(tmp_path / "bert", BINARY, 0)
    (tmp_path / "bert" / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"no tokenizer\.json"):
        finetune(tmp_path / "bert", motif, tmp_path / "run", **QUICK)


@pytest.mark.data
def test_a_classifier_made_elsewhere(shared_data, tmp_path):
    """Its published head is far better than guessing on the task it was made for; its body can be tuned anew."""
    folder = shared_data / "models" / "mistral-dna-v1-1m-tf0"
    rows = (shared_data / "tasks" / "gue" / "tf" / "0" / "test.csv.gz").read_bytes()
    lines = gzip.decompress(rows).decode().split()[1:]
    chosen = [line.split(",") for line in lines[::10]]
    found = predict(folder, [sequence for sequence, _ in chosen])
    assert found.labels == ["LABEL_0", "LABEL_1"]
    right = np.mean(
        [predicted == f"LABEL_{label}" for predicted, (_, label) in zip(found.predicted, chosen, strict=True)]
    )
    assert right > 0.7
    data = write(tmp_path / "t.csv", [s for s, _ in chosen], [label for _, label in chosen])
    result = finetune(folder, data, tmp_path / "run", **QUICK | {"epochs": 1})
    assert result.labels == ["0", "1"]
