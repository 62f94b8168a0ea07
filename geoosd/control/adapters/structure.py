"""The structure score of ``control.structure_root``, looked at now and then beside health.

The predecessor's metric ``shm_pas_score`` is kept. The measuring is :mod:`geoosd.structure`'s, in a
process of its own (:mod:`.look`).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import trio
from msgspec import Struct
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from geoosd.config import Config
from geoosd.runtime.health import Finding
from geoosd.runtime.service import Runtime
from geoosd.runtime.varlink import IncomingCall, unavailable
from geoosd.wire.reports import Structure, Verdict

PATIENCE: Final = 300.0
"""Seconds that a look may take."""


class _Dimension(Struct):
    value: float
    status: Verdict


class _Report(Struct):
    """What control keeps of a :class:`geoosd.structure.report.Report`."""

    tree: str
    status: Verdict
    label: str
    score: float | None
    dimensions: dict[str, _Dimension]
    recommendations: list[str]


class _Query(Struct, forbid_unknown_fields=True):
    fresh: bool | None = None


class StructureWatch(Collector):
    """Looks every ``structure_interval`` seconds, after a reload and when asked."""

    def __init__(self, runtime: Runtime) -> None:
        self.found: Structure | None = None
        self._runtime = runtime
        self._again = trio.Event()
        self._looking = trio.Lock()
        self._count_in_health(runtime.config)
        runtime.registry.register(self)
        runtime.varlink.add("io.geoos.Control.AnalyzeStructure", self._analyze, "admin")

    def collect(self) -> Iterator[Metric]:
        """The score and its parts; nothing before the first look, or where it is unknown."""
        found = self.found
        if found is None or found.score is None:
            return
        yield GaugeMetricFamily(
            "shm_pas_score", "Structure of the source tree (PAS), 0 to 1", value=found.score
        )
        parts = GaugeMetricFamily(
            "shm_dimension_score", "A part of the structure score, 0 to 1", labels=["dimension"]
        )
        for name, value in found.dimensions.items():
            parts.add_metric([name], value)
        yield parts

    def configured(self, config: Config) -> None:
        """Another configuration will be in force: look at once."""
        self._count_in_health(config)
        self._again.set()

    def _count_in_health(self, config: Config) -> None:
        if config.control.structure_root and config.control.structure_in_health:
            self._runtime.health.add_probe("structure", self._probe)
        else:
            self._runtime.health.remove("structure")

    def _probe(self) -> Finding:
        found = self.found
        if found is None:
            return "healthy", "the structure has not been looked at yet", None
        score = "" if found.score is None else f"PAS {found.score:.3f}: "
        remedy = None if found.status == "healthy" else f"geoosctl structure --debug {found.root}"
        return found.status, f"{score}{found.label}", remedy

    async def run(self) -> None:
        """Look for ever."""
        while True:
            self._again = trio.Event()
            settings = self._runtime.config.control
            if settings.structure_root:
                await self.look(settings.structure_root)
            else:
                self.found = None
            with trio.move_on_after(settings.structure_interval):
                await self._again.wait()

    async def look(self, root: str, *, fresh: bool = False) -> Structure:
        """Measure *root* now; one look at a time."""
        async with self._looking:
            began = trio.current_time()
            found = await self._measure(root, fresh)
            found.seconds = round(trio.current_time() - began, 3)
            self.found = found
        self._runtime.log.info(
            "looked at the structure",
            tree=root,
            score=found.score,
            found=found.label,
            seconds=found.seconds,
        )
        return found

    async def _measure(self, root: str, fresh: bool) -> Structure:
        now = self._runtime.now()
        folder = self._runtime.state_dir / "structure"
        command = [sys.executable, "-m", "geoosd.control.adapters.look", root, str(folder)]
        command += ["fresh"] if fresh else []
        reason = f"it took more than {PATIENCE:.0f} s"
        with trio.move_on_after(PATIENCE):
            try:
                done = await trio.run_process(
                    command, capture_stdout=True, capture_stderr=True, check=False
                )
                if done.returncode == 0:
                    return _kept(msgspec.json.decode(done.stdout, type=_Report), root, now)
                lines = done.stderr.decode(errors="replace").strip().splitlines()
                reason = lines[-1] if lines else f"it ended with {done.returncode}"
            except (OSError, msgspec.MsgspecError) as error:
                reason = str(error)
        return Structure(root, "unknown", f"unknown ({reason})", now)

    async def _analyze(self, call: IncomingCall) -> Mapping[str, Any]:
        query = call.convert(_Query)
        root = self._runtime.config.control.structure_root
        if not root:
            raise unavailable(
                "cannot analyse the structure: control.structure_root names no source tree; "
                "set it in geoos.toml, then: geoosctl reload"
            )
        found = await self.look(str(Path(root)), fresh=bool(query.fresh))
        return {"structure": msgspec.to_builtins(found)}


def _kept(report: _Report, root: str, now: float) -> Structure:
    return Structure(
        root,
        report.status,
        report.label,
        now,
        score=report.score,
        dimensions={name: each.value for name, each in report.dimensions.items()},
        recommendations=report.recommendations,
    )
