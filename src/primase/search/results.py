"""What `primase search` returns: a description of an index, which is also its index.json, and hits."""

from pydantic import Field

from primase.results import Result


class SearchIndex(Result):
    """index.json in the folder of an index: what was indexed, by which model."""

    schema_version: int = 1
    model: str
    model_sha256: str
    tokenizer_sha256: str
    sources: list[str]
    records: int
    bases: int
    windows: int
    skipped_windows: int
    """Left out because fewer than half of their letters are A, C, G or T."""
    window_bases: int = Field(ge=1)
    step_bases: int = Field(ge=1)
    layer: int
    width: int


class SearchHit(Result):
    """A window of the genome that is near a window of a query."""

    query: str
    query_start: int
    query_end: int
    """0-based half-open: the whole query, or the window of a longer one."""
    rank: int
    """1 is the nearest of this query."""
    record: str
    start: int
    end: int
    """0-based half-open."""
    strand: str
    """Always "." (not known): vectors are the mean of both strands."""
    similarity: float
    """Cosine of the centred vectors, -1 to 1."""


class SearchResult(Result):
    """The nearest windows of each query."""

    schema_version: int = 1
    index: str
    model: str
    queries: int
    window_bases: int
    """Of the index."""
    short_queries: int
    """Queries of less than half a window, whose vectors are means over few tokens."""
    top: int
    hits: list[SearchHit]
