"""``geoosd compositor --profile-gpu``: what drawing costs on this machine, by load and by stage.

Needs no running daemon. Draws made-up sessions (:mod:`.trial`) as fast as it can, without encoding,
with the backend that ``[compositor] backend`` and ``adapter`` choose, and with NumPy beside it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from itertools import cycle, islice
from time import perf_counter
from typing import Final

import msgspec
import numpy as np
from msgspec import Struct

from geoosd.compositor.adapters import gpu_probe
from geoosd.compositor.adapters.backends import open_wgpu
from geoosd.compositor.adapters.render_numpy import NumpyBackend
from geoosd.compositor.adapters.trial import session
from geoosd.compositor.core.plan import Backend, BackendError
from geoosd.compositor.core.profile import Profile
from geoosd.compositor.core.tiles import TILE
from geoosd.config import RawCompositor
from geoosd.errors import EX_CONFIG, EX_UNAVAILABLE, EX_USAGE, ConfigError
from geoosd.runtime.service import load_config

TOKENS: Final = (0, 1, 17, 170, 1000)
BYTES_A_PIXEL: Final = 28
"""Of a live tile: 12 to clear two fields, 8 to read them again, 4 of the table, 4 written."""
READ_BACK: Final = 8
_COPIED: Final = 64 << 20
_PLANS: Final = 8
_LARGEST: Final = 8192


class Row(Struct):
    """One backend under one load. Times are milliseconds a frame, ``stages`` their means;
    ``utilisation`` is the part of the time in which GPU or, for NumPy, CPU works on pixels."""

    backend: str
    tokens_per_frame: int
    live_tiles: int
    frames: int
    fps: float
    mean_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    stages_ms: dict[str, float]
    utilisation: float
    bandwidth_gb_per_second: float


class Report(Struct):
    """Everything that was measured. ``copy_gb_per_second`` is read and written by a plain copy in
    memory, the most that this machine's bandwidth allows one CPU."""

    version: int
    backend: str
    adapter: str
    reason: str
    width: int
    height: int
    copy_gb_per_second: float
    rows: list[Row]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the compositor alone."""
    parser.add_argument(
        "--profile-gpu",
        action="store_true",
        help="measure drawing on this machine, print a table and exit (docs/gpu.md)",
    )
    parser.add_argument("--json", action="store_true", help="with --profile-gpu: JSON, no table")
    parser.add_argument(
        "--size",
        default="1280x720",
        metavar="WxH",
        help="with --profile-gpu: pixels of a picture (1280x720)",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=1.0,
        metavar="S",
        help="with --profile-gpu: how long each load is drawn (1)",
    )


def main(args: argparse.Namespace) -> int:
    """Measure and print; returns the exit code."""
    width, _, height = str(args.size).partition("x")
    sides = [int(side) if side.isdecimal() else 0 for side in (width, height)]
    if not all(16 <= side <= _LARGEST for side in sides):
        return _say(f"cannot use --size {args.size}: not WxH of 16 to {_LARGEST} pixels", EX_USAGE)
    if not 0 < args.seconds <= 600:
        return _say(f"cannot use --seconds {args.seconds:g}: not above 0 and up to 600", EX_USAGE)
    try:
        backends, reason = choose(load_config(args).compositor)
    except ConfigError as error:
        return _say(str(error), EX_CONFIG)
    except BackendError as error:
        return _say(f"cannot open the GPU: {error}", EX_UNAVAILABLE)
    report = measure(backends, reason, sides[0], sides[1], args.seconds)
    text = msgspec.json.encode(report).decode() if args.json else "\n".join(table(report))
    sys.stdout.write(text + "\n")
    return 0


def choose(settings: RawCompositor) -> tuple[list[Backend], str]:
    """The backend that would draw, NumPy after it if that is another, and why it would.

    Blocks; raises :class:`BackendError`.
    """
    if settings.backend == "numpy":
        return [NumpyBackend()], 'backend = "numpy"'
    found = gpu_probe.probe_now(settings.adapter)
    if settings.backend == "wgpu" and found.name is None:
        raise BackendError(found.reason or "none was found")
    if settings.backend == "wgpu" or found.is_fit:
        reason = f'backend = "{settings.backend}", found {found}'
        return [open_wgpu(settings.adapter), NumpyBackend()], reason
    reach = gpu_probe.out_of_reach()
    return [NumpyBackend()], f'backend = "auto", GPU {reach or found}'


def measure(
    backends: list[Backend], reason: str, width: int, height: int, seconds: float
) -> Report:
    """Draw every load with every backend, *seconds* each; closes the backends."""
    rows = [
        _row(backend, tokens, width, height, seconds) for tokens in TOKENS for backend in backends
    ]
    report = Report(
        1, backends[0].name, backends[0].adapter, reason, width, height, _copying(), rows
    )
    for backend in backends:
        backend.close()
    return report


def table(report: Report) -> Iterator[str]:
    """The report for people, in 80 columns."""
    yield f"{report.backend} on {report.adapter}"
    yield f"chosen by {report.reason}"
    yield (
        f"{report.width} x {report.height} pixels, not encoded; "
        f"a copy in memory moves {report.copy_gb_per_second:.1f} GB/s"
    )
    yield ""
    yield "BACKEND TOKENS TILES    FPS   MEAN    P95    CPU UPLOAD    GPU  READ BUSY  GB/S"
    for row in report.rows:
        stages = "".join(
            f"{row.stages_ms[stage]:7.2f}" if row.stages_ms.get(stage) else "      –"
            for stage in ("cpu", "upload", "gpu")
        )
        read = row.stages_ms.get("readback")
        back = f"{read:6.2f}" if read else "     –"
        yield (
            f"{row.backend:7} {row.tokens_per_frame:6} {row.live_tiles:5} {row.fps:6.0f} "
            f"{row.mean_ms:6.2f} {row.p95_ms:6.2f}{stages}{back}"
            f"{row.utilisation:5.0%}{row.bandwidth_gb_per_second:6.2f}"
        )
    yield ""
    yield "TOKENS a frame; times in ms. BUSY: part of the time in which the GPU (NumPy: the"
    yield "CPU) works on pixels. GB/s: what the method has to move, by that time."


def _row(backend: Backend, tokens: int, width: int, height: int, seconds: float) -> Row:
    plans = cycle(list(islice(session(tokens, width, height), _PLANS)))
    for plan in islice(plans, 2):
        backend.draw(plan)  # memory is taken, pipelines are compiled
    profile, frames, began = Profile(), 0, perf_counter()
    while (passed := perf_counter() - began) < seconds or frames < 3:
        backend.draw(next(plans))
        profile.add(backend.timings, 0.0)
        frames += 1
    stages = profile.stages()
    work = stages.get("gpu" if backend.name == "wgpu" else "cpu")
    busy = work.total if work else 0.0
    moved = BYTES_A_PIXEL + (READ_BACK if backend.name == "wgpu" else 0)
    quantiles = stages["frame"].quantiles
    return Row(
        backend.name,
        tokens,
        backend.live_tiles,
        frames,
        frames / passed,
        1000 * passed / frames,
        1000 * quantiles[0.5],
        1000 * quantiles[0.95],
        1000 * quantiles[0.99],
        {name: 1000 * stage.total / frames for name, stage in stages.items()},
        busy / passed,
        frames * backend.live_tiles * TILE * TILE * moved / busy / 1e9 if busy else 0.0,
    )


def _copying() -> float:
    """GB/s, read and written, of the best of five copies too large for any cache."""
    source = np.ones(_COPIED // 8)
    target = np.zeros_like(source)
    best = 0.0
    for _ in range(5):
        began = perf_counter()
        np.copyto(target, source)
        best = max(best, 2 * _COPIED / (perf_counter() - began) / 1e9)
    return best


def _say(problem: str, code: int) -> int:
    sys.stderr.write(f"geoosd compositor: {problem}\n")
    return code
