"""One upstream under watch: active checks of ``/v1/models``, and what its requests show meanwhile.

Both write into the :class:`..core.router.Router`. A request that was not answered to the end counts
in the :class:`..core.breaker.Breaker`, and has the upstream looked at again at once: only that look
takes it as down.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import trio

from geoosd.bridge.adapters.upstream import Probe, UpstreamClient, is_local
from geoosd.bridge.core.breaker import Breaker
from geoosd.bridge.core.capabilities import Capabilities
from geoosd.bridge.core.holdoff import HoldOff
from geoosd.bridge.core.question import About
from geoosd.bridge.core.router import Router, State
from geoosd.runtime.logs import Log
from geoosd.wire import events

SEEK_SECONDS: Final = 3.0
"""Between two looks at an upstream that is down."""

LOADING_SECONDS: Final = 0.5
"""Between two looks at an upstream that loads its model."""

WATCH_SECONDS: Final = 5.0
"""Between two looks at a ready upstream on this machine."""

REMOTE_SECONDS: Final = 60.0
"""Between two looks at a ready upstream elsewhere."""

STARTING_SECONDS: Final = 60.0
"""How long the embedded engine may refuse connections and still count as being started."""

SOONEST_SECONDS: Final = 0.1
"""Between two looks at all, however many requests fail."""

ABOUT_SECONDS: Final = 60.0
"""Between two questions for the version of a ready upstream."""

_PATIENCE: Final = 2
"""Probes in a row that must fail before a ready upstream that is merely slow counts as down."""

OnChange: TypeAlias = Callable[[str], None]
"""Hears the id of an upstream whose state, circuit or failures changed."""


class Watched:
    """One upstream: its client, its breaker and what its last probes said.

    *is_starting* tells whether it is the embedded engine, and that is meant to run.
    """

    def __init__(
        self,
        client: UpstreamClient,
        router: Router,
        capabilities: Capabilities,
        *,
        log: Log,
        on_change: OnChange,
        is_starting: Callable[[UpstreamClient], bool],
    ) -> None:
        self.client = client
        self.breaker = Breaker()
        self.scope = trio.CancelScope()
        self.entries: list[dict[str, Any]] = []
        self.failed = 0
        """Requests that it did not answer to the end, in all."""
        self._id = client.settings.id
        self._router = router
        self._capabilities = capabilities
        self._log = log.bind(upstream=self._id)
        self._on_change = on_change
        self._is_starting = is_starting
        self._wake = trio.Event()
        self._hold = HoldOff()
        self._down_in_a_row = 0
        self._refusing_since: float | None = None
        self._asked_about = float("-inf")
        self._looked_at = float("-inf")

    # -- what requests show ------------------------------------------------------------------------

    def request_failed(self, reason: str) -> None:
        """A request was refused, broken off or left waiting for too long: *reason* says which, in
        words that hold no text of the request."""
        self.failed += 1
        opened = self.breaker.failed(trio.current_time(), random.random())
        self._down_in_a_row = _PATIENCE
        self._wake.set()
        if opened:
            self._circuit_changed(reason)
        self._on_change(self._id)

    def request_answered(self) -> None:
        """A request was answered to the end."""
        if self.breaker.answered():
            self._circuit_changed(None)
            self._on_change(self._id)

    # -- looking -----------------------------------------------------------------------------------

    async def run(self) -> None:
        """Look at it for ever; when ``scope`` is cancelled, let its requests end."""
        with self.scope:
            while True:
                with trio.move_on_after(self._interval()):
                    await self._wake.wait()
                await trio.sleep_until(self._looked_at + SOONEST_SECONDS)
                self._wake = trio.Event()
                await self.look()
        await self.client.retire()

    async def look(self) -> None:
        """One probe."""
        self._looked_at = trio.current_time()
        trial = self.breaker.begin_trial(trio.current_time())
        if trial:
            self._router.set_circuit(self._id, self.breaker.state)
            self._on_change(self._id)
        probe = self._with_engine(await self.client.probe())
        if trial:
            self._end_trial(probe)
        row = self._router.get(self._id)
        self._down_in_a_row = self._down_in_a_row + 1 if probe.state == "down" else 0
        late = "in time" in probe.reason and self._down_in_a_row < _PATIENCE
        if row is not None and row.state == "ready" and late:
            return  # busy servers answer late; that alone does not make them dead
        if probe.state == "ready":
            # Before it is called ready, so that the first prompt is asked in the right form.
            await self._ask_about(probe)
        self._note(probe)
        if held := self._hold.due(trio.current_time()):
            self._tell(f"upstream changed {held} times; it is {probe.state}", probe)

    def _interval(self) -> float:
        row = self._router.get(self._id)
        if row is None or row.state == "down":
            return SEEK_SECONDS
        if row.state == "loading":
            return LOADING_SECONDS
        usual = WATCH_SECONDS if is_local(self.client.settings.url) else REMOTE_SECONDS
        retry = self.breaker.retry_in(trio.current_time())
        return usual if retry is None else min(usual, retry)

    def _with_engine(self, probe: Probe) -> Probe:
        """*probe*, or ``loading`` where it is the embedded engine that is just being started.

        It opens its port only once the model is put together, while its socket is there from the
        start. One that does not come up in time is down after all.
        """
        if probe.state != "down":
            self._refusing_since = None
            return probe
        if not self._is_starting(self.client):
            return probe
        now = trio.current_time()
        self._refusing_since = self._refusing_since or now
        if now - self._refusing_since > STARTING_SECONDS:
            return probe
        return Probe("loading", "is being started")

    async def _ask_about(self, probe: Probe) -> None:
        """Ask for the version and the like where they may have changed."""
        row = self._router.get(self._id)
        ids = tuple(probe.listing.ids) if probe.listing is not None else ()
        came_back = row is None or row.state != "ready"
        other_models = row is not None and not row.fixed and ids != row.models
        now = trio.current_time()
        if not came_back and not other_models and now - self._asked_about < ABOUT_SECONDS:
            return
        self._asked_about = now
        about = await self.client.about()
        models = (row.fixed if row is not None else ()) or ids
        self._learn(about, models, forget=came_back and about.version is None)

    def _learn(self, about: About, models: tuple[str, ...], *, forget: bool) -> None:
        if forget:
            self._capabilities.forget(self._id)  # it may be another server, and does not tell
        elif about.version is not None:
            self._capabilities.saw_version(self._id, about.version)
        self._capabilities.keep(self._id, set(models))
        for model in models or (None,):
            if about.chat is not None:
                self._capabilities.learn(self._id, model, "chat", about.chat, "probe")
            if about.tools is not None:
                self._capabilities.learn(self._id, model, "tools", about.tools, "probe")

    # -- writing it down ---------------------------------------------------------------------------

    def _end_trial(self, probe: Probe) -> None:
        self.breaker.end_trial(probe.state == "ready", trio.current_time(), random.random())
        self._circuit_changed(probe.reason)
        self._on_change(self._id)

    def _note(self, probe: Probe) -> None:
        if probe.listing is not None:
            self.entries = probe.listing.entries
        ids = probe.listing.ids if probe.listing is not None else None
        row = self._router.get(self._id)
        before: State | None = row.state if row is not None else None
        if not self._router.update(self._id, probe.state, models=ids, reason=probe.reason):
            return
        if before == "down" and probe.state == "ready" and self.breaker.revived():
            self._router.set_circuit(self._id, self.breaker.state)
        if self._hold.changed(trio.current_time()):
            self._tell(f"upstream is {probe.state}", probe)
        self._on_change(self._id)

    def _circuit_changed(self, reason: str | None) -> None:
        if not self._router.set_circuit(self._id, self.breaker.state):
            return
        if not self._hold.changed(trio.current_time()):
            return
        if self.breaker.state == "open":
            seconds = self.breaker.retry_in(trio.current_time())
            self._log.warning(
                "upstream is set aside",
                error=reason,
                retry_in=round(seconds, 1) if seconds is not None else None,
                **events.UPSTREAM_LOST.fields,
            )
        elif self.breaker.state == "closed":
            self._log.info("upstream is used again", **events.UPSTREAM_READY.fields)

    def _tell(self, what: str, probe: Probe) -> None:
        if probe.state == "down":
            self._log.warning(what, error=probe.reason, **events.UPSTREAM_LOST.fields)
        else:
            event = events.UPSTREAM_READY.fields if probe.state == "ready" else {}
            self._log.info(what, **event)
