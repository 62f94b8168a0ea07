"""Alerts on their way to an address: real HTTP, bounded tries, no secrets in the log."""

import json
from contextlib import asynccontextmanager

import h11
import pytest
import structlog
import trio

from geoosd.control.adapters.webhook import MAX_WAITING, TRIES, Webhook

SECRET = "T0PS3CRET"


class Receiver:
    """An HTTP server that answers with what it is told to, the last answer again and again."""

    def __init__(self, *statuses):
        self.statuses = list(statuses)
        self.bodies = []
        self.headers = []

    async def serve(self, stream):
        async with stream:
            connection = h11.Connection(h11.SERVER)
            body = b""
            while True:
                event = connection.next_event()
                if event is h11.NEED_DATA:
                    connection.receive_data(await stream.receive_some(65536))
                elif isinstance(event, h11.Request):
                    self.headers.append(dict(event.headers))
                elif isinstance(event, h11.Data):
                    body += event.data
                else:
                    break
            self.bodies.append(json.loads(body))
            status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
            head = h11.Response(status_code=status, headers=[("content-length", "0")])
            await stream.send_all(connection.send(head) + connection.send(h11.EndOfMessage()))


@asynccontextmanager
async def posting(*statuses):
    receiver = Receiver(*statuses)
    async with trio.open_nursery() as nursery:
        listener, *_ = await nursery.start(trio.serve_tcp, receiver.serve, 0)
        port = listener.socket.getsockname()[1]
        webhook = Webhook(f"http://127.0.0.1:{port}/{SECRET}", structlog.get_logger())
        nursery.start_soon(webhook.run)
        yield webhook, receiver
        nursery.cancel_scope.cancel()


async def settled(webhook):
    with trio.fail_after(60):
        while webhook.waiting:  # noqa: ASYNC110 - posting tells nobody when it is done
            await trio.sleep(0.01)


async def test_alerts_are_posted_in_order():
    async with posting(200) as (webhook, receiver):
        for number in range(5):
            webhook.put({"alert": number})
        await settled(webhook)
    assert [body["alert"] for body in receiver.bodies] == [0, 1, 2, 3, 4]
    assert receiver.headers[0][b"content-type"] == b"application/json"
    assert (webhook.posted, webhook.lost) == (5, 0)


async def test_a_receiver_that_fails_for_a_while_gets_it_later(autojump_clock):
    async with posting(503, 429, 204) as (webhook, receiver):
        webhook.put({"alert": 1})
        await settled(webhook)
    assert len(receiver.bodies) == 3
    assert (webhook.posted, webhook.lost) == (1, 0)


@pytest.mark.parametrize(("status", "tries"), [(500, TRIES), (404, 1), (302, 1)])
async def test_tries_are_bounded_and_the_address_is_not_logged(autojump_clock, status, tries):
    with structlog.testing.capture_logs() as records:
        async with posting(status) as (webhook, receiver):
            webhook.put({"alert": 1})
            await settled(webhook)
    assert len(receiver.bodies) == tries
    assert webhook.lost == 1
    (record,) = records
    assert record["error"] == f"it answered {status}"
    assert record["host"] == "127.0.0.1"
    assert SECRET not in str(records)


async def test_nobody_there(autojump_clock):
    with structlog.testing.capture_logs() as records:
        async with posting(200) as (webhook, _receiver):
            webhook.url = f"http://127.0.0.1:1/{SECRET}"
            webhook.put({"alert": 1})
            await settled(webhook)
    assert records[0]["error"] == "ConnectError"
    assert SECRET not in str(records)


async def test_what_waits_is_bounded_and_nothing_waits_for_nobody():
    webhook = Webhook("", structlog.get_logger())
    webhook.put({"alert": 1})
    assert webhook.waiting == 0
    webhook.url = "http://127.0.0.1:1/"
    for number in range(MAX_WAITING + 3):
        webhook.put({"alert": number})
    assert (webhook.waiting, webhook.lost) == (MAX_WAITING, 3)
