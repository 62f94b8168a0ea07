"""Themes by name: the shipped ones, the administrator's over them, the user's over both."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import trio

from geoosd.compositor.adapters.files import read_file, set_aside
from geoosd.durable import replace_file
from geoosd.errors import StartError, VarlinkError, reason_of
from geoosd.runtime.varlink import unavailable
from geoosd.wire.messages import MAX_THEME_BYTES, Theme
from geoosd.wire.varlink import NOT_FOUND

DEFAULT: Final = "aurora"
MAX_THEMES: Final = 256
_PACKAGE: Final = Path(__file__).resolve().parents[2]
_ADMINISTRATOR: Final = Path("/etc/geoos/themes")


class Loaded(NamedTuple):
    """Themes by name, and lines: on files that cannot be used, and on those that were set aside."""

    themes: dict[str, Theme]
    unusable: list[str]
    lost: list[str]


class Themes:
    """What there is to choose from, and what was chosen."""

    def __init__(self, state_dir: Path) -> None:
        self.chosen = DEFAULT
        self._state_dir = state_dir
        self._themes: dict[str, Theme] = {}
        self._saving = trio.Lock()

    @property
    def all(self) -> list[Theme]:
        """Every theme, by name."""
        return [self._themes[name] for name in sorted(self._themes)]

    @property
    def in_use(self) -> str:
        """The name of the chosen theme; of the default one while that cannot be read."""
        return self.chosen if self.chosen in self._themes else DEFAULT

    @property
    def current(self) -> Theme:
        """The theme in use."""
        return self.find(self.in_use)

    def find(self, name: str) -> Theme:
        """The theme of that name. Raises :class:`VarlinkError` when there is none."""
        theme = self._themes.get(name)
        if theme is None:
            known = ", ".join(sorted(self._themes))
            reason = f"cannot find theme {name!r}: there are {known}"
            raise VarlinkError(NOT_FOUND, {"reason": reason})
        return theme

    async def load(self) -> Loaded:
        """Read all files anew; a user's that cannot be used is set aside.

        Raises :class:`StartError` without the default theme, and then changes nothing.
        """
        *shared, own = directories(self._state_dir)
        loaded = await trio.to_thread.run_sync(load, shared, own)
        if DEFAULT not in loaded.themes:
            raise StartError(f"cannot find theme {DEFAULT} in {shared[0]}; install again")
        self._themes = loaded.themes
        return loaded

    async def save(self, theme: Theme) -> bool:
        """Keep *theme* among the user's; whether its name is new.

        Raises :class:`VarlinkError` when there are too many, or the disk takes no more.
        """
        async with self._saving:
            created = theme.name not in self._themes
            if created and len(self._themes) >= MAX_THEMES:
                raise unavailable(
                    f"cannot keep another theme: there are {MAX_THEMES}; delete files from "
                    f"{directories(self._state_dir)[-1]}, then: geoosctl reload --unit compositor"
                )
            try:
                await trio.to_thread.run_sync(save, self._state_dir, theme)
            except OSError as error:
                raise unavailable(f"cannot save theme {theme.name}: {reason_of(error)}") from None
            self._themes[theme.name] = theme
            return created


def directories(state_dir: Path) -> list[Path]:
    """Where themes lie; later ones take precedence. In a checkout the shipped ones are in etc."""
    packaged = _PACKAGE / "share" / "themes"
    shipped = packaged if packaged.is_dir() else _PACKAGE.parent / "etc" / "themes"
    return [shipped, _ADMINISTRATOR, state_dir / "themes"]


def load(shared: Iterable[Path], own: Path) -> Loaded:
    """All themes. What cannot be used is left alone in *shared* directories, and set aside in our
    *own*. Blocks."""
    themes: dict[str, Theme] = {}
    unusable: list[str] = []
    for directory in shared:
        found, troubles = _read_all(directory)
        themes |= found
        unusable += [f"cannot use {path}: {reason}" for path, reason in troubles]
    found, troubles = _read_all(own)
    lost = [line for path, reason in troubles for line in set_aside(path, reason)]
    return Loaded(themes | found, unusable, lost)


def saved(state_dir: Path) -> dict[str, bytes]:
    """The user's themes as files, by file name. Blocks."""
    themes, _ = _read_all(directories(state_dir)[-1])
    return {f"{name}.json": _encoded(theme) for name, theme in themes.items()}


def _read_all(directory: Path) -> tuple[dict[str, Theme], list[tuple[Path, str]]]:
    """The themes in *directory*, and what cannot be used with the reason."""
    themes: dict[str, Theme] = {}
    try:
        paths = sorted(path for path in directory.iterdir() if path.suffix == ".json")
    except FileNotFoundError:
        return {}, []
    except OSError as error:
        return {}, [(directory, reason_of(error))]
    troubles: list[tuple[Path, str]] = []
    for path in paths:
        try:
            theme = _read(path)
        except OSError as error:
            troubles.append((path, reason_of(error)))
        except ValueError as error:
            troubles.append((path, str(error)))
        else:
            themes[theme.name] = theme
    return themes, troubles


def save(state_dir: Path, theme: Theme) -> None:
    """Keep *theme* among the user's, over a shipped one of its name. Blocks; raises OSError."""
    directory = directories(state_dir)[-1]
    directory.mkdir(mode=0o755, exist_ok=True)
    replace_file(directory / f"{theme.name}.json", _encoded(theme))


def _encoded(theme: Theme) -> bytes:
    return msgspec.json.format(msgspec.json.encode(theme))


def _read(path: Path) -> Theme:
    try:
        theme = msgspec.json.decode(read_file(path, MAX_THEME_BYTES), type=Theme)
    except RecursionError as error:
        raise ValueError(str(error)) from None
    if theme.name != path.stem:
        raise ValueError(f"it is named {theme.name!r}; name the file {theme.name}.json")
    return theme
