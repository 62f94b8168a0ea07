"""``geoosd engine``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from geoosd.engine.adapters import wanted
from geoosd.engine.service import SPEC
from geoosd.runtime import service


def main(argv: Sequence[str] | None = None) -> int:
    """Run the daemon, or say whether it is wanted; returns the exit code."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    if "--check-wanted" in arguments:
        return wanted.main([each for each in arguments if each != "--check-wanted"])
    return service.main(SPEC, arguments)


if __name__ == "__main__":
    sys.exit(main())
