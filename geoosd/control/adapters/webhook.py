"""Posting alerts to an address: beside everything else, with bounded tries, never in anybody's way.

The address may hold a secret, as those of chat services do: logs name its host alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import trio

from geoosd import __version__
from geoosd.runtime.logs import Log
from geoosd.wire import events

if TYPE_CHECKING:
    import httpx

TRIES: Final = 4
MAX_WAITING: Final = 64
"""Alerts that wait to be posted; the oldest goes when there are more."""
_PATIENCE: Final = 5.0
_FIRST_DELAY: Final = 1.0


class Webhook:
    """``url`` is where to post; empty: nowhere. ``lost`` counts alerts that could not be."""

    def __init__(self, url: str, log: Log) -> None:
        self.url = url
        self.posted = 0
        self.lost = 0
        self._log = log
        self._waiting: deque[Mapping[str, Any]] = deque()
        self._posting = False
        self._more = trio.Event()

    @property
    def waiting(self) -> int:
        """How many alerts are not posted yet."""
        return len(self._waiting) + self._posting

    def put(self, alert: Mapping[str, Any]) -> None:
        """Have *alert* posted soon; never blocks."""
        if not self.url:
            return
        self._waiting.append(alert)
        if len(self._waiting) > MAX_WAITING:
            self._waiting.popleft()
            self.lost += 1
        self._more.set()

    async def run(self) -> None:
        """Post what comes, in order; runs until cancelled."""
        await self._more.wait()
        import httpx  # 8 MB that a control without a webhook does not need

        headers = {"user-agent": f"geoos/{__version__}"}
        async with httpx.AsyncClient(
            timeout=_PATIENCE, trust_env=False, follow_redirects=False, headers=headers
        ) as client:
            while True:
                while self._waiting:
                    alert, self._posting = self._waiting.popleft(), True
                    await self._post(client, alert)
                    self._posting = False
                self._more = trio.Event()
                await self._more.wait()

    async def _post(self, client: httpx.AsyncClient, alert: Mapping[str, Any]) -> None:
        import httpx

        reason = ""
        for attempt in range(TRIES):
            if attempt:
                await trio.sleep(_FIRST_DELAY * 2 ** (attempt - 1))
            if not self.url:
                return
            try:
                with trio.fail_after(_PATIENCE):
                    answer = await client.post(self.url, json=alert)
            except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
                reason = type(error).__name__
            except trio.TooSlowError:
                reason = f"no answer within {_PATIENCE:.0f} s"
            else:
                if answer.is_success:
                    self.posted += 1
                    return
                reason = f"it answered {answer.status_code}"
                if answer.status_code < 500 and answer.status_code != 429:
                    break  # it does not want this alert, however often it is offered
        self.lost += 1
        self._log.warning(
            "cannot post an alert",
            host=urlsplit(self.url).hostname,
            error=reason,
            **events.ALERT_NOT_POSTED.fields,
        )
