"""Keeps the model server's process running, and asks its ``/health`` on loopback.

The process is a :class:`geoosd.runtime.supervisor.Child`. Signs of life are given on its behalf:
llama.cpp keeps Python's lock while it loads, so the process itself could not; what counts is that
its HTTP threads answer.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import httpx
import msgspec
import trio

from geoosd.engine.adapters import host
from geoosd.engine.core.condition import Condition
from geoosd.engine.core.settings import ServerSettings
from geoosd.runtime.logs import Log
from geoosd.runtime.supervisor import Child, ChildSpec, Events, stop_all

_UNTIL_READY: Final = 0.1
_WHEN_READY: Final = 2.0
_PROBE_TIMEOUT: Final = 2.0
_GRACE: Final = 60.0
"""Seconds in which a new process need not answer yet: its library may come from a slow disk."""
_STOP_SECONDS: Final = 1.0
_MAX_LINE: Final = 300


class ModelServer:
    """The supervised process that serves *settings*; *condition* is told all that is seen.

    *on_phase* is called after the condition's phase has changed.
    """

    def __init__(
        self,
        settings: ServerSettings,
        condition: Condition,
        *,
        notify_path: Path,
        log: Log,
        on_phase: Callable[[], None],
    ) -> None:
        self._condition = condition
        self._log = log
        self._on_phase = on_phase
        module, parent = host.__name__, str(os.getpid())
        document = msgspec.json.encode(settings).decode()
        self._child = Child(
            ChildSpec(
                "model server",
                [sys.executable, "-m", module, parent, document],
                notify_path,
                environ=host.ENVIRONMENT,
            ),
            Events(self._on_line, self._on_end, lambda _name, _text: None),
        )

    @property
    def pid(self) -> int | None:
        """The process, None between two lives."""
        return self._child.pid

    @property
    def resident_bytes(self) -> int | None:
        """Memory of the process."""
        if self.pid is None:
            return None
        try:
            pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        except (OSError, IndexError):
            return None
        return pages * os.sysconf("SC_PAGE_SIZE")

    async def run(self) -> None:
        """Keep it running until cancelled; then end it within a second."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._live)
            nursery.start_soon(self._watch)
            try:
                await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True):
                    await stop_all([self._child], _STOP_SECONDS)

    async def _live(self) -> None:
        """A cancelled supervisor would lose its process: it ends by being stopped."""
        with trio.CancelScope(shield=True):
            await self._child.run()

    def _on_line(self, _name: str, line: str) -> None:
        if line := line.strip()[:_MAX_LINE]:
            self._condition.said(line)
            self._log.debug("model server says", line=line)

    def _on_end(self, _name: str, what: str) -> None:
        self._condition.ended(what)
        self._log.warning("model server ended", error=what)

    async def _watch(self) -> None:
        """Follow the lives of the process, and how it answers."""
        pid, born, phase = None, 0.0, None
        async with httpx.AsyncClient(timeout=_PROBE_TIMEOUT, trust_env=False) as client:
            while True:
                if self.pid is not None and self.pid != pid:
                    pid, born = self.pid, trio.current_time()
                    self._condition.spawned()
                if self.pid is not None:
                    await self._probe(client, trio.current_time() - born)
                if phase != self._condition.phase:
                    phase = self._condition.phase
                    self._on_phase()
                await trio.sleep(_WHEN_READY if self._condition.ready else _UNTIL_READY)

    async def _probe(self, client: httpx.AsyncClient, age: float) -> None:
        was_ready, pid = self._condition.ready, self.pid
        try:
            answer = await client.get(f"{self._condition.url}/health")
        except httpx.HTTPError:
            if self.pid is not None:
                self._condition.unanswered()
            if age < _GRACE:
                self._give_sign_of_life()
            return
        if self.pid != pid or pid is None:
            return  # it has answered and ended: what it said is history
        self._condition.answered(answer.status_code, trio.current_time())
        self._give_sign_of_life()
        if self._condition.ready and not was_ready:
            self._log.info(
                "model ready", model=self._condition.model, seconds=round(age, 1), pid=pid
            )

    def _give_sign_of_life(self) -> None:
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify,
        ):
            notify.setblocking(False)
            notify.sendto(b"WATCHDOG=1", os.fspath(self._child.spec.notify_path))
