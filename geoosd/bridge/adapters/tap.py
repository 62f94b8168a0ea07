"""The tap: what geoos learns of a proxied request, behind a firewall.

Its methods are called after the bytes they speak of were sent on. They never block and never raise:
the first failure is told once to *on_bug*, ends the session on the map, and the rest of that
request passes unseen (design: "the tap never harms the traffic"). The reading itself is
:mod:`..core.exchange`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeAlias

import h11
import trio

from geoosd.bridge.adapters.http_connection import OnBug
from geoosd.bridge.adapters.http_fields import first
from geoosd.bridge.core.exchange import Exchange
from geoosd.wire.messages import Payload

Publish: TypeAlias = Callable[[list[Payload]], None]
"""Takes messages for the map; synchronous and bounded."""

OUR_FAULT: Final = "geoos itself failed; see: geoosctl logs --level error"
"""The error of a session that a bug of ours has ended."""


class Tap:
    """One request's tap; ``exchange`` is None once it was dropped."""

    def __init__(self, exchange: Exchange, publish: Publish, on_bug: OnBug) -> None:
        self.session = exchange.session
        self.exchange: Exchange | None = exchange
        self._publish = publish
        self._on_bug = on_bug

    def started(self) -> None:
        """The request was accepted."""
        self._tell(lambda exchange: exchange.started(trio.current_time()))

    def queued(self, position: int) -> None:
        """It waits for its upstream."""
        self._tell(lambda exchange: exchange.queued(position, trio.current_time()))

    def chosen(self, upstream: str) -> None:
        """It goes to *upstream* now."""
        if self.exchange is not None:
            self.exchange.upstream = upstream

    def answered(self, response: h11.Response) -> None:
        """The answer's head was sent on."""
        kind = first(response.headers, b"content-type") or b""
        encoding = first(response.headers, b"content-encoding")
        self._tell(
            lambda exchange: exchange.answered(
                response.status_code,
                kind.decode("latin-1"),
                trio.current_time(),
                content_encoding=encoding.decode("latin-1") if encoding else None,
            )
        )

    def receive(self, data: bytes) -> None:
        """These bytes of the body were sent on."""
        if self.exchange is not None:
            self._tell(lambda exchange: exchange.receive(data, trio.current_time()))

    def left(self) -> None:
        """The client hung up; many do as soon as the answer says that it is at its end."""
        told = self.exchange is not None and self.exchange.is_told
        self.finish(None if told else "the client went away")

    def finish(self, error: str | None) -> None:
        """The request is over; only the first call counts."""
        self._tell(lambda exchange: exchange.finish(trio.current_time(), error))

    def _tell(self, happened: Callable[[Exchange], list[Payload]]) -> None:
        if self.exchange is None:
            return
        try:
            if payloads := happened(self.exchange):
                self._publish(payloads)
        except Exception as error:  # noqa: BLE001 - the firewall between the map and the traffic
            exchange, self.exchange = self.exchange, None
            self._on_bug(f"tap of session {self.session}", error)
            with suppress(Exception):  # what has failed once may fail again
                self._publish(exchange.finish(trio.current_time(), OUR_FAULT))
