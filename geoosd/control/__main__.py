"""``geoosd control``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from geoosd.control.service import SPEC
from geoosd.runtime import service


def main(argv: Sequence[str] | None = None) -> int:
    """Run the daemon; returns its exit code."""
    return service.main(SPEC, argv)


if __name__ == "__main__":
    sys.exit(main())
