"""``/api/themes`` and ``/api/themes/NAME``: the colours, asked of the compositor and kept there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from geoosd.broadcaster.adapters.http import Request, Response, Route, as_json, body_of, failure
from geoosd.config import Paths
from geoosd.runtime import varlink
from geoosd.wire.messages import MAX_THEME_BYTES, Theme

ASK_SECONDS: Final = 5.0

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,63}\Z")


class Themes:
    """The handlers."""

    def __init__(self, paths: Paths) -> None:
        self._compositor = paths.varlink("compositor")

    def routes(self) -> list[Route]:
        """The route table."""
        return [
            Route("GET", "/api/themes", "read", self._list),
            Route("GET", "/api/themes/*", "read", self._get),
            Route("PUT", "/api/themes/*", "change", self._put),
        ]

    async def _list(self, _request: Request) -> Response:
        return as_json(await self._ask("ListThemes"))

    async def _get(self, request: Request) -> Response:
        name = _named(request)
        if not _NAME.match(name):
            return failure(404, "not_found", "cannot find this theme")
        return as_json((await self._ask("GetTheme", {"name": name}))["theme"])

    async def _put(self, request: Request) -> Response:
        """Keep the theme in the body: 201 for a new name, 200 for one that was there (RFC 9110
        §9.3.4)."""
        if len(request.body) > MAX_THEME_BYTES:
            reason = f"cannot take more than {MAX_THEME_BYTES} bytes of theme"
            return failure(413, "too_large", reason)
        theme = body_of(request, Theme)
        if theme.name != _named(request):
            reason = f"cannot take $.name: {theme.name!r} is not the name in the address"
            return failure(400, "bad_request", reason)
        kept = await self._ask("SaveTheme", {"theme": msgspec.to_builtins(theme)})
        return as_json(theme, 201 if kept["created"] else 200)

    async def _ask(
        self, method: str, parameters: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        method = f"io.geoos.Compositor.{method}"
        return await varlink.call(self._compositor, method, parameters, timeout=ASK_SECONDS)


def _named(request: Request) -> str:
    return request.path.rpartition("/")[2]
