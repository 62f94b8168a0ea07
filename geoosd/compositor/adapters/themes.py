"""Themes by name: the shipped ones, the administrator's over them, the user's over both."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec
import trio

from geoosd.compositor.adapters.snapshot import replace_file
from geoosd.errors import StartError, VarlinkError
from geoosd.runtime.varlink import unavailable
from geoosd.wire.messages import MAX_THEME_BYTES, Theme
from geoosd.wire.varlink import NOT_FOUND

DEFAULT: Final = "aurora"
MAX_THEMES: Final = 256
_PACKAGE: Final = Path(__file__).resolve().parents[2]
_ADMINISTRATOR: Final = Path("/etc/geoos/themes")


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
    def current(self) -> Theme:
        """The chosen theme; the default one while that cannot be read."""
        return self._themes.get(self.chosen) or self._themes[DEFAULT]

    def find(self, name: str) -> Theme:
        """The theme of that name. Raises :class:`VarlinkError` when there is none."""
        theme = self._themes.get(name)
        if theme is None:
            known = ", ".join(sorted(self._themes))
            reason = f"cannot find theme {name!r}: there are {known}"
            raise VarlinkError(NOT_FOUND, {"reason": reason})
        return theme

    async def load(self) -> list[str]:
        """Read all files anew; a line on each that cannot be used.

        Raises :class:`StartError` without the default theme, and then changes nothing.
        """
        where = directories(self._state_dir)
        found, complaints = await trio.to_thread.run_sync(load, where)
        if DEFAULT not in found:
            raise StartError(f"cannot find theme {DEFAULT} in {where[0]}; install again")
        self._themes = found
        return complaints

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
                raise unavailable(f"cannot save theme {theme.name}: {error.strerror}") from None
            self._themes[theme.name] = theme
            return created


def directories(state_dir: Path) -> list[Path]:
    """Where themes lie; later ones take precedence. In a checkout the shipped ones are in etc."""
    packaged = _PACKAGE / "share" / "themes"
    shipped = packaged if packaged.is_dir() else _PACKAGE.parent / "etc" / "themes"
    return [shipped, _ADMINISTRATOR, state_dir / "themes"]


def load(where: Iterable[Path]) -> tuple[dict[str, Theme], list[str]]:
    """All themes by name, and a line on each file that cannot be used. Blocks."""
    themes: dict[str, Theme] = {}
    complaints: list[str] = []
    for directory in where:
        for path in sorted(directory.glob("*.json")):
            try:
                theme = _read(path)
            except (OSError, ValueError, RecursionError) as error:
                complaints.append(f"cannot use theme {path}: {error}")
            else:
                themes[theme.name] = theme
    return themes, complaints


def save(state_dir: Path, theme: Theme) -> None:
    """Keep *theme* among the user's, over a shipped one of its name. Blocks; raises OSError."""
    directory = directories(state_dir)[-1]
    directory.mkdir(mode=0o755, exist_ok=True)
    data = msgspec.json.format(msgspec.json.encode(theme))
    replace_file(directory / f"{theme.name}.json", data)


def _read(path: Path) -> Theme:
    with path.open("rb") as file:
        data = file.read(MAX_THEME_BYTES + 1)
    if len(data) > MAX_THEME_BYTES:
        raise ValueError(f"larger than {MAX_THEME_BYTES} bytes")
    theme = msgspec.json.decode(data, type=Theme)
    if theme.name != path.stem:
        raise ValueError(f"it is named {theme.name!r}; name the file {theme.name}.json")
    return theme
