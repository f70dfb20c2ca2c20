"""`primase picture map`: vectors of sequences in two dimensions, coloured by what is known of them."""

from collections import Counter
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from primase.errors import InputError, MissingExtraError
from primase.formats.columns import Column, as_number, read_columns, require_column
from primase.formats.vectors import VectorTable, read_vectors
from primase.pictures.drawing import COLOURS, PALE_GREY, figure_to, legend_name, require_picture_name
from primase.pictures.results import MapPicture
from primase.whole_files import refuse_existing, refuse_unwritable, written_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METHODS = ("pca", "umap")
FEWEST_ROWS = {"pca": 3, "umap": 4}
"""UMAP starts from three eigenvectors, of which there must be fewer than rows."""

MARKERS = ("o", "^")
MOST_GROUPS = len(COLOURS) * len(MARKERS)
"""Groups with a look of their own: each colour as a disc, then each as a triangle."""

MOST_STROKES = 20_000
"""Points beyond which an .svg holds them as an image."""

NAME = "name"


class Projection(NamedTuple):
    """Vectors in two dimensions."""

    places: np.ndarray
    """float64 [rows, 2]."""
    axis_names: tuple[str, str]
    variance_shares: list[float] | None


class Groups(NamedTuple):
    """The values of a column as groups."""

    codes: np.ndarray
    """int64 [rows]: number of the group; -1 for what has no colour of its own."""
    names: list[str]
    """The largest group first."""
    rest: str | None
    """What is to be said of those without a colour, where there are any."""


def picture_map(
    vectors: str | Path,
    output: str | Path,
    *,
    colour_by: str | None = None,
    labels: str | Path | None = None,
    method: str = "pca",
    overwrite: bool = False,
    progress: Callable[[str, float], None] = lambda what, share: None,
) -> MapPicture:
    """Draw `vectors` (.npy, .parquet, .h5ad, .zarr; as `primase embed` writes them) in two dimensions, .png or .svg.

    `method`: pca, the two directions of the largest variance, or umap. `colour_by` is a column beside the vectors, or
    of the table `labels`, which has a row for each vector: found by its `name` where both files have names in another
    order, else in the order of the vectors. More than 12 different numbers become a colour bar, anything else groups,
    of which the 12 largest have a look of their own.

    Nothing is left at `output` unless all went well. Raises InputError, OutputExistsError, MissingExtraError.
    """
    output = Path(output)
    require_picture_name(output)
    refuse_existing(output, overwrite=overwrite)
    if method not in METHODS:
        raise InputError(f"method {method!r}: choose {' or '.join(METHODS)}")
    if method == "umap" and find_spec("umap") is None:
        raise MissingExtraError(
            "umap needs umap-learn, which is not installed: pip install 'primase[umap]', or choose pca"
        )
    if labels is not None and colour_by is None:
        raise InputError(f"{labels}: name the column to colour by with --colour-by")
    refuse_unwritable(output)
    progress("reading vectors", 0.0)
    table = read_vectors(vectors)
    column = _column(table, vectors, colour_by, labels) if colour_by is not None else None
    progress("projecting", 0.0)
    projection = project(table.vectors, method, str(vectors))
    numbers = numbers_of(column) if column is not None else None
    groups = grouped(column) if column is not None and numbers is None else None
    with written_whole(output) as partial, figure_to(partial, 7.6 if column is not None else 6, 5) as figure:
        draw_map(figure, projection, colour_by or "", numbers, groups)
    progress("projecting", 1.0)
    rows, dimensions = table.vectors.shape
    return MapPicture(
        vectors=str(vectors),
        output=str(output),
        rows=rows,
        dimensions=dimensions,
        method=method,
        variance_shares=projection.variance_shares,
        colour_by=colour_by,
        groups={name: int((groups.codes == code).sum()) for code, name in enumerate(groups.names)} if groups else {},
    )


def project(vectors: np.ndarray, method: str, source: str) -> Projection:
    """`vectors` float32 [rows, dimensions] in two. Raises InputError where there are too few, or all are the same."""
    rows, dimensions = vectors.shape
    fewest = FEWEST_ROWS[method]
    if rows < fewest or dimensions < 2:
        raise InputError(
            f"{source}: {rows:,} vectors of {dimensions:,} dimensions; a map by {method} needs {fewest} vectors of "
            "2 or more"
        )
    if (vectors == vectors[0]).all():
        raise InputError(f"{source}: all vectors are the same, so there is nothing to map")
    if method == "umap":
        import umap

        # The seed makes it repeatable, on one thread.
        mapper = umap.UMAP(n_components=2, n_neighbors=min(15, rows - 1), random_state=0, n_jobs=1)
        return Projection(np.asarray(mapper.fit_transform(vectors), np.float64), ("UMAP 1", "UMAP 2"), None)
    from sklearn.decomposition import PCA

    pca = PCA(2, svd_solver="covariance_eigh" if rows > dimensions else "full")
    places = pca.fit_transform(vectors.astype(np.float64))
    shares = pca.explained_variance_ratio_.tolist()
    names = tuple(f"principal component {number} ({share:.1%} of variance)" for number, share in enumerate(shares, 1))
    return Projection(places, names, shares)


def numbers_of(column: Column) -> np.ndarray | None:
    """float64 [rows], NaN where nothing is there; None unless all are numbers, more than 12 different ones."""
    values = [np.nan if value is None else as_number(value) for value in column]
    if None in values:
        return None
    numbers = np.array(values)
    known = numbers[np.isfinite(numbers)]
    return numbers if len(np.unique(known)) > MOST_GROUPS else None


def grouped(column: Column) -> Groups:
    """The largest groups, ties in the order of their names."""
    counts = Counter(value for value in column if value is not None)
    names = sorted(counts, key=lambda name: (-counts[name], name))
    shown = {name: code for code, name in enumerate(names[:MOST_GROUPS])}
    codes = np.array([shown.get(value, -1) for value in column], np.int64)
    others, missing = len(names) - len(shown), sum(value is None for value in column)
    parts = ([f"{others:,} other{'s' if others > 1 else ''}"] if others else []) + (["no value"] if missing else [])
    return Groups(codes, list(shown), ", ".join(parts) or None)


def draw_map(
    figure: "Figure", projection: Projection, title: str, numbers: np.ndarray | None, groups: Groups | None
) -> None:
    """One collection of points for each group, in order, the rest first and below them."""
    axes = figure.subplots()
    rows = len(projection.places)
    look = {"s": float(np.clip(20_000 / rows, 4, 36)), "linewidths": 0, "alpha": 0.8, "rasterized": rows > MOST_STROKES}

    def scatter(chosen: np.ndarray, **how):
        return axes.scatter(*projection.places[chosen].T, **look, **how)

    if groups:
        rest = [scatter(groups.codes < 0, color=PALE_GREY)] if groups.rest else []
        points = []
        for code in range(len(groups.names)):
            shape, colour = divmod(code, len(COLOURS))
            points.append(scatter(groups.codes == code, color=COLOURS[colour], marker=MARKERS[shape]))
        names = [*map(legend_name, groups.names), *([groups.rest] if groups.rest else [])]
        legend = {"loc": "center left", "bbox_to_anchor": (1, 0.5), "frameon": False, "fontsize": 9, "title": title}
        axes.legend(points + rest, names, **legend)
    elif numbers is not None:
        known = np.isfinite(numbers)
        if not known.all():
            scatter(~known, color=PALE_GREY)
        figure.colorbar(scatter(known, c=numbers[known], cmap="cividis"), label=title, pad=0.02)
    else:
        scatter(np.ones(rows, bool), color=COLOURS[0])
    axes.set_xlabel(projection.axis_names[0])
    axes.set_ylabel(projection.axis_names[1])
    axes.set_title(f"{rows:,} vectors", loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)


def _column(table: VectorTable, vectors: str | Path, name: str, labels: str | Path | None) -> Column:
    """The value of each vector."""
    rows = len(table.vectors)
    if labels is None:
        require_column(name, list(table.columns), vectors)
        return table.columns[name]
    columns = read_columns(labels, [name], [NAME])
    ours, theirs = table.columns.get(NAME), columns.get(NAME)
    if ours is None or theirs is None or ours == theirs:
        if len(columns[name]) != rows:
            raise InputError(
                f"{labels}: {len(columns[name]):,} rows for {rows:,} vectors; give a row for each, in their order, or "
                "a column 'name' in both files"
            )
        return columns[name]
    by_name = dict(zip(theirs, columns[name], strict=True))
    if len(by_name) < len(theirs):
        twice = next(name for name, count in Counter(theirs).items() if count > 1)
        raise InputError(f"{labels}: the name {twice!r} is there more than once; keep one row for each vector")
    missing = next((one for one in ours if one not in by_name), None)
    if missing is not None:
        raise InputError(f"{labels}: no row is named {missing!r} as one of the vectors is; add it")
    return [by_name[one] for one in ours]
