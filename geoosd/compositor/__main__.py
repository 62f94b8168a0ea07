"""``python -m geoosd.compositor``: the compositor daemon."""

import sys
from collections.abc import Sequence

from geoosd.compositor.adapters import gpu_profile
from geoosd.compositor.service import SPEC
from geoosd.runtime import service


def main(argv: Sequence[str] | None = None) -> int:
    """Run the daemon, or with ``--profile-gpu`` measure; returns the exit code."""
    args = service.parser(SPEC).parse_args(argv)
    return gpu_profile.main(args) if args.profile_gpu else service.main(SPEC, argv)


if __name__ == "__main__":
    sys.exit(main())
