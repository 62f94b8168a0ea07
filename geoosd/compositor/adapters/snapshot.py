"""The compositor's state on disk: what lies in its directory, and what becomes of it at a start.

``places.json`` holds the districts, the chosen theme, and which layout is in force for which model.
It is saved before the first token of a new district is shown, so that not even kill -9 moves a
token. ``layout-VERSION.i32`` are those layouts, each there before ``places.json`` names it.
``scene.npz`` (:mod:`.scene_file`) holds memory and thought stream. A cell of the memory *is* a
token id, so that file exists only with ``[bridge] record = "full"``; otherwise it is removed: then
no text and no token ids lie on disk (docs/interfaces.md).

A damaged or foreign file is set aside, never a reason not to start; so is a scene of a newer
format, and one whose districts are not those of ``places.json``: it would light the cells of
another model. Places of a newer format, or that another user has made unreadable, are not damaged:
they stay as they are, and the program refuses to start beside them, because districts given anew
would move every token.

Everything here blocks; call it in a worker thread.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from geoosd.compositor.adapters.files import (
    FORMAT,
    NewerFormat,
    aside,
    check_version,
    read_file,
    set_aside,
)
from geoosd.compositor.adapters.scene_file import (
    SCENE_VERSION,
    SceneFile,
    decode_scene,
    encode_scene,
)
from geoosd.compositor.core.layouts import MAX_TOKENS, Layout
from geoosd.compositor.core.places import MAX_LAYOUTS, Places
from geoosd.durable import replace_file, temporary
from geoosd.errors import StartError, reason_of
from geoosd.wire.messages import District

VERSION: Final = 2
"""Of ``places.json``. Version 1 had no layouts; without any it is written still, so that an older
geoos can read it."""
_MAX_PLACES: Final = 16 << 20
_MAX_SCENE: Final = 128 << 20
"""Bytes: several times what the bounds of the state can come to."""


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


class StateFiles:
    """The files of one state directory. ``complaints`` are lines on what was set aside."""

    def __init__(self, directory: Path) -> None:
        self.places_path = directory / "places.json"
        self.scene_path = directory / "scene.npz"
        self.complaints: list[str] = []
        self._layouts: set[Path] = set()

    def load_places(self) -> PlacesFile:
        """The saved districts and theme; empty when there are none.

        Raises :class:`StartError` for a file of a newer format, or that we may not read.
        """
        try:
            return decode_places(read_file(self.places_path, _MAX_PLACES))
        except FileNotFoundError:
            pass
        except PermissionError:
            raise StartError(
                f"cannot read {self.places_path}: permission denied; "
                "give it to the user that runs the compositor"
            ) from None
        except NewerFormat as newer:
            raise _downgraded(self.places_path, newer) from None
        except (OSError, ValueError) as error:
            self._set_aside(self.places_path, error)
        return PlacesFile()

    def save_places(self, places: PlacesFile) -> None:
        """Replace ``places.json``; layouts that it no longer names go. Raises OSError.

        One that no file of ours has named stays: places that were set aside may name it.
        """
        replace_file(self.places_path, encode_places(places))
        named = {self.layout_path(version) for version in places.layouts.values()}
        for path in self._layouts - named:
            path.unlink(missing_ok=True)
        self._layouts &= named

    def layout_path(self, version: int) -> Path:
        """Where the layout of *version* is."""
        return self.places_path.with_name(f"layout-{version}.i32")

    def load_layout(self, version: int, model: str) -> Layout | None:
        """The layout of *version*, for *model*; None when there is no such one."""
        path = self.layout_path(version)
        by_id = f"tokens of {model} lie by their ids until one is adopted again"
        try:
            layout = Layout(read_file(path, MAX_TOKENS * 4))
            if layout.version == version:
                self._layouts.add(path)
                return layout
            self._set_aside(path, ValueError(f"it is another one than its name says; {by_id}"))
        except FileNotFoundError:
            self.complaints.append(f"cannot find {path}: {by_id}")
        except (OSError, ValueError) as error:
            self._set_aside(path, ValueError(f"{_reason(error)}; {by_id}"))
        return None

    def save_layout(self, layout: Layout) -> None:
        """Have *layout* on disk. Raises OSError."""
        path = self.layout_path(layout.version)
        replace_file(path, layout.data)
        self._layouts.add(path)

    def load_scene(self, districts: list[District]) -> SceneFile | None:
        """The saved scene, if there is one that lies in *districts*."""
        try:
            data = read_file(self.scene_path, _MAX_SCENE)
            return decode_scene(data, {district.index for district in districts})
        except FileNotFoundError:
            pass
        except NewerFormat as newer:
            reason = f"a newer geoos wrote it (format version {newer.version}, this one reads "
            self._set_aside(self.scene_path, ValueError(f"{reason}{SCENE_VERSION})"))
        except (OSError, ValueError) as error:
            self._set_aside(self.scene_path, error)
        return None

    def save_scene(self, scene: SceneFile) -> None:
        """Replace ``scene.npz``. Raises OSError."""
        replace_file(self.scene_path, encode_scene(scene))

    def remove_scene(self) -> None:
        """Have no token on disk, nor in what a kill or a torn file left. Raises OSError."""
        for path in (self.scene_path, temporary(self.scene_path), aside(self.scene_path)):
            path.unlink(missing_ok=True)

    def _set_aside(self, path: Path, error: OSError | ValueError) -> None:
        self.complaints += set_aside(path, _reason(error))


def _reason(error: OSError | ValueError) -> str:
    return reason_of(error) if isinstance(error, OSError) else str(error)


def encode_places(places: PlacesFile) -> bytes:
    """The bytes of ``places.json``."""
    return msgspec.json.format(msgspec.json.encode(places))


def decode_places(data: bytes) -> PlacesFile:
    """What *data* says. Raises :class:`~.files.NewerFormat`, or ValueError for what is torn or none
    of ours."""
    try:
        header = msgspec.json.decode(data, type=_Header)
        check_version(header.format, header.version, VERSION)
        loaded = msgspec.json.decode(data, type=PlacesFile)
    except RecursionError as error:
        raise ValueError(str(error)) from None
    Places(loaded.districts)
    if len(loaded.layouts) > MAX_LAYOUTS:
        raise ValueError(f"it names {len(loaded.layouts)} layouts, at most {MAX_LAYOUTS}")
    return loaded


def _downgraded(path: Path, newer: NewerFormat) -> StartError:
    return StartError(
        f"cannot use {path}: a newer geoos wrote it (format version {newer.version}, this one "
        f"reads {VERSION}); install that version again, or restore a backup from before the upgrade"
    )
