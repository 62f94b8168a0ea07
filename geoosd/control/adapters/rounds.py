"""Control's rounds: every few seconds it looks at everybody, for history and for alerts.

Whoever asks for health gets a fresh look; the rounds see to it that what happened while nobody
asked is known as well.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
import trio
from prometheus_client import Gauge

from geoosd.config import Config
from geoosd.control.adapters.webhook import Webhook
from geoosd.control.core.alerts import Alerts, Quantities, Turn
from geoosd.control.core.rootcause import Judgement
from geoosd.runtime.health import Finding
from geoosd.runtime.service import Runtime
from geoosd.wire import events
from geoosd.wire.alerting import Alert, parse

INTERVAL: Final = 2.0


class Rounds:
    """*look* judges health, *metrics* reads all daemons' text; *numbers* gives PAS and restarts."""

    def __init__(
        self,
        runtime: Runtime,
        *,
        look: Callable[[], Awaitable[Judgement]],
        metrics: Callable[[], Awaitable[str]],
        numbers: Callable[[], tuple[float | None, int]],
    ) -> None:
        self._runtime = runtime
        self._look = look
        self._metrics = metrics
        self._numbers = numbers
        self._quantities = Quantities()
        self._alerts = Alerts(map(parse, runtime.config.control.alerts))
        self.webhook = Webhook(runtime.config.control.webhook, runtime.log)
        Gauge(
            "geoos_alerts_firing", "Alerts of [control] alerts that fire", registry=runtime.registry
        ).set_function(lambda: len(self.firing))

    @property
    def firing(self) -> list[Alert]:
        """The alerts that fire."""
        return [self._of_tree(each) for each in self._alerts.firing]

    def _of_tree(self, alert: Alert) -> Alert:
        """That of the structure names the tree to look at."""
        root = self._runtime.config.control.structure_root
        if not alert.rule.startswith("pas ") or not root:
            return alert
        return msgspec.structs.replace(alert, remedy=f"{alert.remedy} {root}")

    def probe(self) -> Finding:
        """What fires is a warning of its own: its quantity may concern no single check."""
        firing = self.firing
        if not firing:
            return "healthy", f"{len(self._runtime.config.control.alerts)} rules, none fires", None
        return "warning", "; ".join(each.summary for each in firing), firing[0].remedy

    def configured(self, config: Config) -> None:
        """Take other rules and another address."""
        self.webhook.url = config.control.webhook
        self._tell(self._alerts.configure(map(parse, config.control.alerts)))

    async def run(self) -> None:
        """Go round for ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.webhook.run)
            while True:
                await trio.sleep(INTERVAL)
                await self.go()

    async def go(self) -> None:
        """One round."""
        judged = await self._look()
        down = sum(
            each.name.endswith(": process") and each.status == "critical" for each in judged.checks
        )
        pas, restarts = self._numbers()
        values = self._quantities.take(
            await self._metrics(), pas=pas, restarts=restarts, down=down, now=trio.current_time()
        )
        self._tell(self._alerts.take(values, trio.current_time(), self._runtime.now()))

    def _tell(self, turns: list[Turn]) -> None:
        for what, turned in turns:
            alert = self._of_tree(turned)
            fired = what == "fired"
            log = self._runtime.log.warning if fired else self._runtime.log.info
            event = events.ALERT_FIRED if fired else events.ALERT_RESOLVED
            log(
                f"alert {what}",
                alert=alert.rule,
                value=alert.value,
                threshold=alert.threshold,
                summary=alert.summary,
                **event.fields,
            )
            told: dict[str, Any] = msgspec.to_builtins(alert)
            self.webhook.put({"state": what, "at": self._runtime.now(), **told})
