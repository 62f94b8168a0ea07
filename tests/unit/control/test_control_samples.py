"""Samples and percentiles out of a Prometheus text."""

import pytest

from geoosd.control.core.samples import buckets, percentile, read, total

TEXT = """# HELP x X
# TYPE x counter
x{daemon="a",why="} y"} 3
x{daemon="b"} 4.5 1700000000
x nonsense
y 1
h_bucket{daemon="a",le="0.1"} 5
h_bucket{le="+Inf",daemon="a"} 9
h_bucket{daemon="b",le="0.1"} 1
h_bucket{daemon="b"} 1
"""


def test_samples_of_the_names_that_are_wanted():
    found = read(TEXT, ["x", "h_bucket", "missing"])
    assert total(found["x"]) == 7.5
    assert found["missing"] == []
    assert buckets(found["h_bucket"]) == {0.1: 6.0, float("inf"): 9.0}
    assert "y" not in found


INF = float("inf")


@pytest.mark.parametrize(
    ("grown", "share", "value"),
    [
        ({}, 0.99, None),
        ({1.0: 0, INF: 0}, 0.99, None),
        ({1.0: 100, 2.0: 100, INF: 100}, 0.5, 0.5),
        ({1.0: 0, 2.0: 100, INF: 100}, 0.99, 1.99),
        ({1.0: 90, 2.0: 100, INF: 100}, 0.95, 1.5),
        ({1.0: 90, 2.0: 90, INF: 100}, 0.99, 2.0),  # beyond the last bound: that is all we know
        ({1.0: 90, 2.0: 90, INF: 100}, 0.9, 1.0),
        ({1.0: 50, 2.0: 100}, 1.0, 2.0),
        ({1.0: 0, 2.0: 10}, 0.0, 1.0),
    ],
)
def test_percentiles_are_prometheus_own(grown, share, value):
    assert percentile(grown, share) == (value if value is None else pytest.approx(value))


def test_counts_that_fall_give_the_last_bound():
    assert percentile({1.0: 4, 2.0: 3, 3.0: 5}, 1.2) == 3.0
