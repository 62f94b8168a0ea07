"""What fits a word on the command line, asked of the daemons that run: models, sessions, …

A shell waits for it while somebody types: what takes longer than a moment, or fails, fits nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import click
from click.shell_completion import CompletionItem

SECONDS: Final = 0.5
_SESSIONS: Final = 50

Complete: TypeAlias = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]
Row: TypeAlias = Mapping[str, Any]


def _of(
    method: str, member: str, key: str, about: Callable[[Row], str], **parameters: object
) -> Complete:
    """Completes by *key* of each row in what *method* of control answers."""

    def complete(
        context: click.Context, _parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return [
            CompletionItem(row[key], help=_line(about(row)))
            for row in _rows(context, method, member, parameters)
            if isinstance(row.get(key), str) and row[key].startswith(incomplete)
        ]

    return complete


def _rows(
    context: click.Context, method: str, member: str, parameters: Mapping[str, object]
) -> Iterator[Row]:
    from geoosctl import client
    from geoosctl.cli import Settings
    from geoosd.errors import GeoosError

    options = context.find_object(Settings) or Settings()
    try:
        path: Path = options.control
        reply = client.call(path, f"io.geoos.Control.{method}", parameters, timeout=SECONDS)
    except GeoosError:
        return
    rows = reply.get(member)
    yield from (row for row in rows if isinstance(row, dict)) if isinstance(rows, list) else ()


def _line(text: str) -> str:
    """In a menu of a shell nothing may act on the terminal."""
    from geoosctl.cells import shorten
    from geoosctl.output import visible

    return shorten(visible(text), 60)


models: Final = _of("ListModels", "models", "id", lambda row: f"{row.get('upstream')}")
sessions: Final = _of(
    "ListSessions",
    "sessions",
    "id",
    lambda row: f"{row.get('model')}, {row.get('tokens')} tokens",
    limit=_SESSIONS,
)
themes: Final = _of("ListThemes", "themes", "name", lambda row: f"{row.get('title')}")
viewers: Final = _of("ListViewers", "viewers", "id", lambda row: f"{row.get('address')}")
