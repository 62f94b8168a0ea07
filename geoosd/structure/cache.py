"""Facts kept between two runs: a file is read again only when its name, size or time has changed.

One JSON file a tree, in a folder of the user's; replaced at once by a rename, so a reader sees
an old or a new one and never a half, whoever else writes. A file changed in the last seconds is not
kept: a second change in the same instant, of the same size, would go unseen.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from geoosd.structure.facts import Facts, Import
from geoosd.structure.layout import SourceFile
from geoosd.structure.untyped import items, table

_FORMAT: Final = 1
"""Grows whenever the facts of an unchanged file may differ from those of an older geoos."""
_SETTLED_SECONDS: Final = 2.0


class Cache:
    """The facts of one tree. ``hits`` and ``misses`` count the files asked for."""

    def __init__(self, folder: Path, tree: Path) -> None:
        """*folder* is where caches are kept, *tree* what this one is of."""
        name = hashlib.blake2b(os.fsencode(tree.resolve()), digest_size=16).hexdigest()
        self._path = folder / f"{name}.json"
        self._kept: Mapping[str, Any] = {}
        self._entries: dict[str, list[Any]] = {}
        self.hits = 0
        self.misses = 0

    def load(self) -> None:
        """Take what is kept; nothing where there is no file, or one of another version."""
        try:
            content = json.loads(self._path.read_bytes())
        except (OSError, ValueError):
            return
        if table(content).get("made_by") == _made_by():
            self._kept = table(table(content).get("files"))

    def get(self, file: SourceFile) -> Facts | None:
        """The facts of a file that is as it was."""
        entry = list(items(self._kept.get(file.path)))
        if entry[:2] == [file.size, file.mtime_ns]:
            facts = _decoded(entry[2:])
            if facts is not None:
                self.hits += 1
                self._entries[file.path] = entry
                return facts
        self.misses += 1
        return None

    def put(self, file: SourceFile, facts: Facts) -> None:
        """Keep the facts of a file that was asked for in vain."""
        self._entries[file.path] = [file.size, file.mtime_ns, *facts]

    def save(self, now: float) -> None:
        """Write what was asked for and what is new; *now* is in seconds since the epoch.

        Does nothing if all was known and none is gone. Raises OSError where it cannot write.
        """
        if not self.misses and len(self._entries) == len(self._kept):
            return
        settled = (now - _SETTLED_SECONDS) * 1e9
        files = {path: entry for path, entry in self._entries.items() if entry[1] <= settled}
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=".structure-", dir=self._path.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                # dumps in one go is C; dump would go through it all in Python.
                kept = {"made_by": _made_by(), "files": files}
                stream.write(json.dumps(kept, separators=(",", ":")))
            Path(name).replace(self._path)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise


def _made_by() -> list[Any]:
    """Another Python may parse otherwise."""
    return [_FORMAT, *sys.version_info[:2]]


def _decoded(entry: list[Any]) -> Facts | None:
    """Facts from JSON; None for what :meth:`Cache.save` would not have written."""
    try:
        facts = Facts(*entry)
        return facts._replace(imports=[Import(*each) for each in facts.imports])
    except TypeError:
        return None
