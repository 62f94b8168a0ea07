"""``/api/sessions`` and ``/api/sessions/ID``: recorded sessions, asked of the bridge.

Messages come with their times, so that one viewer can show a session again without anybody else
seeing it. A long session comes in parts: ``next`` is what to give as ``after``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final
from urllib.parse import parse_qsl

import msgspec
from msgspec import Meta, Struct

from geoosd.broadcaster.adapters.http import (
    Request,
    Response,
    Route,
    as_json,
    failure,
    refusal,
)
from geoosd.config import Paths
from geoosd.errors import VarlinkError
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
        return await self._ask(request, ListRequest, "ListSessions", {})

    async def _one(self, request: Request) -> Response:
        session = request.path.rpartition("/")[2]
        if not _ID.match(session):
            return failure(404, "notfound", "cannot find this session")
        return await self._ask(request, PartRequest, "GetSession", {"session": session})

    async def _ask(
        self, request: Request, kind: type[Struct], method: str, parameters: Mapping[str, Any]
    ) -> Response:
        try:
            query = msgspec.convert(dict(parse_qsl(request.query)), kind, strict=False)
        except ValueError as error:  # of parse_qsl, and msgspec.ValidationError
            return failure(400, "bad_request", f"cannot list this: {error}")
        asked = {**msgspec.to_builtins(query), **parameters}
        try:
            return as_json(
                await varlink.call(
                    self._bridge, f"io.geoos.Bridge.{method}", asked, timeout=ASK_SECONDS
                )
            )
        except VarlinkError as error:
            return refusal(error)
