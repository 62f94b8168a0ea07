"""``/api/sessions`` and ``/api/sessions/ID``: recorded sessions, asked of the bridge.

Messages come with their times, so that one viewer can show a session again without anybody else
seeing it. A long session comes in parts: ``next`` is what to give as ``after``.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from geoosd.broadcaster.adapters.http import Request, Response, Route, as_json, failure, query_of
from geoosd.config import Paths
from geoosd.runtime import varlink

ASK_SECONDS: Final = 30.0

_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,256}\Z")


class ListRequest(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """The query of ``/api/sessions``."""

    model: Annotated[str, Meta(max_length=256)] | None = None
    since: float | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] | None = None
    before: Annotated[int, Meta(ge=0)] | None = None


class PartRequest(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """The query of ``/api/sessions/ID``."""

    after: Annotated[int, Meta(ge=0)] | None = None
    limit: Annotated[int, Meta(ge=1, le=10_000)] | None = None


class Recorded:
    """The handlers."""

    def __init__(self, paths: Paths) -> None:
        self._bridge = paths.varlink("bridge")

    def routes(self) -> list[Route]:
        """The route table."""
        return [
            Route("GET", "/api/sessions", "read", self._list),
            Route("GET", "/api/sessions/*", "read", self._one),
        ]

    async def _list(self, request: Request) -> Response:
        return await self._ask("ListSessions", query_of(request, ListRequest))

    async def _one(self, request: Request) -> Response:
        session = request.path.rpartition("/")[2]
        if not _ID.match(session):
            return failure(404, "not_found", "cannot find this session")
        return await self._ask("GetSession", query_of(request, PartRequest), session=session)

    async def _ask(self, method: str, query: Struct, **parameters: str) -> Response:
        asked = {**msgspec.to_builtins(query), **parameters}
        method = f"io.geoos.Bridge.{method}"
        return as_json(await varlink.call(self._bridge, method, asked, timeout=ASK_SECONDS))
