"""The queue of what is recorded: modes, bounds, losses, and that only codes are kept of words."""

import pytest

from geoosd.bridge.core import recording as recording_module
from geoosd.bridge.core.exchange import Exchange
from geoosd.bridge.core.recording import MAX_PROMPT, Recording, error_code, finish_code
from geoosd.wire.messages import (
    Gap,
    SessionEnded,
    SessionProgress,
    TokenVisualizationUpdate,
    Usage,
)
from geoosd.wire.sessions import Turn


def token(text="a", position=0, **provenance):
    return TokenVisualizationUpdate(text, position, session="s", provenance=provenance or None)


def begin(recording, session="s", now=10.0):
    recording.open(
        session,
        model="m",
        upstream="u",
        dialect="chat",
        path="Prompt",
        choices=1,
        now=now,
        wall=1000.0,
    )


def end(recording, session="s", now=12.0, **ended):
    ending = SessionEnded(session, **ended)
    recording.close(session, ending, model="m2", upstream="u2", tokens=3, now=now)


def test_metadata_keeps_a_line_and_no_message():
    recording = Recording("metadata")
    begin(recording)
    recording.prompt("s", "secret", "system")
    assert not recording.take("s", [token(activation="measured", entropy="derived")], 10.5)
    assert not recording.take("s", [token(activation="absent", entropy="derived")], 11.0)
    end(recording, finish_reason="stop", usage=Usage(1, 2, 3), time_to_first_token=0.5)
    batch = recording.batch()
    (record,) = batch.closed
    assert batch.opened == [record]
    assert batch.said == []
    assert (record.prompt, record.system, record.messages) == (None, None, 0)
    assert record.provenance == {"activation": "absent", "entropy": "derived"}
    assert record.line.model == "m2"
    assert record.line.duration == 2.0
    assert record.line.ended == 1002.0
    assert record.line.total_tokens == 3
    assert not recording.waiting


def test_full_keeps_messages_with_their_times():
    recording = Recording("full")
    begin(recording)
    recording.prompt("s", "x" * (MAX_PROMPT + 1), None)
    assert recording.take("s", [SessionProgress("s", "generating"), token("a")], 10.5)
    assert recording.take("s", [token("b", 1)], 11.0)
    assert recording.take("s", [Gap(None, None, 1, "no")], 11.0)  # what waits is still to write
    end(recording)
    batch = recording.batch()
    assert [(ordinal, after) for _, ordinal, after, _ in batch.said] == [
        (0, 0.5),
        (1, 0.5),
        (2, 1.0),
    ]
    assert len(batch.closed[0].prompt) == MAX_PROMPT
    assert batch.closed[0].line.prompt_tokens is None


@pytest.mark.parametrize(
    ("usage", "tokens"), [(None, 3), (Usage(1, 8, 9), 8), (Usage(1, 0, 1), 3), (Usage(1), 3)]
)
def test_tokens_are_those_the_server_made(usage, tokens):
    recording = Recording("metadata")
    begin(recording)
    end(recording, usage=usage)
    assert recording.batch().closed[0].line.tokens == tokens


def test_off_records_nothing():
    recording = Recording("off")
    begin(recording)
    recording.prompt("s", "p", None)
    assert not recording.take("s", [token()], 1.0)
    assert not recording.take(None, [token()], 1.0)
    end(recording)
    assert not recording.waiting


def test_a_full_queue_refuses_and_counts():
    recording = Recording("full", capacity=2)
    begin(recording)
    recording.take("s", [token("a"), token("b", 1), token("c", 2)], 10.0)
    assert recording.statistics() == (3, 2, 1)
    begin(recording, "t")
    begin(recording, "v")  # no room for a third session
    assert recording.statistics().refused == 2
    end(recording)
    end(recording, "v")
    assert recording.batch().closed[0].lost == 1


def test_a_refusing_disk_costs_messages_and_no_line():
    recording = Recording("full")
    begin(recording)
    recording.take("s", [token("a")], 10.0)
    batch = recording.batch()
    recording.take("s", [token("b", 1)], 10.1)
    recording.failed(batch)
    assert recording.halted
    assert not recording.take("s", [token("c", 2)], 10.2)
    end(recording)
    again = recording.batch()
    assert again.said == []
    assert again.opened == again.closed
    assert (again.closed[0].messages, again.closed[0].lost) == (0, 3)
    recording.written(again)
    assert not recording.halted
    assert recording.statistics().refused == 3


@pytest.mark.parametrize("in_flight", [False, True])
def test_less_is_recorded_at_once(in_flight):
    recording = Recording("full")
    begin(recording)
    recording.prompt("s", "secret", "also", (Turn("user", "before"),))
    recording.take("s", [token("secret")], 10.0)
    batch = recording.batch() if in_flight else None
    recording.set_mode("metadata")
    if batch is not None:
        recording.failed(batch)
    assert not recording.take("s", [token("secret")], 10.0)
    end(recording)
    batch = recording.batch()
    assert batch.said == []
    assert batch.closed[0].turns == ()
    assert (batch.closed[0].prompt, batch.closed[0].system, batch.closed[0].full) == (
        None,
        None,
        False,
    )
    recording.set_mode("full")
    begin(recording, "t")
    assert recording.batch().opened[0].full


def test_what_lay_in_a_lost_file_is_not_gone_on_with():
    recording = Recording("full")
    begin(recording)
    recording.abandon()
    assert not recording.take("s", [token()], 1.0)
    assert not recording.waiting
    assert recording.statistics().refused == 1


def test_of_a_lost_file_only_whole_sessions_go_into_the_next():
    """Others have a number of the file that is gone: in the next one it is another session's."""
    recording = Recording("full")
    begin(recording, "before")
    recording.written(recording.batch())
    begin(recording, "whole")
    begin(recording, "begun")
    recording.prompt("begun", "words", None)
    end(recording, "whole")
    end(recording, "before")
    batch = recording.batch()
    recording.abandon()
    recording.failed(batch, anew=True)
    again = recording.batch()
    assert [record.id for record in again.opened] == ["whole"]
    assert [record.id for record in again.closed] == ["whole"]
    assert recording.statistics().refused == 2  # "begun" and "before"
    assert batch.opened[1].words == 0


def test_a_failure_that_is_written_full_keeps_its_prompt():
    recording = Recording("full")
    begin(recording)
    recording.prompt("s", "kept", None)
    recording.failed(recording.batch())
    assert recording.batch().opened[0].prompt == "kept"


def test_words_that_wait_for_the_disk_are_bounded(monkeypatch):
    monkeypatch.setattr(recording_module, "MAX_WORDS", 10)
    recording = Recording("full")

    def asked(session):
        begin(recording, session)
        recording.prompt(session, "1234", "12", (Turn("user", "12"),))
        return recording.batch()

    first = asked("a")
    assert first.opened[0].words == 8
    recording.failed(first)
    again = asked("b")  # eight more do not go in beside them
    assert [(each.id, each.prompt, each.lost) for each in again.opened] == [
        ("a", "1234", 0),
        ("b", None, 1),
    ]
    assert recording.statistics().refused == 1
    recording.written(again)
    assert [each.words for each in again.opened] == [0, 0]
    assert asked("c").opened[0].prompt == "1234"


@pytest.mark.parametrize("how", ["mode", "abandon"])
def test_words_that_are_given_up_make_room(how, monkeypatch):
    monkeypatch.setattr(recording_module, "MAX_WORDS", 10)
    recording = Recording("full")
    begin(recording)
    recording.prompt("s", "1234567", None)
    if how == "mode":
        recording.set_mode("metadata")
        recording.set_mode("full")
    else:
        recording.abandon()
    begin(recording, "t")
    recording.prompt("t", "1234567", None)
    assert recording.batch().opened[-1].prompt == "1234567"


@pytest.mark.parametrize(
    ("reason", "code"),
    [(None, None), ("stop", "stop"), ("tool_calls", "tool_calls"), ("My Secret", "other")],
)
def test_finish_reasons_are_plain_words(reason, code):
    assert finish_code(reason) == code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (None, None),
        ("the client went away", "client_gone"),
        ("the bridge stopped", "bridge_stopped"),
        ("u: the upstream broke off before its answer: reset", "broke_off"),
        ("u: the upstream took too long: silence for 3 s", "upstream_timeout"),
        ("cannot reach u at http://x: refused", "upstream_unavailable"),
        ("u: cannot connect: refused", "upstream_unavailable"),
        ("the prompt 'secret' is bad", "upstream_error"),
    ],
)
def test_errors_are_codes(error, code):
    assert error_code(error) == code


@pytest.mark.parametrize(
    ("status", "kind", "body", "code"),
    [
        (400, "application/json", b'{"error":{"message":"secret"}}', "http_400"),
        (200, "text/event-stream", b"data: {}\n\n", "broke_off"),
        (200, "text/event-stream", b"x" * (20 << 20), "unreadable"),
    ],
)
def test_the_words_of_an_exchange_are_known(status, kind, body, code):
    exchange = Exchange("s", model="m", upstream="u", dialect="chat")
    exchange.started(0.0)
    exchange.answered(status, kind, 1.0)
    exchange.receive(body, 2.0)
    assert error_code(exchange.finish(3.0)[-1].error) == code
