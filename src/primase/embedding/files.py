"""Vectors into a file: streamed in bounded memory, resumable, and complete or not there."""

import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from primase import processes
from primase.codec.fingerprint import model_sha256, tokenizer_sha256
from primase.embedding import rows as sources_of_rows
from primase.embedding.progress import Progress
from primase.embedding.results import EmbedResult
from primase.embedding.rows import Row, Source
from primase.embedding.vectors import embed_stream, load, vector_shape
from primase.embedding.writers import write
from primase.errors import InputError, OutputExistsError, PrimaseError, RunInUseError
from primase.formats.vectors import VECTOR_SUFFIXES, require_vector_libraries
from primase.run_lock import LOCK_FILE, RunLock
from primase.scoring import LoadedModel, Precision


def embed_to_file(
    model: str | Path | LoadedModel,
    sources: Sequence[str | Path],
    output: str | Path,
    *,
    regions: str | Path | None = None,
    genome: str | Path | None = None,
    layer: int | str = -1,
    pooling: str = "mean",
    both_strands: bool = False,
    batch_tokens: int = 16_384,
    precision: Precision = "fp32",
    column: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Callable[[str, float], None] = lambda what, share: None,
    on_unknown: Callable[[int], None] | None = None,
) -> EmbedResult:
    """Embed all records of files, or the `regions` (BED) of a `genome`, into `output`.

    By its ending, `output` is .npy (the matrix), .parquet (name, embedding, record, start, end, strand), or AnnData as
    .h5ad or .zarr (X, and obs with name, record, start, end, strand). With layer `all` there is one more dimension:
    [sequences, layers + 1, width]. Vectors are gathered in a hidden folder beside the output, which is made only when
    all are there; an interruption leaves that folder, and `resume` goes on in it, to the same bytes. Several processes
    share the work and write the bytes of one.

    Raises as `embed` does; OutputExistsError where `output` is there and `overwrite` is not set; CheckpointError where
    what is to be resumed was begun otherwise; RunInUseError where another process writes it; MissingExtraError.
    """
    begun = time.perf_counter()
    processes.start()
    output = Path(output)
    _check_output(output, overwrite=overwrite)
    source = _source(sources, regions, genome, column)
    loaded = load(model, layer, precision)
    stream = {"layer": layer, "pooling": pooling, "both_strands": both_strands, "batch_tokens": batch_tokens}
    embed_stream(loaded, (), **stream)  # refuses what the model does not have before anything is made
    shape = vector_shape(loaded, layer)
    settings = {
        "model": model_sha256(loaded),
        "tokenizer": tokenizer_sha256(loaded),
        "sources": [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in source.files],
        "column": column,
        "precision": loaded.precision,
        **stream,
    }
    folder = output.with_name(f".{output.name}.partial")
    with RunLock() as lock:
        gathered = processes.by_main(lambda: _begin(folder, settings, shape, resume, lock))
        try:
            done_rows, unknown = _gather(gathered, source, loaded, stream, progress)
            processes.by_main(lambda: _finish(gathered, shape, folder, output, progress))
        except (PrimaseError, OSError):  # to be mended before another start; an interruption is none of these
            if processes.is_main():
                shutil.rmtree(folder, ignore_errors=True)
            raise
    if unknown and on_unknown is not None:
        on_unknown(unknown)
    return EmbedResult(
        model="(in memory)" if isinstance(model, LoadedModel) else str(model),
        output=str(output),
        shape=[done_rows, *shape],
        layer=layer,
        pooling=pooling,
        both_strands=both_strands,
        precision=loaded.precision,
        unknown_tokens=unknown,
        renamed_records=source.renamed,
        seconds=time.perf_counter() - begun,
    )


def _begin(folder: Path, settings: dict, shape: tuple[int, ...], resume: bool, lock: RunLock) -> Progress:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock.take(folder)
    except RunInUseError:
        output = folder.with_name(folder.name.removeprefix(".").removesuffix(".partial"))
        raise RunInUseError(f"{output}: another process is writing it; wait for it, or choose another output") from None
    gathered = Progress.go_on(folder, settings, shape) if resume else None
    if gathered is None:
        try:
            for left in (file for file in folder.iterdir() if file.name != LOCK_FILE):
                shutil.rmtree(left) if left.is_dir() else left.unlink()
            gathered = Progress.begin(folder, settings)
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    return gathered


def _finish(
    gathered: Progress, shape: tuple[int, ...], folder: Path, output: Path, progress: Callable[[str, float], None]
) -> None:
    progress("writing", 0.0)
    write(gathered, shape, folder / f"result{output.suffix}")
    if output.is_dir():
        shutil.rmtree(output)
    (folder / f"result{output.suffix}").replace(output)
    progress("writing", 1.0)
    shutil.rmtree(folder)


def _check_output(output: Path, *, overwrite: bool) -> None:
    if output.suffix not in VECTOR_SUFFIXES:
        raise InputError(
            f"{output}: embeddings are written as {', '.join(VECTOR_SUFFIXES[:-1])} or {VECTOR_SUFFIXES[-1]}; "
            "choose one of these endings"
        )
    require_vector_libraries(output.suffix)
    is_ours = output.suffix == ".zarr" and (output / ".zattrs").is_file()
    if output.is_dir() and not is_ours:
        raise OutputExistsError(f"{output}: is a folder; choose another file")
    if output.exists() and not overwrite:
        raise OutputExistsError(f"{output}: already exists; choose another file or pass --overwrite")


def _source(
    sources: Sequence[str | Path], regions: str | Path | None, genome: str | Path | None, column: str | None
) -> Source:
    if regions is None and genome is None:
        return sources_of_rows.of_files(sources, column)
    if regions is None or genome is None or sources:
        raise InputError("regions are cut from a genome: give both --regions and --genome, and no other sequences")
    return sources_of_rows.of_regions(regions, genome)


def _gather(
    gathered: Progress,
    source: Source,
    loaded: LoadedModel,
    stream: dict,
    progress: Callable[[str, float], None],
) -> tuple[int, int]:
    """Embed the rows that are not done yet, group by group; the groups begin where they would without a break.

    Returns the rows in all, and the unknown tokens. Of several processes the main one writes.
    """
    pending: deque[Row] = deque()
    unknown: list[int] = []
    total = source.total or max(1, sum(file.stat().st_size for file in source.files))
    done, rows = 0.0, 0

    def sequences() -> Iterator[bytes]:
        nonlocal done, rows
        for number, (row, sequence) in enumerate(source.rows()):
            # Of files, the share of bytes that were read; compressed ones are ahead of it, and wait at the end.
            rows += 1
            done += 1 if source.total else len(sequence)
            if number >= gathered_before:
                if processes.is_main():
                    pending.append(row)
                yield sequence

    gathered_before = gathered.done_rows
    groups = embed_stream(loaded, sequences(), first_number=gathered_before, on_unknown=unknown.append, **stream)
    progress("embedding", 0.0)
    for vectors in groups:
        gathered.add([pending.popleft() for _ in range(len(vectors))], vectors)
        progress("embedding", min(0.99, done / total))
    progress("embedding", 1.0)
    return rows, sum(unknown)
