"""The files of the page, read and compressed once, served from memory with their ETag (RFC 9110
§8.8.3, §8.4.1.3).
"""

from __future__ import annotations

import gzip
import hashlib
from importlib import resources
from importlib.resources.abc import Traversable
from typing import NamedTuple

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


class Form(NamedTuple):
    """One form of a file, as it is sent; ``etag`` is a strong validator with its quotes."""

    body: bytes
    etag: str


class File(NamedTuple):
    """A file in its forms; ``gzipped`` is None where that would save nothing."""

    media_type: str
    plain: Form
    gzipped: Form | None

    def form(self, accept_encoding: str) -> tuple[Form, tuple[tuple[str, str], ...]]:
        """What to send to who accepts *accept_encoding*, and the headers that say so."""
        if self.gzipped is None:
            return self.plain, ()
        vary = ("vary", "accept-encoding")
        if accepts_gzip(accept_encoding):
            return self.gzipped, (vary, ("content-encoding", "gzip"))
        return self.plain, (vary,)


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether a header ``Accept-Encoding`` (RFC 9110 §12.5.3) names gzip, or anything, with a
    weight above 0.
    """
    weights: dict[str, bool] = {}
    for item in accept_encoding.lower().split(","):
        name, _, parameter = item.partition(";")
        weight = parameter.strip().removeprefix("q=")
        weights[name.strip()] = weight.strip("0.") != "" if parameter else True
    return weights.get("gzip", weights.get("*", False))


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
            files[prefix + entry.name] = _file(media_type, entry.read_bytes())


def _file(media_type: str, body: bytes) -> File:
    digest = hashlib.blake2b(body, digest_size=12).hexdigest()
    small = gzip.compress(body, mtime=0)
    gzipped = Form(small, f'"{digest}-gzip"') if len(small) < 0.9 * len(body) else None
    return File(media_type, Form(body, f'"{digest}"'), gzipped)
