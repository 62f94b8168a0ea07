"""Where tokens lie: one district of 1024 × 1024 cells for each model and id space.

The rules are those of docs/interfaces.md, "Places". A district's index is given once, in order of
appearance, and persisted by :mod:`..adapters.snapshot`; districts lie on an outer Hilbert curve of
even order (:mod:`.hilbert`), so growth moves none. Index 0 is kept for producers that name no
model. A token's cell is its id, or where the model's layout (:mod:`.layouts`) puts that id; another
layout makes another district, and what lies in the old one stays there. Text without an id is
hashed into a district of its own, shown as ``MODEL#text``. Ids of 2**20 and above are hashed
likewise, over their decimal digits in ASCII.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Final, Literal, TypeAlias

from geoosd.compositor.core import hilbert
from geoosd.compositor.core.layouts import Layout
from geoosd.errors import MessageError
from geoosd.wire.messages import District, Provenance, TokenVisualizationUpdate

ORDER: Final = 10
SIDE: Final = 1 << ORDER
CELLS: Final = 1 << 2 * ORDER
MAX_DISTRICTS: Final = 4096
MAX_LAYOUTS: Final = 32
"""They are kept in memory, up to 4 MiB each."""

IdSpace: TypeAlias = Literal["ids", "text", "given"]
_GIVEN: Final = District(index=0, model=None, id_space="given")


def hashed_cell(text: str) -> int:
    """The cell of a token known by its text only: BLAKE2b, 4 bytes little-endian, mod 2**20."""
    digest = blake2b(text.encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little") % CELLS


def position_of(cell: int) -> tuple[float, float]:
    """Centre of *cell* relative to its district: x and y in [0, 1)."""
    x, y = hilbert.cell_at(cell, ORDER)
    return (x + 0.5) / SIDE, (y + 0.5) / SIDE


def cell_under(position: tuple[float, float]) -> int:
    """The cell under a relative *position*; 1.0 itself belongs to the last column or row."""
    x, y = (min(int(part * SIDE), SIDE - 1) for part in position)
    return hilbert.index_of(x, y, ORDER)


def origin_of(district: int) -> tuple[int, int]:
    """Column and row of the first cell of *district* on the whole map, in cells."""
    x, y = hilbert.cell_at(district, hilbert.even_order(district + 1))
    return x * SIDE, y * SIDE


class Places:
    """All districts, and the one way a token gets its place.

    ``layouts`` are those in force, by model. ``revision`` grows with every new district and layout:
    what is newer than the last one saved has to be saved before its tokens are shown to anybody.
    """

    def __init__(
        self, districts: Iterable[District] = (), layouts: Mapping[str, Layout] | None = None
    ) -> None:
        """Restore *districts*. Raises ValueError when two claim one index or one model, or one
        lies where none can."""
        self.layouts = dict(layouts or {})
        self._by_index: dict[int, District] = {}
        self._by_key: dict[tuple[str | None, IdSpace, int], int] = {}
        self._next = 1
        for district in districts:
            key = (district.model, district.id_space, district.layout)
            if district.index in self._by_index or key in self._by_key:
                raise ValueError(f"district {district.index} of {district.model!r} is there twice")
            given = district.id_space == "given"
            if (district.index == 0) != given or (district.model is None) != given:
                raise ValueError(f"district {district.index} cannot hold {district.id_space!r}")
            if district.index > MAX_DISTRICTS:
                raise ValueError(f"district {district.index} lies beyond {MAX_DISTRICTS}")
            self._keep(district)
        self.revision = 0

    @property
    def districts(self) -> list[District]:
        """All districts in the order of their indices."""
        return [self._by_index[index] for index in sorted(self._by_index)]

    def __len__(self) -> int:
        return len(self._by_index)

    def district(self, index: int) -> District:
        """The district with this index."""
        return self._by_index[index]

    def adopt(self, model: str, layout: Layout | None) -> bool:
        """Place the tokens of *model* by *layout* from now on, or by id; whether that is new.

        Raises ValueError when there are too many.
        """
        current = self.layouts.get(model)
        if (current and current.version) == (layout and layout.version):
            return False
        if layout is None:
            del self.layouts[model]
        elif current is None and len(self.layouts) >= MAX_LAYOUTS:
            raise ValueError(f"{MAX_LAYOUTS} models have a layout already; give one up")
        else:
            self.layouts[model] = layout
        self.revision += 1
        return True

    def place(self, token: TokenVisualizationUpdate) -> None:
        """Fill in ``district``, ``cell``, ``hilbert_position`` and the provenance of the place.

        The provenance is ``derived`` (from an id), ``assumed`` (a hash) or, for a producer without
        model that sent one, ``measured``: the position is then kept exactly. Raises
        :class:`MessageError` when there are too many districts already.
        """
        sure: Provenance
        if token.model is None and token.hilbert_position is not None:
            token.district = self._index_of(None, "given", 0)
            token.cell = cell_under(token.hilbert_position)
            sure = "measured"
        else:
            space: IdSpace = "text" if token.token_id is None else "ids"
            layout = self.layouts.get(token.model or "") if space == "ids" else None
            token.district = self._index_of(
                token.model,
                "given" if token.model is None else space,
                0 if layout is None else layout.version,
            )
            token.cell, sure = _cell_of(token, layout)
            token.hilbert_position = position_of(token.cell)
        if token.provenance is None:
            token.provenance = {"hilbert_position": sure}
        else:
            token.provenance["hilbert_position"] = sure

    def _index_of(self, model: str | None, space: IdSpace, layout: int) -> int:
        index = self._by_key.get((model, space, layout))
        if index is not None:
            return index
        if space != "given" and self._next > MAX_DISTRICTS:
            raise MessageError(
                "invalid",
                f"cannot take payload.model: {MAX_DISTRICTS} models have a place already",
                "payload.model",
            )
        fresh = _GIVEN if space == "given" else District(self._next, model, space, layout)
        self._keep(fresh)
        self.revision += 1
        return fresh.index

    def _keep(self, district: District) -> None:
        self._by_index[district.index] = district
        self._by_key[district.model, district.id_space, district.layout] = district.index
        self._next = max(self._next, district.index + 1)


def _cell_of(token: TokenVisualizationUpdate, layout: Layout | None) -> tuple[int, Provenance]:
    number = token.token_id
    if number is None:
        return hashed_cell(token.current_token), "assumed"
    if number >= CELLS:
        return hashed_cell(str(number)), "assumed"
    if layout is not None and number < len(layout):
        return layout.places[number], "derived"
    return number, "derived"
