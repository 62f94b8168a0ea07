"""Layouts: a place of its own for every token of a vocabulary, instead of by id.

``geoosctl map build`` makes one: an int32 for each token id, little-endian, a permutation of 0 …
n - 1; ``places[id]`` is the token's cell. Its version is made from its content, so that the same
layout has the same version on every host. It is longer than a call may be, so it comes in
:class:`Parts`.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

import numpy as np

MAX_TOKENS: Final = 1 << 20
"""As many as a district has cells."""
_WIDTH: Final = 4


class Layout:
    """One layout; ``places`` has an int for each token id. Raises ValueError for what is none."""

    def __init__(self, data: bytes) -> None:
        if not data or len(data) % _WIDTH or len(data) > MAX_TOKENS * _WIDTH:
            raise ValueError(f"{len(data)} bytes are no 1 to {MAX_TOKENS} places of 4 bytes each")
        places = np.frombuffer(data, "<i4")
        if not np.array_equal(np.sort(places), np.arange(len(places))):
            raise ValueError(f"its places are not 0 to {len(places) - 1}, each once")
        self.data = data
        self.version = int.from_bytes(blake2b(data, digest_size=6).digest(), "little") + 1
        self.places = places.astype(np.int32).data

    def __len__(self) -> int:
        return len(self.places)


class Parts:
    """A layout for *model* on its way, in parts from the first token on; a new one drops an old."""

    def __init__(self) -> None:
        self._coming: tuple[str, int] | None = None
        self._data = bytearray()

    def add(self, model: str, tokens: int, first: int, part: bytes) -> bytes | None:
        """The whole when this was its last part. Raises ValueError; then begin again."""
        if first == 0:
            self._coming, self._data = (model, tokens), bytearray()
        here = len(self._data)
        if (model, tokens) != self._coming or first * _WIDTH != here:
            self._coming = None
            raise ValueError(f"the part from token {first} does not follow what came; begin at 0")
        if not part or here + len(part) > tokens * _WIDTH:
            self._coming = None
            raise ValueError(f"{len(part)} bytes from token {first} are no part of {tokens} places")
        self._data += part
        if len(self._data) < tokens * _WIDTH:
            return None
        self._coming = None
        return bytes(self._data)
