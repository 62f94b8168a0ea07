"""What values mean: thresholds, the worst status, its name."""

import json

import pytest

from geoosd.structure.report import Dimension, judged, overall, unknown


@pytest.mark.parametrize(
    ("value", "status"),
    [
        (1.0, "healthy"), (0.9, "healthy"), (0.8999, "warning"), (0.80, "warning"),
        (0.75, "warning"), (0.7499, "critical"), (0.70, "critical"), (0.0, "critical"),
    ],
)  # fmt: skip
def test_a_dimension(value, status):
    assert judged(value) == status


@pytest.mark.parametrize(
    ("value", "status"),
    [(0.95, "healthy"), (0.9499, "warning"), (0.80, "warning"), (0.7999, "critical")],
)
def test_the_score(value, status):
    assert judged(value, 0.95) == status


@pytest.mark.parametrize(
    ("score", "values", "status"),
    [
        (0.96, (0.95, 0.95, 0.95, 0.95), ("healthy", None)),
        (0.92, (0.95, 0.95, 0.92, 0.92), ("warning", "overall")),
        (0.96, (0.85, 1.0, 0.89, 1.0), ("warning", "symmetry")),
        (0.90, (0.85, 1.0, 0.70, 0.60), ("critical", "consistency")),
        (0.70, (0.80, 0.80, 0.80, 0.79), ("critical", "overall")),
    ],
)
def test_the_worst_names_its_dimension(score, values, status):
    names = ("symmetry", "integrity", "stability", "consistency")
    dimensions = {
        name: Dimension(value, judged(value)) for name, value in zip(names, values, strict=True)
    }
    assert overall(score, dimensions) == status


def test_unknown_is_no_score():
    report = unknown("/x", "no source", {"files": 0})
    assert (report.status, report.score, report.label) == ("unknown", None, "unknown (no source)")
    assert json.loads(json.dumps(report.as_dict()))["label"] == "unknown (no source)"
