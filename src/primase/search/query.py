"""`primase search query`: the windows of an index that are nearest to each query."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from primase.codec.fingerprint import model_sha256, tokenizer_sha256
from primase.embedding import embed_stream, load
from primase.errors import InputError, MissingFileError, ModelError
from primase.formats import Record, read_records
from primase.formats.bgzip import write_output
from primase.own_files import one_line, read_array, read_json
from primase.scoring import LoadedModel
from primase.search.faiss_library import faiss_library
from primase.search.results import SearchHit, SearchIndex, SearchResult
from primase.search.windows import Window, cut, directions
from primase.whole_files import refuse_existing, refuse_unwritable


def query(
    index: str | Path,
    queries: str | Path | Sequence[str | Path] | Sequence[Record],
    output: str | Path | None = None,
    *,
    top: int = 10,
    model: str | Path | LoadedModel | None = None,
    overwrite: bool = False,
    progress: Callable[[str, float], None] = lambda what, share: None,
) -> SearchResult:
    """The `top` windows nearest to each query, by the cosine of vectors; written to `output`, if given: BED, .gz too.

    `queries`: files of sequences, or records. A query longer than the index's windows is cut into windows as the
    genome was, and a window of the genome counts with its best similarity to any of them, in any
    reading frame of k-mers. `model`: where the model that made the index is now, if not where it was.

    Raises MissingFileError, InputError, OutputExistsError; ModelError for another model than the index's.
    """
    faiss, folder = faiss_library(), Path(index)
    if top < 1:
        raise InputError(f"top {top}: must be 1 or more")
    if output is not None:
        refuse_existing(Path(output), overwrite=overwrite)
        refuse_unwritable(Path(output))
    description = read_description(folder)
    records = _records(queries)
    for record in records:
        if not _cuts(record, description):
            raise InputError(f"query {record.name}: A, C, G and T stand in less than half of it; remove it")
    loaded = load(model if model is not None else description.model, description.layer)
    loaded.refuse_rounding("search")
    _refuse_other_model(folder, description, loaded)
    held, table, centre = _read_index(faiss, folder, description)
    hits: list[SearchHit] = []
    for number, record in enumerate(records):
        windows = _frames(_cuts(record, description), loaded.encoder.regular_k)
        sequences = [one.sequence for one in windows]
        stream = embed_stream(loaded, sequences, layer=description.layer, both_strands=True)
        vectors = np.concatenate(list(stream))
        similarities, places = held.search(directions(vectors, centre), min(top, held.ntotal))
        hits.extend(_best(record, windows, similarities, places, table, top))
        progress("searching", (number + 1) / len(records))
    result = SearchResult(
        index=str(index),
        model=description.model,
        queries=len(records),
        window_bases=description.window_bases,
        short_queries=sum(2 * len(record.sequence) < description.window_bases for record in records),
        top=top,
        hits=hits,
    )
    if output is not None:
        write_output(Path(output), bed(result))
    return result


def _read_index(faiss, folder: Path, description: SearchIndex) -> tuple:
    """faiss index, table of windows, centre. Raises InputError where one is damaged, or they do not belong together."""
    remedy = "make it again"
    centre = read_array(folder / "centre.npy", dtype=np.float32, remedy=remedy)
    try:
        held = faiss.deserialize_index(np.fromfile(folder / "vectors.faiss", np.uint8))
        table = pq.read_table(folder / "windows.parquet", columns=["record", "start", "end"])
    except Exception as error:  # faiss raises RuntimeError, pyarrow its own
        raise InputError(f"{folder}: the index is damaged ({one_line(error)}); {remedy}") from error
    sizes = {len(centre), held.d, description.width}, {held.ntotal, len(table), description.windows}
    # Of hidden states: a number beyond this is damage, and its square is no number of 32 bits.
    is_sound = bool((np.abs(centre) < 1e15).all()) and not any(table[name].null_count for name in table.column_names)
    if any(len(size) > 1 for size in sizes) or not is_sound:
        raise InputError(f"{folder}: the index is damaged (its files do not belong together); {remedy}")
    return held, table, centre


def read_description(folder: Path) -> SearchIndex:
    """Raises MissingFileError where no index is, InputError for one that cannot be read."""
    file = folder / "index.json"
    if not file.is_file():
        raise MissingFileError(f"{folder}: no index here (index.json is missing); make one with primase search index")
    values = read_json(file, schema=SearchIndex.model_fields["schema_version"].default, remedy="make the index again")
    try:
        return SearchIndex.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{file}: damaged ({one_line(error)}); make the index again") from None


def bed(result: SearchResult) -> bytes:
    """The hits as BED6: name is QUERY:START-END/RANK of the window of the query, score 1,000 times the similarity."""
    lines = [
        f"{'_'.join(hit.record.split())}\t{hit.start}\t{hit.end}\t{'_'.join(hit.query.split())}:{hit.query_start}-{hit.query_end}/{hit.rank}\t"
        f"{round(1000 * max(0.0, min(1.0, hit.similarity)))}\t{hit.strand}\n"
        for hit in result.hits
    ]
    return "".join(lines).encode()


def _records(queries: str | Path | Sequence[str | Path] | Sequence[Record]) -> list[Record]:
    if not isinstance(queries, str | Path) and all(isinstance(one, Record) for one in queries):
        return list(queries)
    return list(read_records(queries))


def _cuts(record: Record, description: SearchIndex) -> list[Window]:
    """As the genome was cut, and what was left out of it is left out here."""
    return [one for one in cut([record], description.window_bases, description.step_bases) if one.is_known]


def _frames(windows: list[Window], k: int | None) -> list[Window]:
    """Of k-mers, each window also in its k - 1 other reading frames, cut so that both strands fall into the frame.

    The tokens of a copy are those of the genome's window only where both begin in the same frame. In whatever frame it
    is found, it is the window that is named.
    """
    shifted = [
        replace(one, sequence=one.sequence[frame : frame - k])
        for one in windows
        for frame in range(1, k or 1)
        if len(one.sequence) >= 2 * k
    ]
    return windows + shifted


def _best(
    record: Record, windows: list[Window], similarities: np.ndarray, places: np.ndarray, table: pa.Table, top: int
) -> Iterator[SearchHit]:
    """The hits of one query: each window of the genome once, with the window of the query that is nearest to it."""
    best: dict[int, tuple[float, int]] = {}
    for number in range(len(windows)):
        for similarity, place in zip(similarities[number].tolist(), places[number].tolist(), strict=True):
            if place not in best or similarity > best[place][0]:
                best[place] = similarity, number
    ranked = sorted(best.items(), key=lambda entry: (-entry[1][0], entry[0]))[:top]
    for rank, (place, (similarity, number)) in enumerate(ranked, 1):
        yield SearchHit(
            query=record.name,
            query_start=windows[number].start,
            query_end=windows[number].end,
            rank=rank,
            record=table["record"][place].as_py(),
            start=table["start"][place].as_py(),
            end=table["end"][place].as_py(),
            strand=".",
            similarity=similarity,
        )


def _refuse_other_model(folder: Path, description: SearchIndex, loaded: LoadedModel) -> None:
    for name, theirs, ours in (
        ("model", description.model_sha256, model_sha256(loaded)),
        ("tokenizer", description.tokenizer_sha256, tokenizer_sha256(loaded)),
    ):
        if theirs != ours:
            raise ModelError(
                f"{folder}: made with another model ({name} {theirs[:12]}, not {ours[:12]}), whose vectors do not "
                "compare; give the model that made it with --model, or make the index again"
            )
