"""``python -m geoosctl``."""

from __future__ import annotations

from geoosctl.cli import main

if __name__ == "__main__":
    main()
