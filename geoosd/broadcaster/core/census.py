"""Where clients come from, and how many may come from one place.

Whoever is on this machine is not counted: a reverse proxy brings all its clients from there, and
says of each where it came from (``X-Forwarded-For``, believed of loopback alone).
"""

from __future__ import annotations

import ipaddress


def client_of(peer: str, forwarded_for: str | None) -> str:
    """The client's address: *peer*, or what a proxy on this machine says last of where it is."""
    if forwarded_for is None or _place_of(peer) is not None:
        return peer
    said = forwarded_for.rpartition(",")[2].strip()
    return said if _is_address(said) else peer


class Census:
    """Counts the clients of each place: an IPv4 address, or an IPv6 network of 64 bits."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._counts: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._counts)

    def enter(self, address: str) -> bool:
        """Count a client in; False, and nothing is counted, when its place is full."""
        place = _place_of(address)
        if place is None:
            return True
        count = self._counts.get(place, 0)
        if count >= self.limit:
            return False
        self._counts[place] = count + 1
        return True

    def leave(self, address: str) -> None:
        """Count out a client that was counted in."""
        place = _place_of(address)
        if place is None:
            return
        self._counts[place] -= 1
        if not self._counts[place]:
            del self._counts[place]


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _place_of(address: str) -> str | None:
    """None for this machine. Raises ValueError for what is no address."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is None:
            if found.is_loopback:
                return None
            return str(ipaddress.ip_network((found, 64), strict=False))
        found = found.ipv4_mapped
    return None if found.is_loopback else str(found)
