"""One thread that owns a backend; the event loop hands it work and never waits for it.

A GPU device belongs to the thread that opened it, and calls of its driver block, ``map_async``
among them. So every backend lives in a thread of its own, and what it has done comes back by
``run_sync_soon``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from queue import SimpleQueue
from typing import TypeVar

import trio

from geoosd.compositor.core.plan import Backend

T = TypeVar("T")


class DrawThread:
    """The thread and its backend, which *make* opens there."""

    def __init__(self, make: Callable[[], Backend]) -> None:
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._make = make
        self._backend: Backend | None = None
        self._ending = False
        # A driver that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="geoos-draw", daemon=True)

    async def do(self, work: Callable[[Backend], T]) -> T:
        """What *work* returns or raises, done in the thread after what was asked for before.

        A cancelled caller goes on at once; its work is done all the same.
        """
        token = trio.lowlevel.current_trio_token()
        done = trio.Event()
        future: Future[T] = Future()

        def job() -> None:
            try:
                future.set_result(self._do(work))
            except BaseException as error:  # noqa: BLE001 - raised where it was asked for
                future.set_exception(error)
            with suppress(trio.RunFinishedError):  # nobody is left to hear of it
                token.run_sync_soon(done.set)

        if self._thread.ident is None:
            self._thread.start()
        self._jobs.put(job)
        await done.wait()
        return future.result()

    async def close(self, patience: float = 1.0) -> None:
        """Close the backend after what was asked for, waiting *patience* seconds at most."""
        if self._thread.ident is not None and not self._ending:
            with trio.move_on_after(patience, shield=True):
                await self.do(lambda backend: backend.close())
        self.abandon()

    def abandon(self) -> None:
        """End the thread when it comes back from what it does, if ever."""
        self._ending = True
        self._jobs.put(None)

    def _do(self, work: Callable[[Backend], T]) -> T:
        if self._backend is None:
            self._backend = self._make()
        return work(self._backend)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
