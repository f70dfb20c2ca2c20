"""What `primase picture` returns: what was drawn, and where it is."""

from primase.results import Result


class LocusPicture(Result):
    """A picture of a locus, base by base."""

    schema_version: int = 1
    model: str
    output: str
    record: str
    start: int
    end: int
    """0-based half-open."""
    bases: int
    """A, C, G and T, which have a value."""
    mean_surprisal_bits: float
    mean_entropy_bits: float
    smooth_bases: int
    """Bases that a point of the smoothed line is the mean of."""
    window_bases: int
    """Bases that are read at once; each base has at least half of them before it, or all there are."""
    seconds: float


class MapPicture(Result):
    """A picture of vectors in two dimensions."""

    schema_version: int = 1
    vectors: str
    output: str
    rows: int
    dimensions: int
    method: str
    variance_shares: list[float] | None
    """Share of the variance on each axis, of PCA."""
    colour_by: str | None
    groups: dict[str, int]
    """Rows of each group that has a colour of its own; empty where the column holds numbers."""
