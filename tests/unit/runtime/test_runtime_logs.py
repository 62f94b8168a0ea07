"""geoosd.runtime.logs: lines, journal fields, threshold, the ring and whoever follows it."""

import io
import json
import logging
import sys
import threading
from contextlib import aclosing
from pathlib import Path

import pytest
import structlog
import trio

from geoosd.runtime import journal, logs
from geoosd.wire.reports import Record


@pytest.fixture
def configure():
    """logs.configure, undone afterwards."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    root.handlers = []
    before = structlog.get_config()
    yield logs.configure
    logging.captureWarnings(False)
    structlog.configure(**before)
    root.handlers = handlers
    root.setLevel(level)


class Sink:
    """Takes the place of the journal's socket."""

    def __init__(self):
        self.records = []

    def send(self, fields):
        self.records.append(fields)

    def flush(self):
        """Nothing is kept."""


@pytest.fixture
def sink(monkeypatch):
    made = Sink()
    monkeypatch.setattr(journal, "stderr_is_journal", lambda: True)
    monkeypatch.setattr(journal, "JournalSocket", lambda: made)
    return made


# -- what is written -------------------------------------------------------------------------------


def test_json_lines_have_the_documented_keys(configure, capsys):
    log = configure("bridge", "info", "json").logger()
    log.info("upstream answered", session="s1", upstream="desk", count=3)
    log.warning("upstream failed", error="refused")
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert first.pop("timestamp").endswith("Z")
    assert first == {
        "level": "info",
        "event": "upstream answered",
        "daemon": "bridge",
        "session": "s1",
        "upstream": "desk",
        "count": 3,
    }
    assert second["error"] == "refused"


def test_an_exception_stays_one_json_line(configure, capsys):
    log = configure("bridge", "info", "json").logger()
    try:
        raise ValueError("oops")
    except ValueError as error:
        log.error("bug", exc_info=error)
    (line,) = capsys.readouterr().err.splitlines()
    assert "ValueError: oops" in json.loads(line)["exception"]


def test_the_threshold_may_change_while_running(configure, capsys):
    book = configure("bridge", "warning", "json")
    log = book.logger()
    log.info("unheard")
    assert book.set_level("debug") == "warning"
    log.debug("heard")
    assert [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] == ["heard"]
    assert [record.event for record in book.ring.newest(9, lambda _: True)[0]] == ["heard"]


def test_console_lines_are_for_people(configure, capsys, monkeypatch):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    configure("bridge", "info", "console").logger().info("ready", port=1235)
    line = capsys.readouterr().err
    assert "ready" in line
    assert "port=1235" in line
    assert "\x1b" not in line
    assert "bridge" not in line


def test_colour_can_be_forced(configure, capsys, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    configure("bridge", "info", "auto").logger().info("ready")
    assert "\x1b[" in capsys.readouterr().err


def test_a_record_that_cannot_be_written_is_kept_all_the_same(configure, monkeypatch):
    with io.TextIOWrapper(Path("/dev/full").open("wb", buffering=0), write_through=True) as full:
        monkeypatch.setattr(sys, "stderr", full)
        given = configure("bridge", "info", "console")
        given.logger().info("upstream answered")
        with pytest.raises(OSError, match="No space left"):
            full.write("x")
        monkeypatch.undo()
    assert [record.event for record in given.ring.newest(9, lambda _: True)[0]] == [
        "upstream answered"
    ]


def test_records_of_libraries_become_ours(configure):
    book = configure("bridge", "info", "json")
    logging.getLogger("somelib").warning("%s is old", "it")
    logging.getLogger("somelib").log(35, "odd level")
    first, second = book.ring.newest(9, lambda _: True)[0]
    assert (first.event, first.level) == ("it is old", "warning")
    assert first.fields == {"library": "somelib"}
    assert second.level == "warning"


def test_the_journal_gets_fields_not_text(configure, sink):
    log = configure("bridge", "info").logger()
    log.error("upstream failed", session="s1", upstream=None, error="refused", count=3)
    (fields,) = sink.records
    assert fields["MESSAGE"] == "upstream failed session=s1 error=refused count=3"
    assert fields["PRIORITY"] == 3
    assert fields["SYSLOG_IDENTIFIER"] == "geoos-bridge"
    assert fields["GEOOS_SESSION"] == "s1"
    assert fields["GEOOS_COUNT"] == 3
    assert fields["CODE_FUNC"] == "test_the_journal_gets_fields_not_text"
    assert fields["CODE_FILE"] == __file__
    assert "GEOOS_UPSTREAM" not in fields


def test_json_in_the_journal_stands_beside_the_fields(configure, sink):
    configure("bridge", "info", "json").logger().warning("slow", session="s1")
    (fields,) = sink.records
    said = json.loads(fields["MESSAGE"])
    assert (said["event"], said["session"], said["level"]) == ("slow", "s1", "warning")
    assert "lineno" not in said
    assert (fields["PRIORITY"], fields["GEOOS_SESSION"]) == (4, "s1")


# -- the ring --------------------------------------------------------------------------------------


def record(number):
    return Record(float(number), "info", str(number), "bridge")


def numbers(records):
    return [int(each.event) for each in records]


def test_the_ring_keeps_the_newest():
    ring = logs.LogRing(size=3)
    for number in range(5):
        ring.append(record(number))
    kept, position = ring.newest(10, lambda _: True)
    assert numbers(kept) == [2, 3, 4]
    assert position == 5
    assert numbers(ring.newest(1, lambda _: True)[0]) == [4]
    assert ring.newest(0, lambda _: True)[0] == []
    assert numbers(ring.newest(10, lambda each: each.event == "3")[0]) == [3]


async def test_a_follower_misses_nothing_that_threads_append():
    ring = logs.LogRing(size=10_000)
    ring.append(record(0))
    _, position = ring.newest(0, lambda _: True)

    def append(start):
        for number in range(start, start + 500):
            ring.append(record(number))

    threads = [threading.Thread(target=append, args=(start,)) for start in (1000, 2000)]
    seen = []
    with trio.fail_after(10):
        async with aclosing(ring.follow(position)) as following:
            for thread in threads:
                thread.start()
            async for each in following:
                seen.append(int(each.event))
                if len(seen) == 1000:
                    break
    for thread in threads:
        thread.join()
    assert sorted(seen) == [*range(1000, 1500), *range(2000, 2500)]
    assert [number for number in seen if number < 2000] == list(range(1000, 1500))


async def test_two_followers_are_both_woken(nursery):
    ring = logs.LogRing()
    heard = []

    async def follow(*, task_status):
        async with aclosing(ring.follow(0)) as following:
            task_status.started()
            async for each in following:
                heard.append(each.event)

    for _ in range(2):
        await nursery.start(follow)
    await trio.testing.wait_all_tasks_blocked()
    ring.append(record(7))
    with trio.fail_after(5):
        while len(heard) < 2:
            await trio.lowlevel.checkpoint()
    assert heard == ["7", "7"]
    nursery.cancel_scope.cancel()


def test_a_record_after_the_loop_has_ended_is_kept():
    ring = logs.LogRing()

    async def wait_a_little():
        with trio.move_on_after(0):
            await anext(ring.follow(0))

    trio.run(wait_a_little)
    ring.append(record(1))
    assert numbers(ring.newest(9, lambda _: True)[0]) == [1]


def test_a_test_sees_the_ring_and_nothing_else(capsys):
    with logs.unconfigured("bridge") as book:
        book.logger().info("ready", session="s1", empty=None, colour="red")
    assert capsys.readouterr().err == ""
    ((only,), _) = book.ring.newest(9, lambda _: True)
    assert (only.daemon, only.session, only.fields) == ("bridge", "s1", {"colour": "red"})
