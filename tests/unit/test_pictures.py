"""What pictures show, read back from the drawing: values, places and colours; and the projection, by another way."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from primase.base_predictions import predict_bases, surprisal
from primase.errors import InputError, MissingExtraError
from primase.formats import Region, read_annotations
from primase.pictures import locus, vector_map
from primase.pictures.drawing import COLOURS, PALE_GREY, legend_name, round_positions
from primase.pictures.vector_map import draw_map, grouped, numbers_of, picture_map, project
from tests.models import tiny_model

GFF = """##gff-version 3
c\tx\tgene\t103\t112\t.\t+\t.\tID=g
c\tx\texon\t103\t106\t.\t+\t.\tParent=g
c\tx\texon\t110\t112\t.\t+\t.\tParent=g
c\tx\tCDS\t105\t106\t.\t+\t.\tParent=g
"""


@pytest.mark.parametrize("bases", [1, 2, 3, 4, 7, 50])
def test_smoothing_is_the_mean_of_what_is_around(bases):
    values = np.random.default_rng(0).normal(size=30)
    values[[0, 7, 8, 9, 10, 11, 12]] = np.nan
    smooth = locus.smoothed(values, bases)
    for place, found in enumerate(smooth):
        around = [
            values[other]
            for other in range(30)
            if place - (bases - 1) // 2 <= other <= place + bases // 2 and np.isfinite(values[other])
        ]
        np.testing.assert_allclose(found, np.mean(around) if np.isfinite(values[place]) else np.nan, atol=1e-12)


def test_positions_are_round_and_a_dozen_at_most():
    assert round_positions(Region("c", 99, 110)) == [*range(100, 111)]
    assert round_positions(Region("c", 1_984_784, 1_985_784)) == [*range(1_984_800, 1_985_784, 100)]
    for bases in (1, 13, 150, 99_999, 3_000_000):
        assert 1 <= len(round_positions(Region("c", 10**6 - 1, 10**6 - 1 + bases))) <= 13


def test_a_locus_shows_the_values_and_the_annotations_in_their_places(tmp_path):
    (tmp_path / "g.gff").write_text(GFF)
    region, letters = Region("c", 100, 115), b"ACGTACGNACGTACG"
    rng = np.random.default_rng(0)
    values = {"surprisal": rng.random(15) * 4, "entropy": rng.random(15) * 2}
    values["surprisal"][7] = values["entropy"][7] = np.nan
    figure = Figure()
    locus.draw_locus(figure, region, letters, values, 5, read_annotations(tmp_path / "g.gff"))
    surprisal_lane, entropy_lane, letter_lane, gene_lane = figure.axes
    for axes, name in ((surprisal_lane, "surprisal"), (entropy_lane, "entropy")):
        (steps,) = axes.patches
        np.testing.assert_array_equal(steps.get_data().values, values[name])
        np.testing.assert_array_equal(steps.get_data().edges, np.arange(16) - 0.5)
        np.testing.assert_array_equal(axes.lines[0].get_ydata(), locus.smoothed(values[name], 5))
        np.testing.assert_array_equal(axes.lines[0].get_xdata(), np.arange(15))
    centres = [patch.get_path().get_extents().x0 + 0.46 for patch in letter_lane.patches]
    np.testing.assert_allclose(centres, [*range(7), *range(8, 15)], atol=1e-6)
    boxes = {
        one.get_label(): [(path.get_extents().x0, path.get_extents().x1) for path in one.get_paths()]
        for one in gene_lane.collections
    }
    # 1-based positions 105 to 106 are the places 4 and 5 of a region that begins with position 101.
    assert boxes == {"coding": [(3.5, 5.5)], "exon": [(1.5, 3.5), (8.5, 11.5)], "intron": [(5.5, 8.5)]}
    ticks = {
        text.get_text(): place for place, text in zip(gene_lane.get_xticks(), gene_lane.get_xticklabels(), strict=True)
    }
    assert ticks["102"] == 1 and ticks["114"] == 13


@pytest.mark.parametrize("k", [1, 3])
def test_a_locus_knows_what_is_before_it(k, tmp_path, monkeypatch):
    """Its values are those of the whole record, also at its first base."""
    loaded = tiny_model(k=k, context_tokens=64)
    bases = np.random.default_rng(1).choice(np.frombuffer(b"ACGT", np.uint8), 60)
    (tmp_path / "g.fa").write_text(f">c\n{bases.tobytes().decode()}\n")
    drawn = {}
    monkeypatch.setattr(locus, "draw_locus", lambda figure, region, letters, values, *rest: drawn.update(values))
    result = locus.picture_locus(loaded, tmp_path / "g.fa", tmp_path / "p.png", region="c:21-50")
    (predictions,) = predict_bases(loaded, [bases])
    np.testing.assert_allclose(drawn["surprisal"], surprisal(predictions, bases)[20:50], atol=1e-5)
    wide = predictions[20:50].astype(np.float64)
    np.testing.assert_allclose(drawn["entropy"], -(wide * np.log2(wide)).sum(axis=1), atol=1e-5)
    assert result.mean_surprisal_bits == pytest.approx(float(surprisal(predictions, bases)[20:50].mean()), abs=1e-5)
    assert (result.start, result.end, result.bases, result.model) == (20, 50, 30, "(in memory)")


@pytest.mark.parametrize(("rows", "dimensions"), [(40, 6), (5, 30), (3, 2)])
def test_pca_is_the_singular_value_decomposition(rows, dimensions):
    vectors = np.random.default_rng(0).normal(size=(rows, dimensions)).astype(np.float32) + 5
    found = project(vectors, "pca", "v.npy")
    centred = vectors.astype(np.float64) - vectors.astype(np.float64).mean(axis=0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(np.abs(found.places), np.abs(left[:, :2] * sizes[:2]), atol=1e-6)
    np.testing.assert_allclose(found.variance_shares, (sizes**2 / (sizes**2).sum())[:2], rtol=1e-6)
    assert found.axis_names[1] == f"principal component 2 ({found.variance_shares[1]:.1%} of variance)"
    again = project(vectors, "pca", "v.npy")
    np.testing.assert_array_equal(again.places, found.places)


def test_numbers_and_groups_are_told_apart():
    assert numbers_of(["0", "1", None] * 20) is None, "labels of classes"
    assert numbers_of(["a", *map(str, range(20))]) is None
    assert numbers_of([f"{number}_1" for number in range(20)]) is None, "names"
    np.testing.assert_array_equal(
        numbers_of([*map(str, range(13)), None, "nan", "1e3"]), [*range(13), np.nan, np.nan, 1000]
    )
    few = grouped(["b", "a", None, "a"])
    assert few.names == ["a", "b"] and few.codes.tolist() == [1, 0, -1, 0] and few.rest == "no value"
    many = grouped([name for number, name in enumerate("abcdefghijklmn") for _ in range(number + 1)])
    assert many.names == list("nmlkjihgfedc") and many.rest == "2 others"
    assert (many.codes == -1).sum() == 3
    assert grouped(["x", "y"]).rest is None


def test_points_are_in_their_places_with_the_colour_of_their_group():
    projection = project(np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32), "pca", "v.npy")
    column = ["a"] * 9 + ["_b"] * 8 + ["c", "d", "e", "f", "g"] * 2 + [None] * 3
    figure, groups = Figure(), grouped(column)
    draw_map(figure, projection, "kind", None, groups)
    (axes,) = figure.axes
    rest, *points = axes.collections
    np.testing.assert_allclose(rest.get_offsets(), projection.places[-3:])
    assert to_hex(rest.get_facecolor()[0]) == PALE_GREY
    for name, one, colour in zip(groups.names, points, [*COLOURS, COLOURS[0]], strict=True):
        chosen = [value == name for value in column]
        np.testing.assert_allclose(one.get_offsets(), projection.places[chosen])
        assert to_hex(one.get_facecolor()[0]) == colour
    shapes = [len(one.get_paths()[0].vertices) for one in points]
    assert shapes[0] == shapes[5] != shapes[6], "the seventh is of the first colour and of another shape"
    said = [text.get_text() for text in axes.get_legend().get_texts()]
    assert said == ["a", " _b", "c", "d", "e", "f", "g", "no value"]
    assert axes.get_legend().get_title().get_text() == "kind"


def test_numbers_have_a_colour_bar():
    projection = project(np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32), "pca", "v.npy")
    numbers = np.r_[np.nan, np.arange(19.0)]
    figure = Figure()
    draw_map(figure, projection, "gc", numbers, None)
    axes, bar = figure.axes
    missing, known = axes.collections
    np.testing.assert_allclose(missing.get_offsets(), projection.places[:1])
    np.testing.assert_allclose(known.get_offsets(), projection.places[1:])
    np.testing.assert_array_equal(known.get_array(), numbers[1:])
    assert bar.get_ylabel() == "gc" and axes.get_legend() is None


def test_names_of_a_legend_are_short():
    assert legend_name("x" * 31) == "x" * 29 + "…" and legend_name("x" * 30) == "x" * 30


def test_umap_is_asked_for_two_dimensions_and_a_seed(tmp_path, monkeypatch):
    """The library is optional: here is its place taken."""
    asked = {}

    class Mapper:
        def __init__(self, **settings):
            asked.update(settings)

        def fit_transform(self, vectors):
            return vectors[:, 2:4]

    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=Mapper))
    vectors = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
    found = project(vectors, "umap", "v.npy")
    assert asked == {"n_components": 2, "n_neighbors": 5, "random_state": 0, "n_jobs": 1}
    np.testing.assert_array_equal(found.places, vectors[:, 2:4])
    assert found.axis_names == ("UMAP 1", "UMAP 2") and found.variance_shares is None


def test_a_missing_umap_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(vector_map, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'primase\[umap\]', or choose pca"):
        picture_map("v.npy", tmp_path / "p.png", method="umap")


@pytest.mark.parametrize(
    ("vectors", "method", "message"),
    [
        (np.zeros((2, 4)), "pca", "2 vectors of 4 dimensions; a map by pca needs 3 vectors of 2 or more"),
        (np.eye(3, 4), "umap", "3 vectors of 4 dimensions; a map by umap needs 4 vectors of 2 or more"),
        (np.zeros((9, 1)), "pca", "9 vectors of 1 dimensions"),
        (np.ones((9, 4)), "pca", "all vectors are the same"),
    ],
)
def test_nothing_to_map(vectors, method, message):
    with pytest.raises(InputError, match=message):
        project(vectors.astype(np.float32), method, "v.npy")


def test_a_formula_in_a_label_is_drawn_as_it_is(tmp_path):
    np.save(tmp_path / "v.npy", np.random.default_rng(0).normal(size=(4, 3)))
    (tmp_path / "l.csv").write_text("kind\n$\\nothing{$\n$x$\n$x$\n__\n")
    result = picture_map(tmp_path / "v.npy", tmp_path / "p.svg", colour_by="kind", labels=tmp_path / "l.csv")
    assert result.groups == {"$x$": 2, "$\\nothing{$": 1, "__": 1}
    assert Path(result.output).stat().st_size > 1000
