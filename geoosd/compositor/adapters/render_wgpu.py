"""The wgpu backend: a frame plan to pixels on a GPU, the same pixels as NumPy's.

The one module that imports wgpu, and only when it is used. ``python -m
geoosd.compositor.adapters.render_wgpu [ADAPTER]`` prints the adapter that would be used, as the
JSON of a :class:`.gpu_probe.Finding`. Shaders are ``splat.wgsl`` and ``compose.wgsl``. Everything
here blocks, ``map_async`` too: one thread owns the device (:mod:`.draw_thread`). Whatever the
driver does wrong is a :class:`BackendError`; drawing goes on with NumPy then.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from geoosd.compositor.adapters.gpu_probe import Finding
from geoosd.compositor.core.brush import Brush, Stamps
from geoosd.compositor.core.overlay import lay
from geoosd.compositor.core.plan import BackendError, FramePlan, Image, Timings
from geoosd.compositor.core.raster import Dots, Raster, ground, ranked, raster, same_ground
from geoosd.compositor.core.tiles import TILE, Mask

_BACKENDS: Final = ("Vulkan", "Metal", "DX12")
"""OpenGL is left out: where it is all there is, NumPy is faster."""
_STAGING: Final = 3
"""Buffers that pictures are read back through, in turn: submitting one that is still mapped, as
after a draw that failed in the middle, would abort the process."""
_FENCE_BYTES: Final = 16
_MAX_BRUSHES: Final = 64
_WIDEST: Final = 65535
"""Workgroups along one dimension."""

Words: TypeAlias = npt.NDArray[np.uint32]


def source(name: str) -> str:
    """The shader ``NAME.wgsl`` beside this module. Blocks."""
    return Path(__file__).with_name(f"{name}.wgsl").read_text(encoding="utf-8")


def open_device(adapter: str = "") -> Any:
    """A device of the adapter that wgpu would use, or whose name has *adapter* in it.

    Blocks, and may abort the process. Raises :class:`BackendError`.
    """
    try:
        found = _find(adapter)
        timing = {"timestamp-query"} & set(found.features)
        return found.request_device_sync(required_features=sorted(timing))
    except BackendError:
        raise
    except Exception as error:
        raise BackendError(_reason(error)) from error


def find_adapter(adapter: str = "") -> Finding:
    """The adapter that wgpu would use. Blocks, and may abort the process: see :mod:`.gpu_probe`."""
    try:
        info = _find(adapter).info
    except Exception as error:  # noqa: BLE001 - whatever a driver raises, it is the finding
        return Finding(reason=_reason(error))
    return Finding(_name(info), str(info.get("adapter_type")), str(info.get("backend_type")))


def _find(name: str) -> Any:
    wgpu = _library()
    if not name:
        return wgpu.gpu.request_adapter_sync(power_preference="high-performance")
    adapters = wgpu.gpu.enumerate_adapters_sync()
    for adapter in adapters:
        if name.casefold() in _name(adapter.info).casefold():
            return adapter
    known = ", ".join(sorted({_name(adapter.info) for adapter in adapters})) or "none"
    raise BackendError(f"no adapter has {name!r} in its name: there is {known}")


@cache
def _library() -> Any:
    """The package, its one instance told which backends to look at."""
    try:
        import wgpu
        from wgpu.backends.wgpu_native import extras
    except (ImportError, OSError) as error:
        raise BackendError(f"cannot load wgpu: {error}") from error
    extras.set_instance_extras(backends=_BACKENDS)
    return wgpu


def _name(info: Any) -> str:
    return str(info.get("device") or info.get("vendor") or "unnamed")


def _reason(error: BaseException) -> str:
    """wgpu's messages run over several lines: what happened first, what it came from last."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return ": ".join(dict.fromkeys([lines[0], lines[-1]])) if lines else type(error).__name__


class WgpuBackend:
    """A :class:`..core.plan.Backend` on the device of one adapter."""

    name = "wgpu"

    def __init__(self, adapter: str = "") -> None:
        """Open the device; seconds may pass. Raises :class:`BackendError`."""
        self.live_tiles = 0
        self.timings = Timings()
        self._device = open_device(adapter)
        info = self._device.adapter.info
        self.adapter = f"{_name(info)} ({info.get('adapter_type')}, {info.get('backend_type')})"
        self._targets: list[_Target] = []
        with _failing():
            self._shared = _Shared(self._device)

    def draw(self, plan: FramePlan) -> Image:
        """An array of shape (height, width, 4), R G B A; the next picture may overwrite it.

        Raises :class:`BackendError`.
        """
        with _failing():
            target = self._target(plan)
            self.timings = target.draw(plan)
            self.live_tiles = int(target.reached.sum())
            return target.pixels()

    def close(self) -> None:
        """Give the device back."""
        self._targets = []
        with suppress(Exception):  # a device that is lost cannot be destroyed; it is gone anyway
            self._device.destroy()

    def _target(self, plan: FramePlan) -> _Target:
        size = plan.view.width, plan.view.height
        target = next((target for target in self._targets if target.size == size), None)
        if target is None:
            target = _Target(self._shared, *size)
        self._targets = [target, *(other for other in self._targets if other is not target)][:2]
        return target


@contextmanager
def _failing() -> Iterator[None]:
    """Whatever the driver raises is a :class:`BackendError`."""
    try:
        yield
    except BackendError:
        raise
    except Exception as error:
        raise BackendError(_reason(error)) from error


class _Shared:
    """Pipelines and brushes, for pictures of all sizes."""

    def __init__(self, device: Any) -> None:
        wgpu = _library()
        lib = wgpu.backends.wgpu_native.lib
        self.device = device
        usage = wgpu.BufferUsage
        self.storage = usage.STORAGE | usage.COPY_DST | usage.COPY_SRC
        self.uniform = usage.UNIFORM | usage.COPY_DST
        self.staging = usage.MAP_READ | usage.COPY_DST
        self.query = None
        if "timestamp-query" in device.features:
            self.query = device.create_query_set(type="timestamp", count=2)
            self.ticks = self.buffer(_FENCE_BYTES, usage.QUERY_RESOLVE | usage.COPY_SRC)
            self.period = float(lib.wgpuQueueGetTimestampPeriod(device.queue._internal)) * 1e-9
        else:
            self.ticks = self.buffer(_FENCE_BYTES)
        self.fence = self.buffer(_FENCE_BYTES, self.staging)
        self.pipelines = {
            name: device.create_compute_pipeline(
                layout="auto", compute={"module": module, "entry_point": name}
            )
            for module, names in (
                (device.create_shader_module(code=source("splat")), ("stamp", "rank", "dots")),
                (device.create_shader_module(code=source("compose")), ("clear", "compose")),
            )
            for name in names
        }
        self._brushes: dict[int, tuple[Brush, Any]] = {}

    def buffer(self, size: int, usage: int | None = None) -> Any:
        """A buffer of zeros."""
        return self.device.create_buffer(size=size, usage=self.storage if usage is None else usage)

    def brush(self, brush: Brush) -> Any:
        """The table of *brush*: offsets, across in the lower half; then shares."""
        known = self._brushes.get(id(brush))
        if known is None:
            offsets = (brush.across & 0xFFFF) | brush.down << 16
            table = np.concatenate([offsets.astype(np.uint32), brush.share.ravel()])
            known = brush, self.device.create_buffer_with_data(data=table, usage=self.storage)
            if len(self._brushes) >= _MAX_BRUSHES:
                self._brushes.clear()
            self._brushes[id(brush)] = known
        return known[1]

    def bind(self, name: str, buffers: dict[int, Any]) -> Any:
        """The buffers of a pipeline, by binding."""
        return self.device.create_bind_group(
            layout=self.pipelines[name].get_bind_group_layout(0),
            entries=[{"binding": at, "resource": {"buffer": it}} for at, it in buffers.items()],
        )


class _Upload:
    """A buffer that is written anew for each picture, and grows with what is to be written."""

    def __init__(self, shared: _Shared) -> None:
        self._shared = shared
        self._room = 0
        self.buffer: Any = None

    def write(self, data: Words) -> Any:
        """The buffer with *data* at its beginning."""
        if data.nbytes > self._room:
            self._room = 1 << (data.nbytes - 1).bit_length()
            self.buffer = self._shared.buffer(self._room)
        self._shared.device.queue.write_buffer(self.buffer, 0, data)
        return self.buffer


class _Step(NamedTuple):
    """One dispatch: pipeline, its buffers by binding, workgroups."""

    name: str
    buffers: dict[int, Any]
    groups: tuple[int, int]


class _Target:
    """The fields and the picture of one size; ``reached`` as in :mod:`.render_numpy`."""

    def __init__(self, shared: _Shared, width: int, height: int) -> None:
        self.size = width, height
        self._shared = shared
        self._plan: FramePlan | None = None
        self.reached: Mask = np.ones((-(-height // TILE), -(-width // TILE)), np.bool_)
        rows, columns = (count * TILE for count in self.reached.shape)
        self._shapes = {
            "stars": (rows, columns),
            "still": (rows, columns),
            "ground": (rows, columns),
            "near": (rows // 4 + 2, columns // 4 + 2),
            "far": (rows // 16 + 4, columns // 16 + 4),
            "ranks": (rows // 4, columns // 4),
            "picture": (rows, columns),
        }
        self._fields = {name: shared.buffer(4 * r * c) for name, (r, c) in self._shapes.items()}
        self._staging = [shared.buffer(4 * rows * columns, shared.staging) for _ in range(_STAGING)]
        self._turn = 0
        self._grid = shared.buffer(32, shared.uniform)
        self._uploads: dict[str, _Upload] = {}
        self._picture = np.zeros((rows, columns), np.uint32)

    def pixels(self) -> Image:
        """The picture without its padding."""
        rows, columns = self._picture.shape
        everything = self._picture.view(np.uint8).reshape(rows, columns, 4)
        return everything[: self.size[1], : self.size[0]]

    def draw(self, plan: FramePlan) -> Timings:
        """Draw all of *plan* that may differ from the last picture."""
        began = perf_counter()
        work = raster(plan)
        before, self.reached = self.reached, work.tiles.mask
        steps: list[_Step] = []
        if not self._suits(plan):
            steps += self._ground(plan)
            before = np.ones_like(before)
        anew = before | self.reached
        if not anew.any():
            return Timings(cpu=perf_counter() - began)
        steps += self._steps(plan, work, anew)
        recorded = perf_counter()
        encoder = self._record(steps)
        first, end = _band(anew)
        start, length = first * TILE * self._picture.shape[1] * 4, (end - first) * TILE
        size = length * self._picture.shape[1] * 4
        staging = self._staging[self._turn]
        self._turn = (self._turn + 1) % _STAGING
        encoder.copy_buffer_to_buffer(self._fields["picture"], start, staging, 0, size)
        self._shared.device.queue.submit([encoder.finish()])
        submitted = perf_counter()
        gpu = self._wait()
        waited = perf_counter()
        staging.map_sync("READ", 0, size)
        pixels = np.frombuffer(staging.read_mapped(0, size, copy=False), np.uint32)
        self._picture[first * TILE : end * TILE] = pixels.reshape(length, -1)
        del pixels
        staging.unmap()
        for overlay in plan.overlays:
            lay(self.pixels(), overlay)
        self._plan = plan
        return Timings(
            cpu=recorded - began,
            upload=submitted - recorded,
            gpu=gpu or waited - submitted,
            readback=perf_counter() - waited,
        )

    def _suits(self, plan: FramePlan) -> bool:
        last = self._plan
        return (
            last is not None
            and last.view == plan.view
            and np.array_equal(last.lut, plan.lut)
            and same_ground(last.ground, plan.ground)
        )

    def _ground(self, plan: FramePlan) -> list[_Step]:
        """Table and ground of another plan."""
        self._plan = None
        self._upload("table", plan.lut)
        return self._dots("ground", "ground", ground(plan).dots)

    def _steps(self, plan: FramePlan, work: Raster, anew: Mask) -> list[_Step]:
        """What a picture is made of, in order."""
        fields = self._fields
        columns = self._picture.shape[1]
        tinted = work.tint_reach is not None
        grid = [anew.shape[1], columns, plan.star_scale, plan.glow_scale, tinted, len(plan.lut)]
        self._shared.device.queue.write_buffer(self._grid, 0, np.array(grid, np.uint32))
        tiles = self._upload("tiles", np.flatnonzero(anew).astype(np.uint32))
        count = int(anew.sum())
        shown = {0: self._grid, 1: tiles, 2: fields["stars"], 3: fields["still"]}
        steps = [_Step("clear", shown | {4: fields["ground"]}, (count, 1))]
        steps += self._stamps("still", work.dust)
        steps += self._dots("still", "trails", work.trails)
        steps += self._stamps("stars", work.stars)
        steps += self._stamps("near", work.near)
        steps += self._stamps("far", work.far)
        if work.tint_reach is not None:
            steps += self._ranks(plan, work.stars, work.tint_reach)
        composed = {5: "near", 6: "far", 7: "ranks", 9: "picture"}
        buffers = shown | {at: fields[name] for at, name in composed.items()}
        return [*steps, _Step("compose", buffers | {8: self._uploads["table"].buffer}, (count, 1))]

    def _upload(self, name: str, data: Words) -> Any:
        return self._uploads.setdefault(name, _Upload(self._shared)).write(data)

    def _work(self, field: str, name: str, count: int, entries: int, items: Words) -> Any:
        rows, columns = self._shapes[field]
        head = np.array([count, entries, columns, rows], np.uint32)
        return self._upload(name, np.concatenate([head, items.ravel()]))

    def _stamps(self, field: str, stamped: Stamps) -> list[_Step]:
        count, entries = len(stamped.row), len(stamped.brush.across)
        if not count:
            return []
        items = np.empty((count, 4), np.uint32)
        for at, part in enumerate((stamped.column, stamped.row, stamped.place)):
            items[:, at] = part.view(np.uint32)
        items[:, 3] = stamped.energy
        work = self._work(field, f"stamps of {field}", count, entries, items)
        buffers = {0: work, 1: self._fields[field], 2: self._shared.brush(stamped.brush)}
        return [_Step("stamp", buffers, (-(-entries // 64), count))]

    def _ranks(self, plan: FramePlan, stars: Stamps, reach: int) -> list[_Step]:
        count, side = len(stars.row), 2 * reach + 1
        items = np.zeros((count, 4), np.uint32)
        items[:, 0] = (stars.column // 4).view(np.uint32)
        items[:, 1] = (stars.row // 4).view(np.uint32)
        items[:, 3] = ranked(plan)
        work = self._work("ranks", "ranks", count, side, items)
        return [_Step("rank", {0: work, 1: self._fields["ranks"]}, (-(-side * side // 64), count))]

    def _dots(self, field: str, name: str, dots: Dots) -> list[_Step]:
        where, energy = dots.inside(*self._shapes[field])
        if not len(where):
            return []
        items = np.zeros((len(where) + 1 & ~1, 2), np.uint32)
        items[: len(where), 0], items[: len(where), 1] = where, energy
        work = self._work(field, name, len(where), 0, items)
        groups = -(-len(where) // 64)
        wide = min(groups, _WIDEST)
        return [_Step("dots", {0: work, 1: self._fields[field]}, (wide, -(-groups // wide)))]

    def _record(self, steps: list[_Step]) -> Any:
        shared = self._shared
        encoder = shared.device.create_command_encoder()
        for name in ("near", "far", "ranks"):
            encoder.clear_buffer(self._fields[name])
        if self._plan is None:
            encoder.clear_buffer(self._fields["ground"])
        options: dict[str, Any] = {}
        if shared.query is not None:
            options["timestamp_writes"] = {
                "query_set": shared.query,
                "beginning_of_pass_write_index": 0,
                "end_of_pass_write_index": 1,
            }
        compute = encoder.begin_compute_pass(**options)
        for step in steps:
            compute.set_pipeline(shared.pipelines[step.name])
            compute.set_bind_group(0, shared.bind(step.name, step.buffers))
            compute.dispatch_workgroups(*step.groups)
        compute.end()
        if shared.query is not None:
            encoder.resolve_query_set(shared.query, 0, 2, shared.ticks, 0)
        encoder.copy_buffer_to_buffer(shared.ticks, 0, shared.fence, 0, _FENCE_BYTES)
        return encoder

    def _wait(self) -> float:
        """Wait until all is done, by mapping sixteen bytes; seconds by the GPU's clock, 0 if it has
        none. (``on_submitted_work_done`` raises in wgpu 0.32.)"""
        fence = self._shared.fence
        fence.map_sync("READ")
        began, ended = np.frombuffer(fence.read_mapped(), np.uint64).tolist()
        fence.unmap()
        # Some drivers' clocks jump; what they tell then is as good as nothing.
        return max(0.0, (ended - began) * self._shared.period) if self._shared.query else 0.0


def _band(mask: Mask) -> tuple[int, int]:
    """The first tile row with a live tile, and the one behind the last."""
    rows = np.flatnonzero(mask.any(axis=1))
    return int(rows[0]), int(rows[-1]) + 1


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(find_adapter(*sys.argv[1:2])))
