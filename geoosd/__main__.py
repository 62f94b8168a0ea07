"""``geoosd up`` runs everything in the foreground; ``geoosd DAEMON`` runs one daemon."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from geoosd import __version__
from geoosd.config import DAEMONS
from geoosd.errors import EX_USAGE

_USAGE = """\
usage: geoosd COMMAND [OPTIONS]

Geometry OS: see a language model think, live.

  up            run all daemons in the foreground, without systemd
  compositor    place tokens on the map, keep the neural state, draw
  bridge        read model servers' streams; transparent proxy on 127.0.0.1:1235
  broadcaster   WebSocket, page and pictures on 127.0.0.1:8765
  control       the socket that geoosctl asks
  engine        an embedded model server on 127.0.0.1:1236 (extra: geoos[engine])

`geoosd COMMAND --help` says more. Under systemd: systemctl start geoos.target
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    command, *rest = [*(sys.argv[1:] if argv is None else argv), ""]
    if command in ("--help", "-h", "help"):
        print(_USAGE, end="")  # noqa: T201
        return 0
    if command == "--version":
        print(f"geoosd {__version__}")  # noqa: T201
        return 0
    if command != "up" and command not in DAEMONS:
        problem = f"geoosd: no such command: {command}\n\n" if command else ""
        print(problem + _USAGE, end="", file=sys.stderr)  # noqa: T201
        return EX_USAGE
    name = "geoosd.foreground" if command == "up" else f"geoosd.{command}.__main__"
    run = importlib.import_module(name).main
    return int(run(rest[:-1]))


if __name__ == "__main__":
    sys.exit(main())
