"""What the bridge says of its upstreams: health, with a remedy each, links and details of status.

Where nothing is configured, servers that never answered are no finding: they are only looked for.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from geoosd.bridge.adapters.directory import Directory
from geoosd.bridge.core.router import State, Upstream
from geoosd.runtime.health import Finding, HealthRegistry
from geoosd.wire import reports

_LINK_STATE: Final[dict[State, Any]] = {
    "ready": "connected",
    "loading": "connecting",
    "down": "down",
}


class UpstreamReport:
    """*now* is the wall clock."""

    def __init__(
        self, directory: Directory, health: HealthRegistry, now: Callable[[], float]
    ) -> None:
        self._directory = directory
        self._health = health
        self._now = now
        self._began = now()
        self._since: dict[str, tuple[State, float]] = {}
        self._checks: set[str] = set()
        health.add_probe("upstream", self._overall)
        self.configured()

    def configured(self) -> None:
        """The upstreams are others now: a check for each of several that are configured."""
        rows = self._directory.router.rows()
        several = len(rows) > 1 and not self._directory.discovering
        wanted = {row.id for row in rows} if several else set[str]()
        for upstream in self._checks - wanted:
            self._health.remove(_check(upstream))
        for upstream in wanted:
            self._health.add_probe(_check(upstream), partial(self._one, upstream))
        self._checks = wanted

    def changed(self, upstream: str) -> None:
        """Something changed at *upstream*: remember since when its state is what it is."""
        row = self._directory.router.get(upstream)
        if row is not None and self._since.get(upstream, (None, 0.0))[0] != row.state:
            self._since[upstream] = (row.state, self._now())

    def status(self) -> str:
        """The bridge's status line."""
        row = self._directory.router.default()
        if row is None:
            return "no upstream"
        if row.state == "loading":
            return f"{row.id}: model loading"
        return f"default upstream {row.id} at {row.url}"

    def links(self) -> list[reports.Link]:
        """One for each upstream that is configured or has answered."""
        return [
            reports.Link(
                f"upstream {row.id}",
                row.url,
                _LINK_STATE[row.state],
                self._since.get(row.id, (row.state, self._began))[1],
            )
            for row in self._directory.router.rows()
            if row.answered or not self._directory.discovering
        ]

    def details(self) -> dict[str, str]:
        """Where the upstreams are from, the default one, and those that are set aside."""
        details = {"upstreams": "discovered" if self._directory.discovering else "configured"}
        if (row := self._directory.router.default()) is not None:
            details["default"] = row.id
            details["models"] = ", ".join(row.models)
        for row in self._directory.router.rows():
            if row.circuit != "closed":
                details[f"circuit {row.id}"] = self._circuit(row)
        return details

    # -- health ------------------------------------------------------------------------------------

    def _overall(self) -> Finding:
        router = self._directory.router
        row = router.default()
        if row is None:
            where = ", ".join(f"{each.id} {each.reason}" for each in router.rows())
            return "warning", f"no upstream: {where}", self._start_one()
        if row.state == "loading":
            return "warning", f"{row.id}: model loading", "geoosctl health --watch"
        if not row.models:
            return self._no_model(row)
        # Of several that are configured each has a check of its own.
        candidates = [row] if self._checks else router.rows()
        for each in candidates:
            if each.state == "ready" and each.circuit != "closed":
                return self._set_aside(each)
        return "healthy", f"{row.id} at {row.url} is ready", None

    def _one(self, upstream: str) -> Finding:
        row = self._directory.router.get(upstream)
        if row is None:
            return "unknown", "not configured any more", None
        if row.state == "down":
            return (
                "warning",
                f"upstream {row.id} at {row.url} {row.reason}",
                f"start it, or remove [[bridge.upstream]] {row.id}; then: geoosctl reload",
            )
        if row.state == "loading":
            return "warning", f"{row.id}: model loading", "geoosctl health --watch"
        if not row.models:
            return self._no_model(row)
        if row.circuit != "closed":
            return self._set_aside(row)
        return "healthy", f"{row.id} at {row.url} is ready", None

    def _start_one(self) -> str:
        """Where servers are looked for, the embedded one would be found."""
        if self._directory.discovering:
            return "start your model server; else: geoosctl start engine"
        return "start it, or correct bridge.upstream; then: geoosctl models"

    @staticmethod
    def _no_model(row: Upstream) -> Finding:
        text = f"upstream {row.id} at {row.url} is there but lists no model"
        return "warning", text, "load a model there; then: geoosctl models"

    def _set_aside(self, row: Upstream) -> Finding:
        return (
            "warning",
            f"upstream {row.id} at {row.url} says that it is ready but refuses requests, breaks "
            f"them off or is silent; {self._circuit(row)}",
            "restart that server, its log may say why; then: geoosctl models",
        )

    def _circuit(self, row: Upstream) -> str:
        seconds = self._directory.retry_in(row.id)
        if seconds is None:
            return "set aside, being tried"
        return f"set aside, tried again in {seconds:.0f} s"


def _check(upstream: str) -> str:
    return f"upstream {upstream}"
