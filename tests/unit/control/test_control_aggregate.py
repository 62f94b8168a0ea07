"""geoosd.control.core.aggregate."""

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from geoosd.control.core.aggregate import Cursor, merge_metrics, merge_records
from geoosd.wire.reports import Record


def exposition(amount: int) -> str:
    registry = CollectorRegistry()
    tokens = Counter("sse_tokens", "Tokens\nof \\ all", ["model"], registry=registry)
    tokens.labels('a"b,daemon=\\x').inc(amount)
    Histogram("pipeline_latency_seconds", "Latency", registry=registry, buckets=[0.1, 1]).observe(
        0.5
    )
    return generate_latest(registry).decode()


def test_families_of_two_daemons_stand_together_once():
    text = merge_metrics({"bridge": exposition(3), "compositor": exposition(4)})
    assert text.count("# TYPE sse_tokens_total counter") == 1
    assert text.count("# HELP pipeline_latency_seconds ") == 1
    families = {each.name: each for each in text_string_to_metric_families(text)}
    by_daemon = {each.labels["daemon"]: each for each in families["sse_tokens"].samples}
    assert by_daemon["bridge"].value == 3.0
    assert by_daemon["compositor"].value == 4.0
    assert by_daemon["bridge"].labels["model"] == 'a"b,daemon=\\x'
    histogram = families["pipeline_latency_seconds"]
    assert histogram.type == "histogram"
    assert {each.name for each in histogram.samples} == {
        f"pipeline_latency_seconds_{part}" for part in ("bucket", "sum", "count")
    }


def test_every_type_line_comes_before_all_samples_of_its_family_and_no_other():
    text = merge_metrics({"a": exposition(1), "b": exposition(1)})
    seen: list[str] = []
    for line in text.splitlines():
        if line.startswith("# TYPE"):
            seen.append(line.split()[2])
    assert len(seen) == len(set(seen))


def test_the_format_is_kept_to_the_letter():
    one = '# HELP up Is it\n# TYPE up gauge\nup 1\n# EOF\n\nup{x="1"} 2 1700000000000\nnonsense!\n'
    assert merge_metrics({"a": one, "b": "up 0\n# TYPE up gauge\nup 5\n"}) == (
        "# up of b is left out: it has another type there\n"
        "# HELP up Is it\n"
        "# TYPE up gauge\n"
        'up{daemon="a"} 1\n'
        'up{daemon="a",x="1"} 2 1700000000000\n'
        'up{daemon="b"} 5\n'
    )


def test_a_family_that_differs_is_left_out_and_said_once():
    text = merge_metrics({"a": "# TYPE x counter\nx 1\n", "b": '# TYPE x gauge\nx 2\nx{y="1"} 3\n'})
    assert text == (
        '# x of b is left out: it has another type there\n# TYPE x counter\nx{daemon="a"} 1\n'
    )


def test_a_label_daemon_becomes_exported_daemon():
    assert merge_metrics({"a": 'x{daemon="z"} 1\n'}) == 'x{daemon="a",exported_daemon="z"} 1\n'


def test_a_metric_that_only_looks_like_a_part_of_a_histogram():
    text = merge_metrics(
        {"a": "# TYPE bytes_sum gauge\nbytes_sum 1\n# TYPE bytes gauge\nbytes 2\n"}
    )
    assert "# TYPE bytes_sum gauge" in text
    assert merge_metrics({"a": "lone_count 4\n"}) == 'lone_count{daemon="a"} 4\n'


@pytest.mark.parametrize("text", ["", "\n\n", "# a comment\n", "#\n", "{} 1\n", "x\n"])
def test_what_is_no_sample_is_dropped(text: str):
    assert merge_metrics({"a": text}) == ""


def record(timestamp: float, daemon: str = "bridge", event: str = "e") -> Record:
    return Record(timestamp, "info", event, daemon)


def test_records_are_merged_by_time_and_cut_at_the_old_end():
    one = [record(1.0), record(4.0)]
    two = [record(2.0, "compositor"), record(3.0, "compositor")]
    assert [each.timestamp for each in merge_records([one, two], 3)] == [2.0, 3.0, 4.0]
    assert len(merge_records([one, two], 99)) == 4
    assert merge_records([one, two], 0) == []
    assert merge_records([], 5) == []


def test_a_clock_that_was_set_back_does_not_reorder_one_daemon():
    assert [each.event for each in merge_records([[record(9.0, event="a"), record(1.0)]], 5)] == [
        "a",
        "e",
    ]


def test_a_cursor_takes_each_record_once_and_none_before_its_floor():
    cursor = Cursor(2.0, remembered=2)
    assert not cursor.take(record(1.0))
    assert cursor.take(record(2.0))
    assert not cursor.take(record(2.0))
    assert cursor.take(record(2.0, event="other"))
    assert cursor.take(record(3.0))
    assert not cursor.take(record(2.0, event="other"))
    assert cursor.take(record(2.0)), "only the newest are remembered"
