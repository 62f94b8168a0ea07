"""Who may ask: the checks of Host, Origin and Sec-Fetch-Site (docs/interfaces.md).

A page of a foreign site can make a browser connect to localhost; it cannot forge these headers
(Fetch standard, "forbidden request-header names"). Host defends against DNS rebinding: a name that
is not ours is refused even when it resolves to us. Used by the broadcaster and the bridge's proxy.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Final, NamedTuple
from urllib.parse import urlsplit

_NETLOC: Final = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^\[\]:@/?#,\s]+))(?::[0-9]{0,5})?")


class Doorkeeper(NamedTuple):
    """The hosts and origins that are welcome besides the loopback names."""

    hosts: frozenset[str]
    origins: frozenset[str]
    any_address: bool = False
    """Whether any IP address is welcome as Host: it is no name, so none that was rebound."""

    @classmethod
    def of(cls, own_host: str, origins: Iterable[str]) -> Doorkeeper:
        """For a server on *own_host* whose configuration adds *origins*.

        An origin is ``scheme://host[:port]``; its host may then also stand in Host, for a reverse
        proxy.
        """
        cleaned = frozenset(origin.rstrip("/").lower() for origin in origins)
        named = {_host_of(_netloc(origin) or "") for origin in cleaned}
        wildcard = own_host in ("0.0.0.0", "::")
        return cls(frozenset({own_host.lower(), *named} - {""}), cleaned, wildcard)

    def welcomes_host(self, host: str) -> bool:
        """Whether a Host header (``name[:port]``) names us."""
        name = _host_of(host.lower())
        if _is_loopback(name) or name in self.hosts:
            return True
        return self.any_address and _is_address(name)

    def welcomes_origin(self, origin: str | None, host: str) -> bool:
        """Whether a page of *origin* may watch by way of *host*; None: not a browser."""
        if origin is None:
            return True
        origin = origin.lower()
        if origin in self.origins:
            return True
        netloc = _netloc(origin)
        if netloc is None:
            return False
        name = _host_of(netloc)
        return netloc == host.lower() or _is_loopback(name) or name in self.hosts

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
    """The name alone: ``[::1]:8765`` → ``::1``, ``localhost:8765`` → ``localhost``; empty, which
    is nobody's, for what is no ``host[:port]`` (RFC 3986 §3.2)."""
    found = _NETLOC.fullmatch(netloc)
    return (found[1] or found[2]) if found is not None else ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_loopback(name: str) -> bool:
    if name in ("localhost", "::1") or name.endswith(".localhost"):
        return True
    numbers = name.split(".")
    return len(numbers) == 4 and numbers[0] == "127" and all(part.isdigit() for part in numbers)
