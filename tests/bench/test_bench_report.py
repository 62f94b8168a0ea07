"""tests/bench/report.py and run.py: the table fits, bench.json says the same, README shows it."""

import json
from pathlib import Path

import compare
import pytest
import report
import run
from measure import Ratio, Skipped, Value, at_least, at_most

RESULTS = [
    Ratio(
        "sse, parse: openai", "/s", 1_440_000.0, 223_000.0, 6.45, 5.98, 6.97, "higher", at_least(5)
    ),
    Ratio("start: bridge", " ms", 259.0, 10.3, 25.1, 24.5, 25.8, "lower"),
    Value("memory: a viewer", " KB", 29.1, 29.1, 29.1, at_most(25)),
    Skipped("fan-out: ws", "no node: sudo apt install nodejs npm"),
]
MACHINE = {"cpu": "a processor", "cores": 2}
PUBLISHED = Path(__file__).parents[2] / "docs" / "measurements"


def test_the_table_says_what_is_met_and_missed():
    assert report.table(RESULTS) == "\n".join(
        [
            "                                       ours     peer  ratio       range   target",
            "-" * 80,
            "sse, parse",
            "  openai                            1.44M/s   223k/s   6.45   5.98-6.97  ≥5.00 ✓",
            "start",
            "  bridge                             259 ms  10.3 ms   25.1   24.5-25.8",
            "memory",
            "  a viewer                          29.1 KB                              ≤25.0 ✗",
            "fan-out",
            "  ws: skipped: no node: sudo apt install nodejs npm",
        ]
    )


def test_a_long_name_has_a_line_of_its_own_and_the_columns_stay():
    long = "late joiner's Snapshot, 62,610 cells / encoding it"
    row = Ratio(f"state: {long}", " ms", 0.731, 0.169, 4.32, 4.13, 4.42, "lower")
    assert report.table([row]).splitlines()[-2:] == [
        f"  {long}",
        "                                    0.73 ms  0.17 ms   4.32   4.13-4.42",
    ]


def test_a_long_reason_goes_on_in_the_next_line():
    row = Skipped(
        "hilbert: hilbertsfc", "cannot import it: make bench installs it on Python 3.12 and up"
    )
    assert report.table([row]).splitlines()[2:] == [
        "hilbert",
        "  hilbertsfc: skipped: cannot import it: make bench installs it on Python 3.12",
        "    and up",
    ]


def test_markdown_has_the_same_rows():
    lines = report.markdown(RESULTS).splitlines()
    assert "| openai | 1.44M/s | 223k/s | 6.45 | 5.98-6.97 | ≥5.00 ✓ |" in lines
    assert "| ws | skipped |  |  | no node: sudo apt install nodejs npm |  |" in lines
    assert {line.count("|") for line in lines} == {7}


def test_a_document_can_be_read_back_and_compared():
    document = json.loads(json.dumps(report.document(RESULTS, MACHINE, "2026-01-01", "full")))
    assert report.results_of(document) == RESULTS
    assert document["results"][0]["target"] == {"bound": 5, "better": "higher", "met": True}
    assert document["values"][0]["target"]["met"] is False
    assert compare.ratios(document) == {
        "sse, parse: openai": compare.Ratio(6.45, "higher", 5.98, 6.97),
        "start: bridge": compare.Ratio(25.1, "lower", 24.5, 25.8),
    }


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        (0, "0"),
        (0.00123, "0.001"),
        (0.0996, "0.10"),
        (0.5, "0.50"),
        (9.99, "9.99"),
        (9.999, "10.0"),
        (99.99, "100"),
        (999.4, "999"),
        (999.9, "1.00k"),
        (12_345, "12.3k"),
        (999_999, "1.00M"),
        (-2.5, "-2.50"),
    ],
)
def test_numbers_have_three_digits(amount, shown):
    assert report.number(amount) == shown


def test_the_table_stands_between_its_marks():
    text = f"before\n{run._BEGIN}\nold\n{run._END}\nafter\n"
    fresh = run.with_table(text, "new")
    assert fresh == f"before\n{run._BEGIN}\nnew\n{run._END}\nafter\n"
    assert run.with_table(fresh, "old") == text
    with pytest.raises(ValueError, match="cannot find"):
        run.with_table("no marks", "new")


@pytest.mark.parametrize("arguments", [["--fast"], ["--only", "everything"]])
def test_arguments_that_cannot_be_used(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        run.parsed(arguments)
    assert end.value.code == 64
    assert "usage" in capsys.readouterr().err


def test_every_benchmark_is_there_and_runs():
    found = {path.stem.removeprefix("bench_") for path in Path(run.__file__).parent.glob("bench_*")}
    assert found == set(run.BENCHMARKS)


def test_what_is_published_is_whole_and_fits():
    document = json.loads((PUBLISHED / "bench.json").read_text(encoding="utf-8"))
    results = report.results_of(document)
    assert document["mode"] == "full"
    assert len(compare.ratios(document)) == len(document["results"]) > 20
    assert max(map(len, report.table(results).splitlines())) <= report.WIDTH
    readme = (PUBLISHED / "README.md").read_text(encoding="utf-8")
    assert run.with_table(readme, report.markdown(results)) == readme
