"""How a request and its answer look on the other side of the proxy (:mod:`.proxy`).

Everything goes on as it is but for the fields of one hop, ``Host``, and what docs/interfaces.md
names: ``x-geoos-session`` and ``x-geoos-upstream`` on answers, the session for the embedded engine,
a configured key where the client sends none, ``UPSTREAM/model`` as that upstream's ``model``, and
what ``enrich`` asks for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

import h11

from geoosd import config
from geoosd.bridge.adapters import http_fields, model_field
from geoosd.bridge.adapters.http_client import Origin
from geoosd.bridge.adapters.http_connection import ClientRequest
from geoosd.bridge.adapters.http_fields import Fields
from geoosd.bridge.adapters.model_field import Asked
from geoosd.bridge.core import enriching
from geoosd.bridge.core.cache import HEADER, PACE
from geoosd.bridge.core.router import Route

ENGINE: Final = "engine"
"""The id of the embedded engine, the only upstream that is told the session."""

SESSION: Final = b"x-geoos-session"
UPSTREAM: Final = b"x-geoos-upstream"


class Directory(Protocol):
    """What the proxy needs to know of the upstreams: :class:`.directory.Directory`."""

    def candidates(self, model: str | None = None) -> Sequence[Route]:
        """Where a request for *model* may go, best first; empty when nothing is up."""
        ...

    def settings(self, upstream: str) -> config.Upstream:
        """An upstream's configuration. Raises :class:`UpstreamError` when it is gone."""
        ...

    def authorization(self, upstream: str) -> str | None:
        """The value of its Authorization header, where a credential is configured."""
        ...

    def models(self) -> Sequence[Mapping[str, Any]]:
        """The merged entries of ``/v1/models``, each with its ``id``."""
        ...

    def failed(self, upstream: str, reason: str) -> None:
        """It did not answer a request to the end."""
        ...

    def answered(self, upstream: str) -> None:
        """It answered a request that a tap has seen to the end."""
        ...


class Target(NamedTuple):
    """An upstream to ask.

    ``url`` has no trailing slash; ``model`` is the asked model as that upstream knows it;
    ``authorization`` is sent where the client sends none; ``timeout`` is the silence in seconds
    that is borne; ``added`` are fields to be inserted into the body.
    """

    id: str
    url: str
    model: str | None = None
    authorization: str | None = None
    timeout: float = 600.0
    added: bytes = b""


def targets_for(directory: Directory, model: str | None) -> list[Target]:
    """The upstreams that may be asked for *model*, best first."""
    targets: list[Target] = []
    for route in directory.candidates(model):
        settings = directory.settings(route.upstream)
        key = directory.authorization(route.upstream)
        targets.append(Target(settings.id, settings.url, route.model, key, settings.timeout))
    return targets


def is_prefixed(target: Target, model: str | None) -> bool:
    """Whether *model* names the target before its own name for it: ``UPSTREAM/model``."""
    return target.model is not None and model == f"{target.id}/{target.model}"


def request_for(
    target: Target,
    origin: Origin,
    request: ClientRequest,
    path: bytes,
    asked: Asked,
    session: str | None,
) -> tuple[h11.Request, bytes]:
    """The request as *target* is to get it: its head, and the begin of its body that is held.

    ``Expect`` was answered already. ``Host`` is the upstream's, as for any gateway.
    """
    headers = request.headers
    to_engine = session is not None and target.id == ENGINE
    dropped = {b"host", b"expect", HEADER, PACE, *((SESSION,) if to_engine else ())}
    body = request.body.held
    length = http_fields.first(headers, b"content-length")
    if target.model is not None and is_prefixed(target, asked.model):
        body = model_field.with_model(body, asked, target.model)
    body = enriching.insert(body, target.added)
    if body is not request.body.held:
        dropped.add(b"content-length")
    fields: Fields = [(b"Host", origin.authority), *http_fields.end_to_end(headers, dropped)]
    if http_fields.is_chunked(headers):
        fields = [field for field in fields if field[0].lower() != b"content-length"]
        fields.append((b"Transfer-Encoding", b"chunked"))
    elif b"content-length" in dropped and length is not None:
        changed = int(length) + len(body) - len(request.body.held)
        fields.append((b"Content-Length", str(changed).encode()))
    if http_fields.takes_trailers(headers):
        fields += [(b"TE", b"trailers"), (b"Connection", b"TE")]
    if target.authorization and http_fields.first(headers, b"authorization") is None:
        fields.append((b"Authorization", target.authorization.encode()))
    if session is not None and to_engine:
        fields.append((SESSION, session.encode()))
    return h11.Request(method=request.method, target=origin.path + path, headers=fields), body


def response_fields(response: h11.Response, target: Target, session: str | None) -> Fields:
    """The header fields of an answer as the client is to get them."""
    dropped = {SESSION, UPSTREAM, HEADER}
    if http_fields.is_chunked(response.headers):
        dropped.add(b"content-length")  # RFC 9112 §6.3: the chunks count
    fields = http_fields.end_to_end(response.headers, dropped)
    if session is not None:
        fields.append((SESSION, session.encode()))
    fields.append((UPSTREAM, target.id.encode()))
    return fields
