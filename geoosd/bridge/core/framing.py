"""The chunks of HTTP/1.1's chunked coding (RFC 9112 §7.1): bytes in, their data out.

A model server writes a chunk for each token, and h11 takes as long for one as all the rest of its
way through the proxy. So plain chunks are read here. Whatever else may stand where a chunk begins
(the last chunk and its trailers, an extension, a head that is cut, nonsense) is left to h11, in
:mod:`..adapters.http_client`.
"""

from __future__ import annotations

import re
from typing import Final

_HEAD: Final = re.compile(rb"([0-9A-Fa-f]{1,8})\r\n")
_END: Final = b"\r\n"
_NO_CHUNK: Final = b"?\r\n"


def unchunk(piece: bytes, missing: int) -> tuple[bytes, bytes, int]:
    """The data in *piece*, what of it is left over, and how much the chunk in hand still misses.

    *missing* is what the call before gave: the bytes until the next chunk begins, the two after the
    data included; 0 at the begin. What is left over begins where a chunk does; after a chunk that
    does not end as it must, it is what no parser takes for one.
    """
    parts: list[bytes] = []
    at = 0
    while True:
        if missing:
            taken = piece[at : at + missing]
            data = taken[: max(missing - len(_END), 0)]
            parts.append(data)
            if not _END[-missing:].startswith(taken[len(data) :]):
                return b"".join(parts), _NO_CHUNK, 0
            missing -= len(taken)
            at += len(taken)
        head = None if missing else _HEAD.match(piece, at)
        size = int(head[1], 16) if head is not None else 0
        if head is None or not size:
            return b"".join(parts), piece[at:], missing
        missing = size + len(_END)
        at = head.end()
