"""Themes by name: the shipped ones, the administrator's over them, the user's over both."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from geoosd.compositor.adapters.snapshot import replace_file
from geoosd.wire.messages import Theme

DEFAULT: Final = "aurora"
_PACKAGE: Final = Path(__file__).resolve().parents[2]
_ADMINISTRATOR: Final = Path("/etc/geoos/themes")
_MAX_BYTES: Final = 64 * 1024


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
            except (OSError, ValueError) as error:
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
        data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise ValueError(f"larger than {_MAX_BYTES} bytes")
    theme = msgspec.json.decode(data, type=Theme)
    if theme.name != path.stem:
        raise ValueError(f"it is named {theme.name!r}; name the file {theme.name}.json")
    return theme
