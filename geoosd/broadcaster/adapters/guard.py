"""The guard: tokens on every call, where a key is configured (:mod:`geoosd.wire.tokens`).

A token comes as ``Authorization: Bearer`` (RFC 6750 §2.1), as ``access_token`` in the query (§2.3),
or in the cookie that a browser is given when it opens the page with such a query once. The cookie
is ``SameSite=Strict``: pages of other sites cannot make use of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlencode

from geoosd.broadcaster.adapters.http import Refused, Request, Response, failure
from geoosd.errors import ConfigError, MessageError, reason_of
from geoosd.wire import tokens

COOKIE: Final = "geoos_token"
_FIELD: Final = "access_token"
_PAGES: Final = ("/", "/index.html")
_MISSING: Final = (
    "cannot serve this without a token; make one: geoosctl token create; then send it as "
    "Authorization: Bearer, or open the page once with ?access_token=TOKEN"
)


def read_key(name: str) -> bytes:
    """The key that ``broadcaster.token_key`` names: a credential (systemd.exec(5)), or an absolute
    path. Raises :class:`ConfigError`.
    """
    if "/" in name:
        path = Path(name)
        if not path.is_absolute():
            raise _unusable(name, "neither the name of a credential nor an absolute path")
    else:
        directory = os.environ.get("CREDENTIALS_DIRECTORY")
        if not directory or name in (".", ".."):
            raise _unusable(
                name, "CREDENTIALS_DIRECTORY is not set; add LoadCredential= to the unit"
            )
        path = Path(directory) / name
    try:
        return tokens.key_of(path.read_bytes(), str(path))
    except OSError as error:
        reason = reason_of(error)
        raise _unusable(name, f"{reason}; make one: geoosctl token key {path}") from None


def _unusable(name: str, why: str) -> ConfigError:
    return ConfigError(f"cannot use broadcaster.token_key {name!r}: {why}")


class Guard:
    """Lets through who has a token; *now* is the wall clock. ``refused`` counts the others."""

    def __init__(self, key: bytes, now: Callable[[], float]) -> None:
        self.refused = 0
        self.key = key
        self._now = now

    def admit(self, request: Request) -> Request:
        """The request with what its token says, and without the token itself.

        Raises :class:`Refused`: 401 without a good token, 303 to the page without a query once its
        token is in a cookie.
        """
        fields = parse_qsl(request.query, keep_blank_values=True)
        queried = next((value for key, value in fields if key == _FIELD), None)
        text = _bearer(request) or queried or _cookie(request)
        if text is None:
            raise self._refuse(_MISSING, "")
        try:
            token = tokens.verify(text, self.key, self._now())
        except MessageError as error:
            raise self._refuse(str(error), ', error="invalid_token"') from None
        rest = [(key, value) for key, value in fields if key != _FIELD]
        query = urlencode(rest) if queried is not None else request.query
        if text == queried and request.method == "GET" and request.path in _PAGES:
            raise Refused(self._to_the_page(request, query, text, token))
        return replace(request, query=query, role=token.role, expires=token.expires)

    def _refuse(self, text: str, error: str) -> Refused:
        self.refused += 1
        challenge = ("www-authenticate", f'Bearer realm="geoos"{error}')
        return Refused(failure(401, "unauthorized", text, challenge, ("cache-control", "no-store")))

    def _to_the_page(
        self, request: Request, query: str, text: str, token: tokens.Token
    ) -> Response:
        """Out of the address and its history, into a cookie that scripts cannot read."""
        secure = "; Secure" if request.headers.get("x-forwarded-proto") == "https" else ""
        age = int(token.expires - self._now())
        cookie = f"{COOKIE}={text}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict{secure}"
        return Response(
            303,
            headers=(
                ("location", f"{request.path}?{query}" if query else request.path),
                ("set-cookie", cookie),
                ("cache-control", "no-store"),
            ),
        )


def _bearer(request: Request) -> str | None:
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    return text.strip() or None if scheme.lower() == "bearer" else None


def _cookie(request: Request) -> str | None:
    """Only our own is looked at: on localhost there are others', of any form (RFC 6265 §8.5)."""
    found = None
    for pair in request.headers.get("cookie", "").split(";"):
        name, _, value = pair.partition("=")
        if name.strip() == COOKIE:
            found = value.strip().strip('"') or None
    return found
