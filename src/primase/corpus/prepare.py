"""`primase prepare`: records in, a corpus folder out, in one pass; only the table of windows stays in memory."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import numpy as np
from transformers import PreTrainedTokenizerBase

from primase import processes
from primase.checksums import files_of, sha256
from primase.corpus.cut import chunks, cut_windows
from primase.corpus.ingest import Progress, Records, names_of, write_bases
from primase.corpus.split import PARTS, UNUSED, SplitChoice, split_windows
from primase.corpus.store import SCHEMA_VERSION, Corpus, bases_reader
from primase.errors import InputError, OutputExistsError, RunInUseError
from primase.formats import sequence_files
from primase.hub import TOKENIZER_FILES, local_folder
from primase.recipe import Recipe
from primase.run_lock import RunLock
from primase.sequence_encoder import SequenceEncoder
from primase.tokenizers import base_tokenizer, kmer_tokenizer, load_tokenizer, train_byte_pair_tokenizer
from primase.whole_files import folder_to_make

TOKENIZE_BATCH_BASES = 2_000_000


def prepare(
    sources: Sequence[str | Path],
    output: str | Path,
    recipe: Recipe,
    *,
    overwrite: bool = False,
    progress: Progress = lambda what, share: None,
) -> Corpus:
    """Write the corpus folder `output` from FASTA files, tables or folders of them.

    Several processes share the tokenizing, where it is slow; the main one does the rest, and knows the result.
    Nothing is left at `output` unless all went well. Raises InputError for sequences that cannot be used,
    OutputExistsError where `output` is a corpus and `overwrite` is not set, or is anything else but an empty folder,
    and RunInUseError where another process prepares it.
    """
    from primase.corpus.leakage import write_certificate  # numba: only where it is needed

    processes.start()
    output = folder_to_make(output)
    _refuse_to_replace(output, overwrite)
    files = sequence_files(sources)
    _refuse_corpora(files)
    pretrained = _pretrained_tokenizer(recipe) if recipe.tokenizer.kind == "pretrained" else None
    workplace = output.with_name(f".{output.name}.partial")
    partial, is_claimed = workplace / "corpus", False
    corpus = Corpus(partial, {})
    facts: dict = {}

    def begin() -> None:
        nonlocal is_claimed
        _claim(workplace, lock, output)
        is_claimed = True
        _refuse_to_replace(output, overwrite)  # it may have come while this process was starting
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        records = write_bases(files, partial, recipe.data, progress)
        windows, choice = _cut_and_split(files, records, partial, recipe, progress)
        np.save(partial / "windows.npy", windows)
        del windows  # those of a large genome are not held beside what follows
        write_certificate(corpus, recipe.seed, progress)
        tokenizer = pretrained or _own_tokenizer(corpus, recipe, progress)
        tokenizer.padding_side = recipe.tokenizer.padding_side
        # save_pretrained writes what was given to the constructor, with the values of the attributes.
        tokenizer.init_kwargs["padding_side"] = recipe.tokenizer.padding_side
        tokenizer.save_pretrained(partial / "tokenizer")
        facts.update(_describe(files, records, corpus, choice, recipe), bases_sha256=records.bases_sha256)

    def finish() -> None:
        noted = files_of(partial, known={"bases.bin": facts.pop("bases_sha256")})
        (partial / "corpus.json").write_text(json.dumps(facts | token_facts | noted, indent=2) + "\n", "utf-8")
        if output.exists():
            shutil.rmtree(output)
        partial.rename(output)

    with RunLock() as lock:
        try:
            processes.by_main(begin)
            token_facts = _tokenize(corpus, SequenceEncoder(load_tokenizer(str(partial / "tokenizer"))), progress)
            processes.by_main(finish)
        finally:
            if is_claimed:
                shutil.rmtree(workplace, ignore_errors=True)
    return Corpus.open(output)


def _refuse_to_replace(output: Path, overwrite: bool) -> None:
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    if not (output / "corpus.json").is_file():
        raise OutputExistsError(f"{output}: already exists and is no corpus of Primase; choose another output folder")
    if not overwrite:
        raise OutputExistsError(
            f"{output}: already exists; pass --overwrite to replace it, or choose another output folder"
        )


def _claim(workplace: Path, lock: RunLock, output: Path) -> None:
    """Make the hidden folder and hold it; one that a killed process left is taken over."""
    workplace.mkdir(parents=True, exist_ok=True)
    try:
        lock.take(workplace)
    except RunInUseError:
        raise RunInUseError(
            f"{output}: another process is preparing this corpus; wait for it, or choose another output folder"
        ) from None


def _refuse_corpora(files: list[Path]) -> None:
    for file in files:
        if file.name == "records.parquet" and (file.parent / "corpus.json").is_file():
            raise InputError(f"{file.parent}: is prepared already; give it to primase pretrain, with nothing beside it")


def _cut_and_split(
    files: list[Path], records: Records, folder: Path, recipe: Recipe, progress: Progress
) -> tuple[np.ndarray, SplitChoice]:
    """The table of windows with the part of each, and how the parts were chosen."""
    longest = int((records.places.ends - records.places.starts).max())
    try:
        if longest < recipe.data.window_bases and recipe.data.short_records == "skip":
            raise InputError(
                f"every record is shorter than a window of {recipe.data.window_bases:,} bases, the longest has "
                f"{longest:,}; set data.window_bases lower"
            )
        windows = cut_windows(records.places, records.unknown, recipe.data)
        bases_of_corpus = int(records.places.ends[-1])
        with bases_reader(folder) as read:

            def read_bases(start: int, stop: int) -> bytes:
                progress("comparing stretches", stop / bases_of_corpus)
                return read(start, stop)

            choice = split_windows(
                windows,
                records.places.starts,
                Corpus(folder, {}).record_names,
                recipe.split,
                seed=recipe.seed,
                is_table=records.from_table,
                read_bases=read_bases,
            )
    except InputError as error:
        raise InputError(f"{names_of(files)}: {error}") from error
    return windows, choice


def _pretrained_tokenizer(recipe: Recipe) -> PreTrainedTokenizerBase:
    return load_tokenizer(local_folder(recipe.tokenizer.name, TOKENIZER_FILES))


def _own_tokenizer(corpus: Corpus, recipe: Recipe, progress: Progress) -> PreTrainedTokenizerBase:
    """Byte pairs are those of the training part alone: a token must not know the held-out bases."""
    settings = recipe.tokenizer
    if settings.kind == "base":
        return base_tokenizer()
    if settings.kind == "kmer":
        return kmer_tokenizer(settings.k)
    progress("training the tokenizer", 0.0)
    return train_byte_pair_tokenizer(
        (window.tobytes() for window in corpus.iterate(corpus.part("train"))),
        vocab_size=settings.vocabulary_tokens,
        max_token_bases=settings.max_token_bases,
    )


def _tokenize(corpus: Corpus, encoder: SequenceEncoder, progress: Progress) -> dict:
    """Write tokens.bin where the tokenizer is slower than the training; count tokens and unknown tokens."""
    if encoder.regular_k is not None:
        # Our own tokenizers spell A, C, G, T and N, and bases.bin holds nothing else.
        return {"regular_bases_per_token": encoder.regular_k, "unknown_tokens": 0}
    from primase.corpus.pieces import window_pieces  # numba: only where it is needed

    dtype = np.dtype(np.uint16 if len(encoder.bases_per_token) <= 2**16 else np.uint32)
    windows, unknown, done = corpus.windows, 0, 0
    token_starts = np.zeros(len(windows) + 1, np.int64)

    def pieces() -> Iterator[tuple]:
        for chunk in chunks(windows):
            yield from window_pieces(corpus, chunk, TOKENIZE_BATCH_BASES)

    with ExitStack() as stack:
        out = stack.enter_context(open(corpus.folder / "tokens.bin", "wb")) if processes.is_main() else None
        for ids, counts in processes.shared(pieces(), lambda piece: encoder.encode_segments(*piece)):
            token_starts[done + 1 : done + 1 + len(counts)] = counts
            done += len(counts)
            unknown += encoder.unknown_count(ids)
            out.write(ids.astype(dtype))
            progress("tokenizing", done / len(windows))
    np.cumsum(token_starts, out=token_starts)
    if processes.is_main():
        np.save(corpus.folder / "token_starts.npy", token_starts)
    return {"token_dtype": dtype.name, "tokens": int(token_starts[-1]), "unknown_tokens": unknown}


def _describe(files: list[Path], records: Records, corpus: Corpus, choice: SplitChoice, recipe: Recipe) -> dict:
    windows_per_part, bases_per_part = np.zeros(4, int), np.zeros(4)
    checksum = hashlib.sha256(records.bases_sha256.encode())
    for chunk in corpus.iterate_windows():
        windows_per_part += np.bincount(chunk["part"], minlength=4)
        bases_per_part += np.bincount(chunk["part"], weights=chunk["length"], minlength=4)
        checksum.update(chunk)
    return {
        "schema_version": SCHEMA_VERSION,
        "sources": [{"name": file.name, "bytes": file.stat().st_size, "sha256": sha256(file)} for file in files],
        "records": len(records.places.starts),
        "from_table": records.from_table,
        "base_counts": records.base_counts,
        "recipe_digest": recipe.digest("seed", "data", "split", "tokenizer"),
        "data": recipe.data.model_dump(mode="json"),
        "split": recipe.split.model_dump(mode="json")
        | {"strategy": choice.strategy, "seed": recipe.seed, "heldout_records": list(choice.heldout_records)}
        | ({"homology": asdict(choice.homology)} if choice.homology else {}),
        "windows": {name: int(windows_per_part[code]) for name, code in PARTS.items()}
        | {"unused": int(windows_per_part[UNUSED])},
        "bases": {name: int(bases_per_part[code]) for name, code in PARTS.items()}
        | {
            "unused": int(bases_per_part[UNUSED]),
            "outside_windows": sum(records.base_counts[letter] for letter in "ACGTN") - int(bases_per_part.sum()),
        },
        "tokenizer_sha256": sha256(corpus.folder / "tokenizer" / "tokenizer.json"),
        "digest": checksum.hexdigest()[:16],
    }
