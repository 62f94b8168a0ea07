"""The limit of open files (getrlimit(2), RLIMIT_NOFILE): every connection is one."""

from __future__ import annotations

import contextlib
import resource


def allow_files(wanted: int) -> int:
    """Raise the limit to *wanted* where it is lower, and where we may; the limit that now holds.

    A sandbox may forbid it, and then the unit's ``LimitNOFILE=`` is what counts.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if soft == resource.RLIM_INFINITY else soft
