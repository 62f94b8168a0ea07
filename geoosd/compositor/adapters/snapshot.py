"""The compositor's state on disk, each file replaced whole: temporary file, fsync, rename, fsync.

``places.json`` holds the districts, the current theme, and which layout is in force for which
model. It is saved before the first token of a new district is shown, so that not even kill -9 moves
a token. ``layout-VERSION.i32`` are those layouts, each there before ``places.json`` names it.
``scene.npz`` holds memory and thought stream. A cell of the memory *is* a token id, so that file
exists only with ``[bridge] record = "full"``; otherwise it is removed: then no text and no token
ids lie on disk (docs/interfaces.md). A damaged or foreign file is set aside, never a reason not to
start; so is a scene of a newer format. Places of a newer format are not damaged: they stay as they
are, and the older program refuses to start beside them, because districts given anew would move
every token.

Everything here blocks; call it in a worker thread.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from io import BytesIO
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Struct

from geoosd.compositor.core.layouts import Layout
from geoosd.compositor.core.places import Places
from geoosd.errors import StartError
from geoosd.wire.messages import District, TokenVisualizationUpdate

FORMAT: Final = "geoos-compositor"
VERSION: Final = 2
"""Of ``places.json``. Version 1 had no layouts; without any it is written still, so that an older
geoos can read it."""
SCENE_VERSION: Final = 2
"""Of ``scene.npz``. Version 1 had no timestamps; it is read still."""
_PORTION: Final = 128
"""Tokens encoded in one go, so that the thread lets the event loop in between."""

Keys: TypeAlias = npt.NDArray[np.uint64]
Weights: TypeAlias = npt.NDArray[np.float64]


class PlacesFile(Struct):
    """``places.json``."""

    format: str = FORMAT
    version: int = VERSION
    districts: list[District] = msgspec.field(default_factory=list)
    theme: str | None = None
    layouts: dict[str, int] = msgspec.field(default_factory=dict)

    @classmethod
    def of(cls, places: Places, theme: str) -> PlacesFile:
        """What is to be kept of *places*."""
        districts = places.districts
        layouts = {model: layout.version for model, layout in places.layouts.items()}
        version = 2 if layouts or any(each.layout for each in districts) else 1
        return cls(FORMAT, version, districts, theme, layouts)


class _Header(Struct):
    """What every version of ``places.json`` begins with."""

    format: str = FORMAT
    version: int = VERSION


class SceneFile(NamedTuple):
    """``scene.npz``: the memory field, and the newest tokens with their timestamps."""

    keys: Keys
    weights: Weights
    thoughts: list[tuple[TokenVisualizationUpdate, float]]


class _NewerFormat(Exception):
    """A file that a later version of geoos wrote; ``version`` is its format's."""

    def __init__(self, version: int) -> None:
        super().__init__(version)
        self.version = version


_UNREADABLE: Final = (
    ValueError,
    KeyError,
    OSError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
    RuntimeError,
    RecursionError,
    MemoryError,
)
"""What NumPy, zipfile and msgspec raise for a file that is torn or none of ours."""


class StateFiles:
    """The files of one state directory. ``complaints`` are lines on what was set aside.

    Loading raises :class:`StartError` for a file of a newer format.
    """

    def __init__(self, directory: Path) -> None:
        self.places_path = directory / "places.json"
        self.scene_path = directory / "scene.npz"
        self.complaints: list[str] = []

    def load_places(self) -> PlacesFile:
        """The saved districts and theme; empty when there are none."""
        data = self._read(self.places_path)
        if data is not None:
            try:
                header = msgspec.json.decode(data, type=_Header)
                _check_version(header.format, header.version)
                loaded = msgspec.json.decode(data, type=PlacesFile)
                Places(loaded.districts)
            except _NewerFormat as newer:
                raise _downgraded(self.places_path, newer) from None
            except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
                self._set_aside(self.places_path, str(error))
            else:
                return loaded
        return PlacesFile()

    def save_places(self, places: PlacesFile) -> None:
        """Replace ``places.json``; layouts that it does not name go. Raises OSError."""
        replace_file(self.places_path, encode_places(places))
        named = {self.layout_path(version) for version in places.layouts.values()}
        for path in self.places_path.parent.glob("layout-*.i32"):
            if path not in named:
                path.unlink()

    def layout_path(self, version: int) -> Path:
        """Where the layout of *version* is."""
        return self.places_path.with_name(f"layout-{version}.i32")

    def load_layout(self, version: int, model: str) -> Layout | None:
        """The layout of *version*, for *model*; None when there is no such one."""
        path = self.layout_path(version)
        by_id = f"tokens of {model} lie by their ids"
        data = self._read(path)
        if data is None:
            if not path.exists():
                self.complaints.append(f"cannot find {path}: {by_id} until one is adopted again")
            return None
        try:
            layout = Layout(data)
            if layout.version != version:
                raise ValueError("it is another layout than its name says")
        except ValueError as error:
            self._set_aside(path, f"{error}; {by_id}")
            return None
        return layout

    def save_layout(self, layout: Layout) -> None:
        """Have *layout* on disk. Raises OSError."""
        replace_file(self.layout_path(layout.version), layout.data)

    def load_scene(self) -> SceneFile | None:
        """The saved scene, if there is one."""
        data = self._read(self.scene_path)
        if data is not None:
            try:
                return _decode_scene(data)
            except _NewerFormat as newer:
                reason = f"a newer geoos wrote it (format version {newer.version})"
                self._set_aside(self.scene_path, reason)
            except _UNREADABLE as error:
                self._set_aside(self.scene_path, str(error))
        return None

    def save_scene(self, scene: SceneFile) -> None:
        """Replace ``scene.npz``. Raises OSError."""
        replace_file(self.scene_path, encode_scene(scene))

    def remove_scene(self) -> None:
        """Have no token on disk, nor in what a kill or a torn file left. Raises OSError."""
        for path in (self.scene_path, _temporary(self.scene_path), _aside(self.scene_path)):
            path.unlink(missing_ok=True)

    def _read(self, path: Path) -> bytes | None:
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            self._set_aside(path, str(error.strerror))
            return None

    def _set_aside(self, path: Path, reason: str) -> None:
        aside = _aside(path)
        self.complaints.append(f"cannot use {path}: {reason}; kept as {aside.name}, starting anew")
        try:
            path.replace(aside)
        except OSError as error:
            self.complaints.append(f"cannot rename {path}: {error.strerror}")


def encode_places(places: PlacesFile) -> bytes:
    """The bytes of ``places.json``."""
    return msgspec.json.format(msgspec.json.encode(places))


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


def _downgraded(path: Path, newer: _NewerFormat) -> StartError:
    return StartError(
        f"cannot use {path}: a newer geoos wrote it (format version {newer.version}, this one "
        f"reads {VERSION}); install that version again, or restore a backup from before the upgrade"
    )


def _check_version(found_format: str, version: int, known: int = VERSION) -> None:
    if found_format == FORMAT and version > known:
        raise _NewerFormat(version)
    if found_format != FORMAT or version < 1:
        raise ValueError(f"it is {found_format} version {version}, not {FORMAT} version {known}")


def _encoded(tokens: list[TokenVisualizationUpdate]) -> npt.NDArray[np.uint8]:
    """A JSON list."""
    portions = (
        msgspec.json.encode(tokens[first : first + _PORTION])[1:-1]
        for first in range(0, len(tokens), _PORTION)
    )
    return np.frombuffer(b"[" + b",".join(portions) + b"]", np.uint8)


def _decode_scene(data: bytes) -> SceneFile:
    with np.load(BytesIO(data), allow_pickle=False) as archive:
        version = int(archive["version"])
        _check_version(str(archive["format"]), version, SCENE_VERSION)
        keys = archive["keys"].astype(np.uint64, casting="safe")
        weights = archive["weights"].astype(np.float64, casting="safe")
        tokens = msgspec.json.decode(
            archive["tokens"].tobytes(), type=list[TokenVisualizationUpdate]
        )
        stamps = np.zeros(len(tokens)) if version == 1 else archive["stamps"]
        stamps = stamps.astype(np.float64, casting="safe")
    if keys.ndim != 1 or keys.shape != weights.shape or not (weights >= 0).all():
        raise ValueError("its memory is no list of cells and weights")
    if not np.isfinite(weights).all():
        raise ValueError("a weight in it is not finite")
    if stamps.shape != (len(tokens),) or any(token.cell is None for token in tokens):
        raise ValueError("its tokens are no list of placed tokens with timestamps")
    return SceneFile(keys, weights, list(zip(tokens, stamps.tolist(), strict=True)))


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.new")


def _aside(path: Path) -> Path:
    return path.with_name(f"{path.name}.unreadable")


def replace_file(path: Path, data: bytes) -> None:
    """Put *data* in place of *path*, all or nothing, also when the power fails. Raises OSError."""
    temporary = _temporary(path)
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
