"""The errors that some ``except`` in geoos names; each carries one line that a user can act on.

::

    GeoosError
    ├── ConfigError        a configuration that cannot be used; the process exits with 78
    ├── StartError         anything else that stops a daemon from starting; exits with 78
    ├── FrameTooLarge      a length prefix beyond the limit; the connection is closed
    ├── MessageError       a message that cannot be taken; answered by ``Error``, connection kept
    ├── SSETooLarge        an upstream's event stream beyond its bounds; that stream ends
    ├── UpstreamError      an upstream model server that refused, failed or broke off
    └── VarlinkError       an error reply of a Varlink method, ours or a peer's

Messages are lowercase and read "cannot …: reason; remedy".
"""

from __future__ import annotations

from collections.abc import Mapping

EX_USAGE = 64
EX_UNAVAILABLE = 69
EX_SOFTWARE = 70
EX_NOPERM = 77
EX_CONFIG = 78
"""Exit codes of sysexits.h that daemons and geoosctl share (see docs/interfaces.md)."""


class GeoosError(Exception):
    """Anything geoos says in one line without a stack trace."""


class ConfigError(GeoosError):
    """The configuration cannot be used; says which file and key, why, and what is meant instead."""


class StartError(GeoosError):
    """A daemon cannot start for a reason that a restart would not mend, such as a taken port."""


class FrameTooLarge(GeoosError):
    """A peer announced a frame beyond the limit.

    ``size`` and ``limit`` are bytes.
    """

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"cannot take a frame of {size} bytes: the limit is {limit}")
        self.size = size
        self.limit = limit


class MessageError(GeoosError):
    """A message that cannot be taken.

    ``code`` is one of ``malformed`` (not JSON), ``unknown_type``, ``invalid`` (wrong type or out of
    range); ``field`` is the path of the offending field, such as ``payload.token_id``, or None.
    """

    def __init__(self, code: str, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.field = field


class SSETooLarge(GeoosError):
    """A line or an event of an event stream is longer than the parser's bound."""


class UpstreamError(GeoosError):
    """An upstream model server did not do what was asked.

    ``code`` is one of interfaces.md's own error codes (``upstream_unavailable``,
    ``upstream_timeout``, ``rate_limited``, ``bad_request``); ``status`` is the HTTP status where
    the upstream answered with one.
    """

    def __init__(self, code: str, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


class VarlinkError(GeoosError):
    """An error reply: ``error`` is the qualified name, ``parameters`` what came with it."""

    def __init__(self, error: str, parameters: Mapping[str, object] | None = None) -> None:
        self.error = error
        self.parameters: dict[str, object] = dict(parameters or {})
        reason = self.parameters.get("reason")
        super().__init__(str(reason) if reason else error)


def reason_of(error: OSError) -> str:
    """What the system says, as the end of a sentence: ``no such file or directory``."""
    return error.strerror.lower() if error.strerror else str(error)
