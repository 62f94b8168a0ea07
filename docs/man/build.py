"""Make the man pages and shell completions: ``python docs/man/build.py [DIRECTORY]`` (build).

They are made from what the programs are made of, and so cannot differ from it: click's commands,
the argument parsers, the configuration's Structs and words, the units. Only prose that no program
has stands here. Needs what geoos itself needs, and nothing else; units/install.sh calls it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import files
import programs
import roff
import shells

from geoosd import __version__

ROOT = Path(__file__).resolve().parents[2]


class Page(NamedTuple):
    """A man page: its section, its line for whatis(1), its body, and the pages to see also."""

    number: int
    about: str
    body: Callable[[], list[str]]
    see: tuple[tuple[str, int], ...] = ()


PAGES = {
    "geoosctl": Page(
        1,
        "see how geoos is, ask a model, look at the map",
        programs.geoosctl,
        (("journalctl", 1), ("systemctl", 1)),
    ),
    "geoosd": Page(
        8,
        "the daemons that show a language model think",
        programs.geoosd,
        (("journalctl", 1), ("systemd.service", 5)),
    ),
    "geoos.toml": Page(5, "configuration of geoos", files.geoos_toml, (("systemd.exec", 5),)),
    "geoos.target": Page(
        8,
        "the daemons of geoos under systemd",
        files.geoos_target,
        (("systemctl", 1), ("systemd.special", 7), ("systemd.unit", 5)),
    ),
}


def man(name: str) -> str:
    """A whole man page. Its date is SOURCE_DATE_EPOCH's, for builds that can be repeated."""
    made = PAGES[name]
    stamp = os.environ.get("SOURCE_DATE_EPOCH")
    moment = datetime.fromtimestamp(int(stamp), UTC) if stamp else datetime.now(UTC)
    own = [(each, page.number) for each, page in PAGES.items() if each != name]
    see = roff.see_also(sorted([*own, *made.see], key=lambda entry: (entry[1], entry[0])))
    head = {"date": f"{moment:%Y-%m-%d}", "version": __version__}
    return roff.page(name, made.number, made.about, [*made.body(), see], **head)


def main(arguments: list[str]) -> None:
    """Write everything."""
    build = Path(arguments[0]) if arguments else ROOT / "build"
    made = {f"man/{name}.{page.number}": man(name) for name, page in PAGES.items()}
    parsers = programs.parsers()
    for shell, pattern in shells.FILES.items():
        made[f"completions/{pattern.format('geoosctl')}"] = shells.geoosctl(shell)
        made[f"completions/{pattern.format('geoosd')}"] = shells.geoosd(shell, parsers)
    for name, text in made.items():
        path = build / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
