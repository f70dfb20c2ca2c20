"""The corpus folder: what goes in comes out, windows by window, and nothing is left behind by a failure."""

import gzip
import json
import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from transformers import AutoTokenizer

from primase.corpus import cut
from primase.corpus.prepare import prepare
from primase.corpus.store import Corpus, draw_runs
from primase.errors import InputError, MissingFileError, OutputExistsError, RunInUseError
from primase.recipe import Recipe
from primase.run_lock import LOCK_FILE, RunLock
from primase.tokenizers import load_tokenizer


def recipe(**overrides):
    settings = {"data.window_bases": 100, "data.short_records": "error", "split.gap_bases": 0, "split.block_bases": 500}
    return Recipe.load("default", settings | {key.replace("__", "."): value for key, value in overrides.items()})


def sequence(bases: int, seed: int = 0, alphabet: str = "ACGT") -> str:
    return "".join(random.Random(seed).choices(alphabet, k=bases))


def write_fasta(path, records: dict[str, str]):
    path.write_text("".join(f">{name}\n{text}\n" for name, text in records.items()))
    return path


def all_windows(corpus: Corpus) -> list[str]:
    return [window.tobytes().decode() for window in corpus.iterate(np.arange(len(corpus.windows)))]


def test_windows_are_the_sequence_cut_side_by_side_with_case_kept(tmp_path):
    text = sequence(2070, alphabet="ACGTacgt")
    corpus = prepare([write_fasta(tmp_path / "g.fa", {"chr1": text})], tmp_path / "corpus", recipe())
    assert all_windows(corpus) == [text[i : i + 100] for i in range(0, 2000, 100)]
    assert corpus.place(7) == ("chr1", 700)
    assert corpus.description["base_counts"]["soft_masked"] == sum(letter.islower() for letter in text)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("kind", ["kmer", "byte-pair"])
def test_the_side_of_the_padding_is_that_of_the_recipe(tmp_path, kind, side):
    settings = {"tokenizer__kind": kind, "tokenizer__padding_side": side, "tokenizer__vocabulary_tokens": 64}
    genome = write_fasta(tmp_path / "g.fa", {"chr1": sequence(4000)})
    corpus = prepare([genome], tmp_path / "corpus", recipe(**settings))
    assert load_tokenizer(str(corpus.folder / "tokenizer")).padding_side == side


def test_windows_are_the_same_read_a_few_at_a_time(tmp_path, monkeypatch):
    corpus = prepare([write_fasta(tmp_path / "g.fa", {"a": sequence(2_000)})], tmp_path / "corpus", recipe())
    whole = all_windows(corpus)
    monkeypatch.setattr(cut, "CHUNK_WINDOWS", 3)
    assert all_windows(corpus) == whole and len(whole) > 3


def test_windows_with_unknown_bases_are_dropped_or_kept_as_n(tmp_path):
    text = sequence(150) + "N" * 5 + sequence(345) + "R" + sequence(1499)
    file = write_fasta(tmp_path / "g.fa", {"chr1": text})
    dropped = prepare([file], tmp_path / "dropped", recipe())
    assert len(dropped.windows) == 18
    assert not any("N" in window for window in all_windows(dropped))
    kept = prepare([file], tmp_path / "kept", recipe(data__unknown_bases="keep"))
    assert "".join(all_windows(kept)) == text.replace("R", "N")


def test_short_records_are_refused_skipped_or_kept(tmp_path):
    records = {"long": sequence(2050), "short": sequence(60)}
    file = write_fasta(tmp_path / "g.fa", records)
    with pytest.raises(InputError, match="record short has 60 bases, fewer than a window of 100"):
        prepare([file], tmp_path / "corpus", recipe())
    assert not (tmp_path / "corpus").exists() and not list(tmp_path.glob(".*partial"))
    assert len(prepare([file], tmp_path / "skip", recipe(data__short_records="skip")).windows) == 20
    kept = prepare([file], tmp_path / "keep", recipe(data__short_records="keep"))
    assert sorted(all_windows(kept), key=len)[0] == records["long"][2000:]
    assert records["short"] in all_windows(kept)


def test_the_default_takes_an_assembly_with_short_records(tmp_path):
    """Every assembly has some: `primase pretrain GENOME` needs no other word for them."""
    assembly = write_fasta(tmp_path / "g.fa", {"chr1": sequence(300_000), "scrap": sequence(700), "one": "A"})
    corpus = prepare([assembly], tmp_path / "corpus", Recipe.load("default"))
    assert corpus.windows["length"].tolist() == [10_000] * 30 + [700, 1]


@pytest.mark.parametrize("form", ["csv", "csv.gz", "tsv", "parquet"])
def test_a_table_gives_the_windows_that_a_fasta_gives(tmp_path, form):
    rows = [sequence(100, seed) for seed in range(40)]
    table = tmp_path / f"windows.{form}"
    if form == "parquet":
        pq.write_table(pa.table({"sequence": rows}), table)
    else:
        text = "\n".join(["text", *rows]) + "\n"
        table.write_bytes(gzip.compress(text.encode()) if form.endswith("gz") else text.encode())
    from_table = prepare([table], tmp_path / "table", recipe())
    assert all_windows(from_table) == rows
    assert from_table.description["split"]["strategy"] == "random"


def test_a_folder_is_its_files_and_duplicate_names_across_files_are_refused(tmp_path):
    folder = tmp_path / "genome"
    folder.mkdir()
    write_fasta(folder / "a.fa", {"chr1": sequence(1000, 1)})
    write_fasta(folder / "b.fa", {"chr2": sequence(1000, 2)})
    assert prepare([folder], tmp_path / "corpus", recipe()).record_names() == ["chr1", "chr2"]
    write_fasta(folder / "c.fa", {"chr1": sequence(1000, 3)})
    with pytest.raises(InputError, match="chr1"):
        prepare([folder], tmp_path / "again", recipe())


def test_the_same_input_gives_the_same_digest_and_another_seed_does_not(tmp_path):
    file = write_fasta(tmp_path / "g.fa", {"chr1": sequence(5000)})
    first, again, other = (
        prepare([file], tmp_path / name, recipe(seed=seed)).digest for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert first == again != other


def test_byte_pair_tokens_are_stored_and_spell_the_windows(tmp_path):
    text = sequence(20_000, alphabet="ACGTTTA")
    file = write_fasta(tmp_path / "g.fa", {"chr1": text})
    settings = recipe(tokenizer__kind="byte-pair", tokenizer__vocabulary_tokens=64)
    corpus = prepare([file], tmp_path / "corpus", settings)
    tokenizer = AutoTokenizer.from_pretrained(corpus.folder / "tokenizer")
    assert corpus.description["unknown_tokens"] == 0
    for window in (0, 57, len(corpus.windows) - 1):
        assert tokenizer.decode(corpus.tokens(window)).replace(" ", "") == corpus.bases(window).tobytes().decode()


def test_an_existing_output_is_left_alone_unless_told(tmp_path):
    file = write_fasta(tmp_path / "g.fa", {"chr1": sequence(5000)})
    corpus = prepare([file], tmp_path / "corpus", recipe())
    with pytest.raises(OutputExistsError, match="already exists"):
        prepare([file], tmp_path / "corpus", recipe())
    assert prepare([file], tmp_path / "corpus", recipe(), overwrite=True).digest == corpus.digest


def test_a_corpus_that_another_process_prepares_is_refused_and_left_alone(tmp_path):
    file = write_fasta(tmp_path / "g.fa", {"chr1": sequence(2050)})
    theirs = tmp_path / ".corpus.partial" / "corpus" / "bases.bin"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("half of it")
    with RunLock() as lock:
        lock.take(tmp_path / ".corpus.partial")
        with pytest.raises(RunInUseError, match=r"/corpus: another process is preparing this corpus; wait"):
            prepare([file], tmp_path / "corpus", recipe(), overwrite=True)
        assert theirs.read_text() == "half of it" and not (tmp_path / "corpus").exists()
    prepare([file], tmp_path / "corpus", recipe())  # that process was killed
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["corpus", "g.fa"]
    assert not (tmp_path / "corpus" / LOCK_FILE).exists()


def test_a_corpus_that_came_meanwhile_is_not_replaced(tmp_path, monkeypatch):
    file = write_fasta(tmp_path / "g.fa", {"chr1": sequence(2050)})
    take = RunLock.take

    def take_late(lock, folder):
        (tmp_path / "corpus").mkdir()
        (tmp_path / "corpus" / "corpus.json").write_text("theirs")
        take(lock, folder)

    monkeypatch.setattr(RunLock, "take", take_late)
    with pytest.raises(OutputExistsError, match="--overwrite"):
        prepare([file], tmp_path / "corpus", recipe())
    assert (tmp_path / "corpus" / "corpus.json").read_text() == "theirs"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["corpus", "g.fa"]


def test_only_n_is_refused_and_nothing_is_left(tmp_path):
    file = write_fasta(tmp_path / "n.fa", {"chr1": "N" * 1000})
    with pytest.raises(InputError, match="only N"):
        prepare([file], tmp_path / "corpus", recipe())
    assert [entry.name for entry in tmp_path.iterdir()] == ["n.fa"]


def test_a_missing_broken_or_newer_corpus_is_named(tmp_path):
    with pytest.raises(MissingFileError, match="no corpus here"):
        Corpus.open(tmp_path)
    (tmp_path / "corpus.json").write_text("{")
    with pytest.raises(InputError, match="not readable"):
        Corpus.open(tmp_path)
    (tmp_path / "corpus.json").write_text(json.dumps({"schema_version": 99}))
    with pytest.raises(InputError, match="newer Primase"):
        Corpus.open(tmp_path)


@pytest.mark.parametrize("name", ["bases.bin", "windows.npy"])
def test_a_corpus_with_a_file_gone_is_named(tmp_path, name):
    file = write_fasta(tmp_path / "g.fa", {"chr1": sequence(5000)})
    prepare([file], tmp_path / "corpus", recipe())
    (tmp_path / "corpus" / name).unlink()
    with pytest.raises(InputError, match=f"{name} is missing; run primase prepare again"):
        Corpus.open(tmp_path / "corpus")


def test_the_tutorials_window_has_42_real_tokens_and_unknown_tokens_are_counted(tmp_path, dnabert2_tokenizer_folder):
    rows = [sequence(200, seed) for seed in range(30)] + ["N" * 3 + sequence(197)]
    (tmp_path / "w.csv").write_text("\n".join(["text", *rows]))
    settings = Recipe.load("tutorial", {"tokenizer.name": str(dnabert2_tokenizer_folder), "data.unknown_bases": "keep"})
    corpus = prepare([tmp_path / "w.csv"], tmp_path / "corpus", settings)
    assert corpus.description["unknown_tokens"] == 3


def test_windows_that_touch_are_read_as_one_stretch(tmp_path):
    records = {"chr1": sequence(1250) + "N" * 50 + sequence(800), "chr2": sequence(1000, seed=1)}
    corpus = prepare([write_fasta(tmp_path / "g.fa", records)], tmp_path / "corpus", recipe())
    everything = np.arange(len(corpus.windows))
    assert [window.tobytes().decode() for window in corpus.iterate_stretches(everything)] == [
        records["chr1"][:1200],
        records["chr1"][1300:2100],
        records["chr2"],
    ]
    assert corpus.stretches(everything).tolist() == [[0, 12], [12, 20], [20, 30]]
    assert corpus.stretches(np.array([1, 2, 4, 19, 20])).tolist() == [[0, 2], [2, 3], [3, 4], [4, 5]]
    assert corpus.stretches(everything[:0]).shape == (0, 2) and not list(corpus.iterate_stretches(everything[:0]))


def test_a_draw_for_measuring_is_of_neighbours(tmp_path):
    """Single windows would have no context at their starts, which a whole genome has."""
    file = write_fasta(tmp_path / "g.fa", {"a": sequence(40_030), "b": sequence(20_000, 1), "c": sequence(300, 2)})
    corpus = prepare([file], tmp_path / "corpus", recipe(split__strategy="records", split__heldout_records=["a", "c"]))
    drawn = draw_runs(corpus, "heldout", 10_000, seed=0)
    lengths = [int((after - first) * 100) for first, after in corpus.stretches(drawn).tolist()]
    assert 10_000 <= sum(lengths) < 10_500 and min(lengths) >= 300
    assert np.isin(drawn, corpus.part("heldout")).all() and (np.diff(drawn) > 0).all()
    assert (drawn == draw_runs(corpus, "heldout", 10_000, seed=0)).all()
    assert len(draw_runs(corpus, "heldout", 10_000, seed=1)) and (draw_runs(corpus, "heldout", 1, seed=1)).size == 1
    np.testing.assert_array_equal(draw_runs(corpus, "heldout", None, seed=0), corpus.part("heldout"))
    np.testing.assert_array_equal(draw_runs(corpus, "heldout", 10**9, seed=0), corpus.part("heldout"))


def test_a_file_that_is_no_longer_what_was_prepared_is_named(tmp_path):
    """Cut off: as it is opened. Changed: when all is read."""
    settings = recipe(tokenizer__kind="byte-pair", tokenizer__vocabulary_tokens=64)
    folder = prepare([write_fasta(tmp_path / "g.fa", {"chr1": sequence(20_000)})], tmp_path / "corpus", settings).folder
    assert Corpus.open(folder).damage() is None
    files = [file for file in folder.rglob("*") if file.is_file() and file.name != "corpus.json"]
    assert {"bases.bin", "tokens.bin", "windows.npy", "tokenizer.json"} <= {file.name for file in files}
    for file in files:
        before = file.read_bytes()
        file.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
        assert Corpus.open(folder).damage().startswith(f"{file} has changed since it was written (SHA-256 ")
        file.write_bytes(before[:-1])
        with pytest.raises(
            InputError, match=rf"{file} has {len(before) - 1:,} bytes, not {len(before):,}; run primase"
        ):
            Corpus.open(folder)
        file.write_bytes(before)
    assert Corpus.open(folder).damage() is None


def test_a_corpus_of_before_checksums_is_read(tmp_path):
    folder = prepare([write_fasta(tmp_path / "g.fa", {"chr1": sequence(2000)})], tmp_path / "corpus", recipe()).folder
    description = json.loads((folder / "corpus.json").read_text())
    del description["bytes_of_file"], description["sha256_of_file"]
    (folder / "corpus.json").write_text(json.dumps(description))
    assert Corpus.open(folder).damage() is None
    (folder / "bases.bin").write_bytes(b"A")
    with pytest.raises(InputError, match=r"bases\.bin: missing or cut off"):
        Corpus.open(folder)


def test_byte_pairs_know_nothing_of_what_is_held_out(tmp_path):
    """A word that one record repeats is a token where the record is trained on, and none where it is held out."""
    word = "GATTACACAT"
    file = write_fasta(tmp_path / "g.fa", {"a": sequence(4000), "b": sequence(4000, seed=1), "c": word * 200})
    has_word = {}
    for heldout in ("a", "c"):
        settings = {"tokenizer.kind": "byte-pair", "tokenizer.vocabulary_tokens": 64, "split.strategy": "records"}
        corpus = prepare([file], tmp_path / heldout, recipe(**settings, **{"split.heldout_records": [heldout]}))
        vocabulary = load_tokenizer(corpus.folder / "tokenizer").get_vocab()
        has_word[heldout] = any(len(token) >= 8 and token in word * 3 for token in vocabulary)
    assert has_word == {"a": True, "c": False}
