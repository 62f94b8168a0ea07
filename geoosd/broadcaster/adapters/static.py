"""The files of the page, read and compressed once, served from memory: with a strong ETag for each
coding (RFC 9110 §8.8.3), conditionally (§13), and in parts (§14).

Brotli at its best makes 15 % less of this page than gzip, and takes twenty times as long: it is
made when it is first asked for.
"""

from __future__ import annotations

import gzip
import hashlib
from functools import partial
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final, NamedTuple

import brotli
import trio

from geoosd.broadcaster.adapters.http import Request, Response, failure
from geoosd.broadcaster.core.negotiation import coding_of, range_of

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".webp": "image/webp",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
    ".txt": "text/plain; charset=utf-8",
    ".webmanifest": "application/manifest+json",
}
_CODINGS: Final = ("br", "gzip")
"""Best first."""
_WORTH_IT: Final = 0.9
_BROTLI_WINDOW: Final = 18
"""log2 of its bytes: no file of a page is larger."""


class Form(NamedTuple):
    """One form of a file, as it is sent; ``etag`` is a strong validator with its quotes."""

    body: bytes
    etag: str


class File:
    """A file in its forms: as it is, and in each coding that makes it smaller."""

    def __init__(self, media_type: str, body: bytes) -> None:
        self._media_type = media_type
        self._digest = hashlib.blake2b(body, digest_size=12).hexdigest()
        self._plain = Form(body, f'"{self._digest}"')
        self._coded: dict[str, Form | None] = {}  # None: not worth it
        self._keep("gzip", gzip.compress(body, mtime=0))

    def _keep(self, coding: str, small: bytes) -> None:
        worth_it = len(small) < _WORTH_IT * len(self._plain.body)
        self._coded[coding] = Form(small, f'"{self._digest}-{coding}"') if worth_it else None

    async def respond(self, request: Request) -> Response:
        """Answer GET or HEAD."""
        headers = request.headers
        coding, form = await self._form(headers.get("accept-encoding", ""))
        ours = [("etag", form.etag), ("cache-control", "no-cache"), ("accept-ranges", "bytes")]
        ours += [("vary", "accept-encoding")] if self._coded["gzip"] is not None else []
        asked = [tag.strip() for tag in headers.get("if-match", "*").split(",")]
        if "*" not in asked and form.etag not in asked:
            return failure(412, "precondition_failed", "cannot send that version: there is another")
        known = [tag.strip() for tag in headers.get("if-none-match", "").split(",")]
        if "*" in known or form.etag in (tag.removeprefix("W/") for tag in known):
            return Response(304, headers=tuple(ours))
        ours += [("content-encoding", coding)] if coding is not None else []
        wanted = self._range(request, form)
        if wanted is None:
            return Response(200, form.body, self._media_type, tuple(ours))
        size = len(form.body)
        if not wanted:
            there = ("content-range", f"bytes */{size}")
            return failure(
                416, "range_not_satisfiable", f"cannot send more than {size} bytes", there
            )
        ours.append(("content-range", f"bytes {wanted[0]}-{wanted[-1]}/{size}"))
        return Response(206, form.body[wanted.start : wanted.stop], self._media_type, tuple(ours))

    async def _form(self, accept_encoding: str) -> tuple[str | None, Form]:
        """The form to answer with, and its coding."""
        if coding_of(accept_encoding, _CODINGS) == "br" and "br" not in self._coded:
            small = partial(brotli.compress, mode=brotli.MODE_TEXT, lgwin=_BROTLI_WINDOW)
            self._keep("br", await trio.to_thread.run_sync(small, self._plain.body))
        offered = {coding: form for coding in _CODINGS if (form := self._coded.get(coding))}
        coding = coding_of(accept_encoding, list(offered))
        return (coding, offered[coding]) if coding is not None else (None, self._plain)

    @staticmethod
    def _range(request: Request, form: Form) -> range | None:
        """Of GET alone (§14.2), and of no other file than the client has begun with (§13.1.5)."""
        headers = request.headers
        if request.method != "GET" or headers.get("if-range", form.etag) != form.etag:
            return None
        return range_of(headers.get("range", ""), len(form.body))


def load_page() -> dict[str, File]:
    """Path → file of everything in ``web/``; ``/`` is ``index.html``.

    Files of a type that the page has no use for are left out.
    """
    root = resources.files("geoosd.broadcaster").joinpath("web")
    files: dict[str, File] = {}
    if root.is_dir():
        _collect(root, "/", files)
    if (index := files.get("/index.html")) is not None:
        files["/"] = index
    return files


def _collect(folder: Traversable, prefix: str, files: dict[str, File]) -> None:
    for entry in folder.iterdir():
        if entry.name.startswith((".", "_")):
            continue
        if entry.is_dir():
            _collect(entry, f"{prefix}{entry.name}/", files)
            continue
        dot = entry.name.rfind(".")
        if media_type := _TYPES.get(entry.name[dot:] if dot > 0 else ""):
            files[prefix + entry.name] = File(media_type, entry.read_bytes())
