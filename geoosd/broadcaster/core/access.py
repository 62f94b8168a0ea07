"""Who may ask: the checks of Host, Origin and Sec-Fetch-Site (docs/interfaces.md).

A page of a foreign site can make a browser connect to localhost; it cannot forge these headers
(Fetch standard, "forbidden request-header names"). Host defends against DNS rebinding: a name that
is not ours is refused even when it resolves to us.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import urlsplit


class Doorkeeper(NamedTuple):
    """The hosts and origins that are welcome besides the loopback names."""

    hosts: frozenset[str]
    origins: frozenset[str]

    @classmethod
    def of(cls, own_host: str, origins: Iterable[str]) -> Doorkeeper:
        """For a server on *own_host* whose configuration adds *origins*.

        An origin is ``scheme://host[:port]``; its host may then also stand in Host, for a reverse
        proxy.
        """
        cleaned = frozenset(origin.rstrip("/").lower() for origin in origins)
        named = {_host_of(_netloc(origin) or "") for origin in cleaned}
        return cls(frozenset({own_host.lower(), *named} - {""}), cleaned)

    def welcomes_host(self, host: str) -> bool:
        """Whether a Host header (``name[:port]``) names us."""
        name = _host_of(host.lower())
        return _is_loopback(name) or name in self.hosts

    def welcomes_origin(self, origin: str | None) -> bool:
        """Whether a page of *origin* may watch; None: not a browser."""
        if origin is None:
            return True
        origin = origin.lower()
        if origin in self.origins:
            return True
        host = _netloc(origin)
        return host is not None and self.welcomes_host(host)

    def is_same_origin(self, origin: str | None, host: str, fetch_site: str | None) -> bool:
        """Whether a call that changes something comes from our own page, or from no page at all."""
        if fetch_site is not None and fetch_site not in ("same-origin", "none"):
            return False
        if origin is None:
            return True
        origin = origin.lower()
        return origin in self.origins or _netloc(origin) == host.lower()


def _netloc(origin: str) -> str | None:
    """The ``host[:port]`` of an http(s) origin; None when it is none, such as ``null``."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return None
    return parts.netloc if parts.scheme in ("http", "https") and parts.netloc else None


def _host_of(netloc: str) -> str:
    """The name alone: ``[::1]:8765`` → ``::1``, ``localhost:8765`` → ``localhost``."""
    if netloc.startswith("["):
        return netloc[1:].partition("]")[0]
    return netloc.partition(":")[0]


def _is_loopback(name: str) -> bool:
    if name in ("localhost", "::1") or name.endswith(".localhost"):
        return True
    numbers = name.split(".")
    return len(numbers) == 4 and numbers[0] == "127" and all(part.isdigit() for part in numbers)
