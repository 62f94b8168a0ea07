"""``scene.npz``: the memory field and the thought stream, in NumPy's format.

Members: ``format``, ``version``, ``keys`` and ``weights`` of the memory, ``tokens`` as JSON, and
their ``stamps``.
"""

from __future__ import annotations

import zipfile
from collections.abc import Collection
from io import BytesIO
from typing import Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from geoosd.compositor.adapters.files import FORMAT, NewerFormat, check_version
from geoosd.compositor.core.field import Keys, Weights, check_cells
from geoosd.compositor.core.places import CELLS
from geoosd.wire.messages import TokenVisualizationUpdate

SCENE_VERSION: Final = 2
"""Version 1 had no timestamps; it is read still."""

_MAX_UNPACKED: Final = 256 << 20
_PORTION: Final = 128
"""Tokens encoded in one go, so that the thread lets the event loop in between."""


class SceneFile(NamedTuple):
    """The memory field, and the newest tokens with their timestamps."""

    keys: Keys
    weights: Weights
    thoughts: list[tuple[TokenVisualizationUpdate, float]]


def encode_scene(scene: SceneFile) -> bytes:
    """The bytes of ``scene.npz``."""
    out = BytesIO()
    np.savez_compressed(
        out,
        format=np.array(FORMAT),
        version=np.array(SCENE_VERSION),
        keys=scene.keys,
        weights=scene.weights,
        tokens=_encoded([token for token, _ in scene.thoughts]),
        stamps=np.array([at for _, at in scene.thoughts], np.float64),
    )
    return out.getvalue()


def decode_scene(data: bytes, districts: Collection[int]) -> SceneFile:
    """The scene in *data*, all of whose cells lie in *districts*.

    Raises :class:`~.files.NewerFormat`, or ValueError whatever else *data* may be.
    """
    try:
        return _decoded(data, districts)
    except (NewerFormat, ValueError):
        raise
    except Exception as error:  # noqa: BLE001 - what zipfile and NumPy raise is written nowhere
        raise ValueError(f"{type(error).__name__}: {error}") from None


def _decoded(data: bytes, districts: Collection[int]) -> SceneFile:
    with zipfile.ZipFile(BytesIO(data)) as packed:
        if sum(member.file_size for member in packed.infolist()) > _MAX_UNPACKED:
            raise ValueError(f"it unpacks to more than {_MAX_UNPACKED} bytes")
    with np.load(BytesIO(data), allow_pickle=False) as archive:
        version = int(archive["version"])
        check_version(str(archive["format"]), version, SCENE_VERSION)
        keys = archive["keys"].astype(np.uint64, casting="safe")
        weights = archive["weights"].astype(np.float64, casting="safe")
        tokens = msgspec.json.decode(
            archive["tokens"].tobytes(), type=list[TokenVisualizationUpdate]
        )
        stamps = np.zeros(len(tokens)) if version == 1 else archive["stamps"]
        stamps = stamps.astype(np.float64, casting="safe")
    check_cells(keys, weights)
    if stamps.shape != (len(tokens),) or not np.isfinite(stamps).all():
        raise ValueError("its tokens do not go with their timestamps")
    if not np.isin(keys >> np.uint64(20), np.array([*districts], np.uint64)).all() or any(
        token.district not in districts for token in tokens
    ):
        raise ValueError("it lies in districts that places.json does not have")
    if any(token.cell is None or token.cell >= CELLS for token in tokens):
        raise ValueError("a token in it has no cell")
    return SceneFile(keys, weights, list(zip(tokens, stamps.tolist(), strict=True)))


def _encoded(tokens: list[TokenVisualizationUpdate]) -> npt.NDArray[np.uint8]:
    """A JSON list."""
    portions = (
        msgspec.json.encode(tokens[first : first + _PORTION])[1:-1]
        for first in range(0, len(tokens), _PORTION)
    )
    return np.frombuffer(b"[" + b",".join(portions) + b"]", np.uint8)
