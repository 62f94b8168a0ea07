"""Looks at one source tree and prints what it found as JSON: a process of its own.

Reading a large tree takes seconds of CPU and much memory, which control must not hold up for or
keep; so :mod:`.structure` runs this, at low priority, and may end it at any time.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from geoosd.errors import reason_of
from geoosd.structure.analysis import analyze
from geoosd.structure.cache import Cache

_NICE = 15


def main(argv: Sequence[str]) -> int:
    """``look TREE CACHE_FOLDER [fresh]``; 1 and a reason on standard error if it cannot."""
    tree, folder = Path(argv[0]), Path(argv[1])
    os.nice(_NICE)
    cache = Cache(folder, tree)
    if "fresh" not in argv[2:]:
        cache.load()
    if not tree.is_dir():
        print(f"there is no folder {tree}", file=sys.stderr)  # noqa: T201
        return 1
    try:
        report = analyze(tree, cache).report
    except OSError as error:
        print(f"{reason_of(error)}: {error.filename or tree}", file=sys.stderr)  # noqa: T201
        return 1
    with contextlib.suppress(OSError):  # a cache that cannot be kept costs time alone
        cache.save(time.time())
    json.dump(report.as_dict(), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
