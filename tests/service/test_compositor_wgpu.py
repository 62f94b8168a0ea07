"""The wgpu backend on whichever adapter there is; lavapipe (mesa-vulkan-drivers) will do."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from geoosd.compositor.adapters.render_numpy import NumpyBackend
from geoosd.compositor.adapters.render_wgpu import WgpuBackend
from geoosd.compositor.core import palette, plan
from geoosd.compositor.core.plan import BackendError, FramePlan, Overlay, Stroke
from geoosd.compositor.core.view import View
from geoosd.wire.messages import Theme

pytestmark = [pytest.mark.gpu, pytest.mark.slow]

NIGHT, DAY = (
    palette.lut(Theme("t", "T", ramp[0], "#ffffff", "#888888", "#00ff00", ramp, tints))
    for ramp, tints in (
        (["#050714", "#401f80", "#ff9040", "#fffbe0"], ["#ffffff", "#ff0000", "#40ffa0"]),
        (["#ffffff", "#102030"], ["#ffffff"]),
    )
)
SIZES = [(192, 128), (130, 75), (64, 64), (301, 203)]


@pytest.fixture(scope="module")
def device():
    backend = WgpuBackend()
    yield backend
    backend.close()


def splats(random, view, count, tints, kind):
    """Light in and around the picture, on its edges and in heaps."""
    x = random.uniform(-80, view.width + 80, count)
    y = random.uniform(-80, view.height + 80, count)
    if count > 20:
        x[:10], y[:10] = x[10], y[10]
    return kind(x, y, random.uniform(0, 1, count), random.integers(0, tints, count, np.uint8), view)


def frames(count):
    """A made-up session: light comes, decays by the scales and goes; views and themes change."""
    random = np.random.default_rng(5)
    view, table, ground = View(0.0, 0.0, 1.0, *SIZES[0]), NIGHT, ()
    for number in range(count):
        if number % 30 == 0:
            view = replace(view, center_x=float(number))
            view = replace(
                view, width=(size := SIZES[number // 30 % len(SIZES)])[0], height=size[1]
            )
            ground = [line(random, view, 5, 0.55) for _ in range(number // 30 % 3)]
        if number % 70 == 69:
            table = DAY if table is NIGHT else NIGHT
        tints = len(table) // palette.LEVELS if number % 3 else 1
        lit = int(random.choice([0, 0, 1, 17, 170]))
        yield FramePlan(
            view,
            table,
            splats(random, view, lit, tints, plan.stars),
            splats(random, view, lit * 2, 1, plan.dust),
            trails=[line(random, view, 40, 1.0) for _ in range(min(lit, 3))],
            ground=ground,
            overlays=[label(random, view)] if number % 11 == 5 else [],
            star_scale=plan.SCALE_ONE if number % 2 else int(random.integers(0, plan.SCALE_ONE)),
            glow_scale=int(random.integers(0, plan.SCALE_ONE + 1)),
        )


def line(random, view, count, level):
    ends = random.uniform(-50, view.width + 50, (2, count))
    return Stroke(ends[0], ends[1], np.full(count, level))


def label(random, view):
    pixels = random.integers(0, 256, (20, 50, 4), np.uint8)
    return Overlay(int(random.integers(-60, view.width)), int(random.integers(-30, 90)), pixels)


def keep_differences(repository, name, one, other):
    """Both pictures and where they differ, under ``reports/parity``."""
    kept = repository / "reports" / "parity"
    kept.mkdir(parents=True, exist_ok=True)
    difference = (one != other).any(axis=-1)
    for what, pixels in (("numpy", one[..., :3]), ("wgpu", other[..., :3])):
        Image.fromarray(np.ascontiguousarray(pixels)).save(kept / f"{name}-{what}.png")
    Image.fromarray((difference * 255).astype(np.uint8)).save(kept / f"{name}-difference.png")


def test_three_hundred_frames_are_the_same_to_the_bit(device, repository):
    numpy, pixels, lit = NumpyBackend(), 0, 0
    for number, one in enumerate(frames(300)):
        expected = numpy.draw(one)
        drawn = device.draw(one)
        assert device.live_tiles == numpy.live_tiles
        if not np.array_equal(expected, drawn):
            keep_differences(repository, f"frame-{number}", expected, drawn)
            pytest.fail(f"frame {number} differs: see reports/parity")
        pixels += expected.size // 4
        lit += int((drawn.reshape(-1, 4).view(np.uint32) != one.lut[0]).sum())
    assert pixels > 5_000_000
    assert lit > pixels / 10


def test_what_is_alive_is_all_that_is_worked_for(device):
    one = next(frames(1))
    dark = replace(one, stars=plan.no_splats(), dust=plan.no_splats(), trails=[], overlays=[])
    for _ in range(2):
        device.draw(dark)
    assert device.live_tiles == 0
    assert device.timings.gpu == device.timings.upload == device.timings.readback == 0
    device.draw(replace(dark, stars=splats(np.random.default_rng(1), one.view, 3, 1, plan.stars)))
    assert device.live_tiles > 0
    assert min(device.timings) > 0


def test_an_adapter_is_found_by_a_part_of_its_name(device):
    name = device.adapter.split(" (")[0]
    other = WgpuBackend(name[1:5].upper())
    assert other.adapter == device.adapter
    other.close()
    with pytest.raises(BackendError, match=r"no adapter has 'quux' .* there is "):
        WgpuBackend("quux")


def test_a_device_that_is_lost_is_a_reason():
    backend = WgpuBackend()
    lit = (one for one in frames(60) if len(one.stars))
    backend.draw(next(lit))
    backend.close()
    with pytest.raises(BackendError) as caught:
        backend.draw(next(lit))
    assert "lost" in str(caught.value)
