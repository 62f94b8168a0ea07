"""tests/bench/compare.py: a ratio that became more than 10 % worse is noticed."""

import json

import pytest
from compare import Ratio, compare, main, ratios


def document(*results):
    return {
        "version": 1,
        "results": [
            {"name": name, "ratio": ratio, "better": better} for name, ratio, better in results
        ],
    }


@pytest.mark.parametrize(
    ("better", "before", "after", "worse"),
    [
        ("higher", 1.0, 0.91, False),
        ("higher", 1.0, 0.90, False),
        ("higher", 1.0, 0.89, True),
        ("higher", 1.0, 5.00, False),
        ("lower", 2.0, 2.2, False),
        ("lower", 2.0, 2.21, True),
        ("lower", 2.0, 0.1, False),
    ],
)
def test_ten_percent_is_the_limit(better, before, after, worse):
    _, found = compare({"x": Ratio(before, better)}, {"x": Ratio(after, better)})
    assert found == (["x"] if worse else [])


@pytest.mark.parametrize(
    ("better", "old", "new", "worse"),
    [
        ("higher", (1.0, 0.8, 1.1), (0.7, 0.6, 0.8), False),
        ("higher", (1.0, 0.8, 1.1), (0.7, 0.6, 0.79), True),
        ("lower", (1.0, 0.9, 1.2), (1.3, 1.2, 1.4), False),
        ("lower", (1.0, 0.9, 1.1), (1.3, 1.2, 1.4), True),
        ("higher", (1.0, 0.9, 1.1), (0.5, None, None), True),
    ],
)
def test_where_the_rounds_overlap_it_may_be_noise(better, old, new, worse):
    before, after = (Ratio(value, better, low, high) for value, low, high in (old, new))
    lines, found = compare({"x": before}, {"x": after})
    assert found == (["x"] if worse else [])
    assert ("or noise" in lines[0]) is not worse


def test_a_range_is_read_and_must_hold_its_ratio():
    entry = {"name": "a", "ratio": 2.0, "better": "higher", "low": 1, "high": 3.0}
    assert ratios({"version": 1, "results": [entry]}) == {"a": Ratio(2.0, "higher", 1.0, 3.0)}
    for wrong in ({"low": 2.5}, {"high": 1.5}, {"low": 0}, {"high": "3"}):
        with pytest.raises(ValueError, match="is no range around its ratio"):
            ratios({"version": 1, "results": [entry | wrong]})


def test_a_benchmark_that_vanished_is_worse_and_a_new_one_is_not():
    lines, worse = compare({"old": Ratio(1.0, "higher")}, {"new": Ratio(2.0, "higher")})
    assert worse == ["old"]
    assert lines == ["old: 1 -> missing  WORSE", "new: new, 2"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({}, "version is None"),
        ({"version": 2}, "version is 2"),
        (document((3, 1.0, "higher")), "no name of its own: 3"),
        (document(("a", 1.0, "higher"), ("a", 1.0, "higher")), "no name of its own: 'a'"),
        (document(("a", 0, "higher")), "not a number above 0"),
        (document(("a", True, "higher")), "not a number above 0"),
        (document(("a", "1", "higher")), "not a number above 0"),
        (document(("a", float("nan"), "higher")), "not a number above 0"),
        (document(("a", 1.0, "faster")), "not higher or lower"),
    ],
)
def test_a_file_that_says_nothing_sensible_is_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        ratios(wrong)


@pytest.fixture
def files(tmp_path):
    def write(old, new):
        paths = (tmp_path / "old.json", tmp_path / "new.json")
        for path, content in zip(paths, (old, new), strict=True):
            if content is not None:
                path.write_text(content if isinstance(content, str) else json.dumps(content))
        return [str(path) for path in paths]

    return write


@pytest.mark.parametrize(
    ("old", "new", "code", "said"),
    [
        (document(("a", 1.0, "higher")), document(("a", 0.95, "higher")), 0, "-5.0%"),
        (document(("a", 1.0, "lower")), document(("a", 1.5, "lower")), 1, "more than 10%: a"),
        (None, None, 0, "nothing to compare with"),
        (document(), None, 64, "cannot compare"),
        (document(), "{", 64, "cannot compare"),
    ],
)
def test_the_exit_code_tells(old, new, code, said, files, capsys):
    assert main(files(old, new)) == code
    output = capsys.readouterr()
    assert said in output.out + output.err


def test_two_files_are_wanted(capsys):
    assert main([]) == 64
    assert "usage" in capsys.readouterr().err
