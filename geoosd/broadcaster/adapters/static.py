"""The files of the page, read once and served from memory with their ETag (RFC 9110 §8.8.3)."""

from __future__ import annotations

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


class File(NamedTuple):
    """A file as it is sent; ``etag`` is a strong validator with its quotes."""

    media_type: str
    body: bytes
    etag: str


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
            body = entry.read_bytes()
            digest = hashlib.blake2b(body, digest_size=12).hexdigest()
            files[prefix + entry.name] = File(media_type, body, f'"{digest}"')
