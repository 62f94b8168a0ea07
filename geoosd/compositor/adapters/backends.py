"""Which backend draws: NumPy until a GPU has proved fit, and NumPy again when it fails.

The rule (docs/gpu.md): with ``backend = "auto"`` wgpu draws if the adapter that the probe found
(:mod:`.gpu_probe`, in a process of its own) is no CPU and no OpenGL; with ``"wgpu"`` whatever it
found will do. The device is opened in a thread of its own while NumPy draws, and has to draw a
trial picture to the bit. Plans are complete, so after a failure NumPy draws the very plan that the
GPU did not: no frame is lost, and no state was on the GPU.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np
import trio

from geoosd.compositor.adapters import gpu_probe
from geoosd.compositor.adapters.draw_thread import DrawThread
from geoosd.compositor.adapters.gpu_probe import Finding
from geoosd.compositor.adapters.render_numpy import NumpyBackend
from geoosd.compositor.adapters.trial import trial_plan
from geoosd.compositor.core.plan import Backend, BackendError
from geoosd.config import RawCompositor
from geoosd.runtime import health
from geoosd.wire import events
from geoosd.wire.reports import Verdict

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

PATIENCE: Final = 10.0
"""Seconds that a GPU may take for one picture, or to open; NumPy has no limit."""
MARK: Final = "drawing-with-wgpu"
"""File in the state directory while the device is open: a driver may take the process along."""
_RESTART: Final = "geoosctl restart compositor"
"""Looks for the GPU again."""

_DROP_IN: Final = (
    "install -Dt /etc/systemd/system/geoos-compositor.service.d "
    "/usr/local/share/doc/geoos/drop-ins/gpu.conf && systemctl daemon-reload && "
    "geoosctl restart compositor"
)

T = TypeVar("T")
OpenWgpu = Callable[[str], Backend]
Probe = Callable[[str], Awaitable[Finding]]


def open_wgpu(adapter: str) -> Backend:
    """The wgpu backend. Blocks; raises :class:`BackendError`."""
    from geoosd.compositor.adapters.render_wgpu import WgpuBackend

    return WgpuBackend(adapter)


class Backends:
    """The backend in use, its thread, and what there is to say of it."""

    def __init__(
        self,
        log: FilteringBoundLogger,
        *,
        probe: Probe = gpu_probe.probe,
        open_gpu: OpenWgpu = open_wgpu,
    ) -> None:
        self.name = NumpyBackend.name
        self.adapter = NumpyBackend.adapter
        self.found = "not looked for yet"
        self.demotions = 0
        self._log = log
        self._probe = probe
        self._open_gpu = open_gpu
        self._mark: Path | None = None
        self._numpy = DrawThread(NumpyBackend)
        self._gpu: DrawThread | None = None
        self._finding: health.Finding = ("healthy", "draws with NumPy", None)

    async def draw(self, work: Callable[[Backend], T]) -> T:
        """What *work* makes of the backend in use; done anew with NumPy if the GPU fails."""
        gpu = self._gpu
        if gpu is not None:
            try:
                with trio.fail_after(PATIENCE):
                    return await gpu.do(work)
            except BackendError as error:
                self._demote(gpu, str(error))
            except trio.TooSlowError:
                self._demote(gpu, f"no picture within {PATIENCE:g} s")
        return await self._numpy.do(work)

    async def seek(self, settings: RawCompositor, state_dir: Path) -> None:
        """Look for a GPU as *settings* say, and draw with it if it is fit."""
        self._mark = state_dir / MARK
        if settings.backend == "numpy":
            self.found = 'not looked for: [compositor] backend = "numpy"'
            self._finding = ("healthy", "draws with NumPy, as configured", None)
            return
        if self._mark.exists():
            self._unmark()
            self.found = "not looked for: the last run ended abruptly while it drew with a GPU"
            self._finding = ("warning", f"draws with NumPy: {self.found[16:]}", _RESTART)
            return
        found = await self._probe(settings.adapter)
        self.found = str(found)
        self._log.info("looked for a GPU", found=self.found)
        if found.name is None or not (settings.backend == "wgpu" or found.is_fit):
            reach = await trio.to_thread.run_sync(gpu_probe.out_of_reach)
            self._finding = without(settings, found, reach)
            return
        await self._promote(settings.adapter)

    def health(self) -> health.Finding:
        """What draws, and why not something better."""
        return self._finding

    async def close(self) -> None:
        """Give everything back."""
        if self._gpu is not None:
            await self._gpu.close()
            self._unmark()
        await self._numpy.close()

    async def _promote(self, adapter: str) -> None:
        """Open the GPU and have it draw a trial picture; then let it draw."""
        thread = DrawThread(lambda: self._open_gpu(adapter))
        trial = trial_plan()
        expected = await self._numpy.do(lambda backend: backend.draw(trial).copy())
        if self._mark is not None:
            with suppress(OSError):  # a full disk keeps nobody from drawing
                self._mark.touch()
        try:
            with trio.fail_after(PATIENCE):
                opened, drawn = await thread.do(
                    lambda backend: (backend.adapter, backend.draw(trial).copy())
                )
            if not np.array_equal(expected, drawn):
                raise BackendError("its trial picture is not what NumPy draws")
        except BackendError as error:
            self._demote(thread, str(error))
        except trio.TooSlowError:
            self._demote(thread, f"no picture within {PATIENCE:g} s")
        else:
            self._gpu, self.name, self.adapter = thread, "wgpu", opened
            self._finding = ("healthy", f"draws with {opened}", None)
            self._log.info("draws with wgpu", adapter=opened)
        finally:
            if self._gpu is not thread:  # asked to stop meanwhile, perhaps
                thread.abandon()
                self._unmark()

    def _demote(self, thread: DrawThread, reason: str) -> None:
        """Draw with NumPy from now on. Of several who notice the first one tells."""
        thread.abandon()
        if self._gpu is not thread and self.name == "wgpu":
            return
        self._gpu, self.name, self.adapter = None, NumpyBackend.name, NumpyBackend.adapter
        self.demotions += 1
        self._unmark()
        self._finding = ("warning", f"draws with NumPy: the GPU failed: {reason}", _RESTART)
        self._log.warning(
            "the GPU failed; drawing goes on with NumPy", error=reason, **events.GPU_FAILED.fields
        )

    def _unmark(self) -> None:
        if self._mark is not None:
            with suppress(OSError):
                self._mark.unlink(missing_ok=True)


def without(settings: RawCompositor, found: Finding, out_of_reach: str | None) -> health.Finding:
    """What there is to say when NumPy draws. That a GPU could do more is no fault, unless it was
    asked for."""
    asked = settings.backend == "wgpu"
    if out_of_reach is not None:
        verdict: Verdict = "warning" if asked else "healthy"
        summary = f"draws with NumPy: there is a GPU, but {out_of_reach}; drop-in gpu.conf lets it"
        return verdict, summary, _DROP_IN
    summary = f"draws with NumPy: {found}" if asked else f"draws with NumPy; GPU: {found}"
    return ("warning", summary, _RESTART) if asked else ("healthy", summary, None)
