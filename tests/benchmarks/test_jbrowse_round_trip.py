"""The comparison of a bigWig with what JBrowse's reader gave: it must notice a value or a summary that is wrong."""

import numpy as np
import pytest

from benchmarks.jbrowse_round_trip import compare

VALUES = {"chr1": np.array([1.0, 2.0, np.nan, 4.0])}


def answers(value: float = 4.0, mean: float = 1.5) -> list[dict]:
    single = [(0, 1, 1.0), (1, 2, 2.0), (3, 4, value)]
    summaries = [(0, 2, mean, 1.0, 2.0), (2, 4, 4.0, 4.0, 4.0)]
    names = ("start", "end", "score", "minScore", "maxScore")
    return [
        {"record": "chr1", "span": 0, "items": [dict(zip(names, item, strict=False)) for item in single]},
        {"record": "chr1", "span": 2, "items": [dict(zip(names, item, strict=True)) for item in summaries]},
    ]


@pytest.mark.parametrize(
    ("changed", "differences"), [({}, (0, 0)), ({"value": 4.5}, (0.5, 0)), ({"mean": 1.25}, (0, 0.25))]
)
def test_differences_are_found(changed, differences):
    found = compare(VALUES, answers(**changed))
    assert (found["values"], found["zoom_levels"], found["summaries"]) == (3, 1, 2)
    assert (found["values_largest_difference"], found["summaries_largest_difference"]) == differences


def test_a_value_where_there_is_none_is_an_error():
    with pytest.raises(AssertionError, match="chr1"):
        compare(VALUES, [{"record": "chr1", "span": 0, "items": [{"start": 0, "end": 4, "score": 1.0}]}])
