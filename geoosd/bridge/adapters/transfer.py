"""One request to an upstream and its answer back, both piece by piece (:mod:`.proxy`).

A request that is held whole goes in one write. Of a longer one the rest follows as the client sends
it and the upstream takes it, while its answer is already looked for: an upstream may refuse a body
before it has read it. The next piece of either is read when the other side has taken the last.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

import h11
import trio

from geoosd.bridge.adapters.http_body import RequestError
from geoosd.bridge.adapters.http_client import UpstreamConnection
from geoosd.bridge.adapters.http_connection import ClientRequest
from geoosd.errors import UpstreamError

Answer: TypeAlias = Callable[[h11.Response], Awaitable[None]]
"""Sends an answer back to the client."""

_FAILURES = (UpstreamError, RequestError, trio.BrokenResourceError, trio.ClosedResourceError)


async def transfer(
    request: ClientRequest,
    connection: UpstreamConnection,
    head: h11.Request,
    begin: bytes,
    *,
    timeout: float,
    answer: Answer,
) -> None:
    """Send *head*, the *begin* of the body and its rest, and have the answer sent back.

    Raises :class:`UpstreamError`, :class:`RequestError`, or trio's errors when the client is gone.
    """
    body = request.body
    if body.ended:
        await answer(
            await connection.ask(head, begin, body.trailers, timeout, inform=request.inform)
        )
        return
    failures: list[Exception] = []
    async with trio.open_nursery() as nursery:

        async def upload() -> None:
            try:
                await _send_on(request, connection, head, begin, timeout)
            except _FAILURES as failure:
                failures.append(failure)
                nursery.cancel_scope.cancel()

        nursery.start_soon(upload)
        try:
            await answer(await connection.heed(request.inform))
        except _FAILURES as failure:
            failures.append(failure)
        nursery.cancel_scope.cancel()
    if failures:
        raise failures[0]


async def _send_on(
    request: ClientRequest,
    connection: UpstreamConnection,
    head: h11.Request,
    begin: bytes,
    timeout: float,
) -> None:
    """Send the request; when the upstream takes no more, read on all the same: there are clients
    that look for an answer only after their last byte."""
    takes = await connection.begin(head, begin, None, timeout)
    while data := await request.body.receive():
        takes = takes and await connection.send(data)
    if takes:
        await connection.end(request.body.trailers)
