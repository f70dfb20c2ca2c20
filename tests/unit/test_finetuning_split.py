"""Splits: shares, strata, equal sequences on one side, and copies across parts against brute force."""

import gzip
from collections import Counter

import numpy as np
import pytest

from primase import dna
from primase.errors import InputError
from primase.finetuning.examples import gather
from primase.finetuning.settings import FinetuningSettings
from primase.finetuning.split import assign, draw_rows, strand_free, strata_of


def sequences(count: int, seed: int = 0) -> list[str]:
    draw = np.random.default_rng(seed)
    return ["".join(draw.choice(list("ACGT"), 30)) for _ in range(count)]


def write(file, rows):
    file.write_text("sequence,label\n" + "".join(f"{sequence},{label}\n" for sequence, label in rows))


def test_strand_free():
    for sequence in ("ACGTTT", "acguuu", "AAACGT", "aaacgt"):
        assert strand_free(sequence) == b"AAACGT"
    assert strand_free("ACGTTA") != strand_free("ACGTTT")


def test_shares_and_strata_and_groups():
    draw = np.random.default_rng(0)
    keys = [str(k).encode() for k in draw.integers(700, size=1000)]
    strata = ["rare" if int(key) < 70 else "common" for key in keys]
    parts = assign(keys, strata, {"train": 0.7, "validation": 0.1, "test": 0.2}, seed=1)
    assert all(len({part for part, k in zip(parts, keys, strict=True) if k == key}) == 1 for key in set(keys))
    for stratum in ("rare", "common"):
        inside = Counter(part for part, s in zip(parts, strata, strict=True) if s == stratum)
        total = sum(inside.values())
        for part, share in {"train": 0.7, "validation": 0.1, "test": 0.2}.items():
            assert abs(inside[part] - share * total) <= 8
    again = assign(keys, strata, {"train": 0.7, "validation": 0.1, "test": 0.2}, seed=1)
    other = assign(keys, strata, {"train": 0.7, "validation": 0.1, "test": 0.2}, seed=2)
    assert (parts == again).all() and (parts != other).any()


def test_strata():
    assert strata_of(np.array([0, 1, 1])) == [0, 1, 1]
    assert strata_of(np.array([[0, 1], [1, 1]], np.float32)) == [(0, 1), (1, 1)]
    deciles = strata_of(np.random.default_rng(0).normal(size=1000).astype(np.float32))
    assert Counter(deciles) == dict.fromkeys(range(10), 100)


def test_a_draw_is_stratified():
    strata = [0] * 900 + [1] * 100
    drawn = draw_rows(strata, 200, seed=0)
    assert len(drawn) == len(set(drawn.tolist())) == 200 and (np.diff(drawn) > 0).all()
    assert abs(sum(strata[row] for row in drawn) - 20) <= 2
    assert draw_rows(strata, 5000, seed=0).tolist() == list(range(1000))


def test_one_table_is_split(tmp_path):
    texts = sequences(100)
    rows = [(text, i % 2) for i, text in enumerate(texts)]
    rows += [(dna.reverse_complement(text).lower(), i % 2) for i, text in enumerate(texts[:30])]
    write(tmp_path / "t.csv", rows)
    notes = []
    examples = gather(tmp_path / "t.csv", FinetuningSettings(label=("label",)), notes.append)
    used = {name: [record.sequence for record in part.records] for name, part in examples.parts.items()}
    assert sorted(text for texts in used.values() for text in texts) == sorted(sequence for sequence, _ in rows)
    assert abs(len(used["test"]) - 26) <= 2 and abs(len(used["validation"]) - 13) <= 2
    assert examples.duplicates == []
    assert "task: binary, 2 labels: 0, 1 (guessed from the labels" in notes[0] and "split off" in notes[1]


@pytest.mark.parametrize("remove", [False, True])
def test_copies_across_parts(tmp_path, remove):
    train, validation, test = sequences(60, 1), sequences(20, 2), sequences(20, 3)
    train[3], train[5] = validation[0], dna.reverse_complement(validation[1])
    train[7], validation[9] = test[0].lower(), test[2]
    for name, texts in (("train", train), ("dev", validation), ("test", test)):
        write(tmp_path / f"{name}.csv", [(text, i % 2) for i, text in enumerate(texts)])
    notes = []
    settings = FinetuningSettings(label=("label",), remove_duplicates=remove)
    examples = gather(tmp_path, settings, notes.append)
    found = {(d.part, d.also_in): (d.rows, d.removed) for d in examples.duplicates}
    assert found == {
        ("train", "validation"): (2, 2 * remove),
        ("train", "test"): (1, remove),
        ("validation", "test"): (1, remove),
    }
    sizes = {name: len(part.records) for name, part in examples.parts.items()}
    assert sizes == {"train": 60 - 3 * remove, "validation": 20 - remove, "test": 20}
    assert len(examples.train.targets) == sizes["train"]
    assert "2 train rows are in the validation part too" in notes[1]
    assert ("removed" if remove else "--remove-duplicates") in notes[1]
    facts = examples.train.facts(examples.task)
    assert (facts.rows_of_part, facts.rows) == (60, sizes["train"])


def test_a_draw_of_training_rows_is_told(tmp_path):
    write(tmp_path / "t.csv", [(text, i % 2) for i, text in enumerate(sequences(100))])
    notes = []
    examples = gather(tmp_path / "t.csv", FinetuningSettings(label=("label",), max_rows=20), notes.append)
    assert len(examples.train.records) == 20 and examples.train.rows_of_part == 70
    assert notes[-1].startswith("trained on 20 of 70 rows (--max-rows)")


def test_parts_without_a_label(tmp_path):
    texts = sequences(40)
    write(tmp_path / "train.csv", [(text, i % 2) for i, text in enumerate(texts)])
    write(tmp_path / "dev.csv", [(text, i % 2) for i, text in enumerate(sequences(10, 5))])
    write(tmp_path / "test.csv", [(text, 1) for text in sequences(10, 6)])
    with pytest.raises(InputError, match=r"test\.csv: all rows of the test part have label '1'"):
        gather(tmp_path, FinetuningSettings(label=("label",)))
    write(tmp_path / "test.csv", [(texts[0], 0), (texts[1], 2)])
    with pytest.raises(InputError, match=r"test\.csv: row 2: label '2' is not among the training rows \(0, 1\)"):
        gather(tmp_path, FinetuningSettings(label=("label",)))


@pytest.mark.parametrize(
    ("labels", "value", "message"),
    [
        (("y",), lambda row: (row / 2,), "test part have the same value of 'y'; give others too"),
        (("x", "y"), lambda row: (row % 2, row % 3 % 2), "test part have the same labels; give others too"),
    ],
)
@pytest.mark.parametrize("test_rows", [1, 5])
def test_a_test_part_on_which_a_metric_has_no_value(labels, value, message, test_rows, tmp_path):
    def write_part(name, texts, rows):
        lines = [f"{text},{','.join(map(str, value(row)))}\n" for text, row in zip(texts, rows, strict=True)]
        (tmp_path / f"{name}.csv").write_text(f"sequence,{','.join(labels)}\n{''.join(lines)}")

    write_part("train", sequences(40), range(40))
    write_part("dev", sequences(10, 5), range(10))
    write_part("test", sequences(test_rows, 6), [1] * test_rows)
    with pytest.raises(InputError, match=rf"test\.csv: all rows of the {message}"):
        gather(tmp_path, FinetuningSettings(label=labels))


@pytest.mark.data
def test_the_copies_of_gue_tf_4(shared_data):
    """Between train and dev, letter for letter or reverse complemented, by a set of strings."""
    folder = shared_data / "tasks" / "gue" / "tf" / "4"
    rows = {p: gzip.decompress((folder / f"{p}.csv.gz").read_bytes()).decode().split()[1:] for p in ("train", "dev")}
    texts = {part: [row.split(",")[0] for row in part_rows] for part, part_rows in rows.items()}
    there = set(texts["dev"]) | {text[::-1].translate(str.maketrans("ACGT", "TGCA")) for text in texts["dev"]}
    examples = gather(folder, FinetuningSettings(label=("label",)))
    found = {(d.part, d.also_in): d.rows for d in examples.duplicates}
    assert found["train", "validation"] == sum(text in there for text in texts["train"]) >= 346
