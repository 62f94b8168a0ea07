"""Which backend draws: promotion, demotion, and that no picture is lost by either."""

import itertools
import threading
from dataclasses import replace

import numpy as np
import pytest
import trio
from test_compositor_frames import next_picture
from test_compositor_service import world  # noqa: F401

from geoosd import config
from geoosd.compositor.adapters import backends, render_wgpu
from geoosd.compositor.adapters.backends import MARK, Backends, without
from geoosd.compositor.adapters.draw_thread import DrawThread
from geoosd.compositor.adapters.gpu_probe import Finding
from geoosd.compositor.adapters.render_numpy import NumpyBackend, render
from geoosd.compositor.adapters.trial import session, trial_plan
from geoosd.compositor.core.plan import BackendError
from geoosd.runtime import logs
from geoosd.wire.messages import (
    Demand,
    ProducerHello,
    Snapshot,
    SnapshotRequest,
    TokenVisualizationUpdate,
)

RADEON = Finding("Radeon", "DiscreteGPU", "Vulkan")
LAVAPIPE = Finding("llvmpipe", "CPU", "Vulkan")
NOTHING = Finding(reason="no Vulkan")


class Gpu(NumpyBackend):
    """Draws like a GPU that is all right, until it fails as a test wants."""

    name = "wgpu"
    adapter = "Radeon (DiscreteGPU, Vulkan)"

    def __init__(self):
        super().__init__()
        self.fails = self.wrong = False
        self.hangs = None
        self.threads = set()
        self.closed = False

    def draw(self, plan):
        self.threads.add(threading.current_thread().name)
        if self.fails:
            raise BackendError("Parent device is lost")
        if self.hangs is not None:
            self.hangs.wait()
        picture = super().draw(plan)
        return picture + 1 if self.wrong else picture

    def close(self):
        self.closed = True


class Stage:
    """Backends over a GPU of the test's making."""

    def __init__(self, state_dir, found, book):
        self.state_dir = state_dir
        self.gpu = Gpu()
        self.opened = []
        self.wanted = []
        self.found = found
        self.logs = book
        self.backends = Backends(book.logger(), probe=self.probe, open_gpu=self.open)

    async def probe(self, adapter):
        self.wanted.append(adapter)
        return self.found

    def open(self, adapter):
        self.opened.append(adapter)
        if isinstance(self.gpu, Exception):
            raise self.gpu
        return self.gpu

    async def seek(self, *overrides):
        settings = config.load(None, overrides).compositor
        await self.backends.seek(settings, self.state_dir)

    async def draw(self, plan):
        return await self.backends.draw(lambda backend: backend.draw(plan).copy())

    @property
    def marked(self):
        return (self.state_dir / MARK).exists()


@pytest.fixture
async def stage(tmp_path):
    with logs.unconfigured("compositor") as book:
        made = Stage(tmp_path, RADEON, book)
        yield made
        await made.backends.close()


def other_plan():
    return replace(trial_plan(), star_scale=20_000)


async def test_numpy_draws_until_a_gpu_has_proved_fit(stage):
    plan = other_plan()
    assert (await stage.draw(plan) == render(plan)).all()
    assert (stage.backends.name, stage.marked) == ("numpy", False)
    await stage.seek("compositor.adapter=Rad")
    assert (stage.wanted, stage.opened) == (["Rad"], ["Rad"])
    assert (stage.backends.name, stage.marked) == ("wgpu", True)
    assert stage.backends.adapter == stage.gpu.adapter
    assert (await stage.draw(plan) == render(plan)).all()
    assert stage.gpu.threads == {"geoos-draw"}
    assert stage.backends.health()[0] == "healthy"
    await stage.backends.close()
    assert (stage.gpu.closed, stage.marked) == (True, False)


@pytest.mark.parametrize(
    ("found", "override", "verdict"),
    [
        (LAVAPIPE, "auto", "healthy"),
        (NOTHING, "auto", "healthy"),
        (NOTHING, "wgpu", "warning"),
        (RADEON, "numpy", "healthy"),
    ],
)
async def test_what_is_not_fit_is_not_opened(stage, found, override, verdict):
    stage.found = found
    await stage.seek(f"compositor.backend={override}")
    assert (stage.opened, stage.backends.name) == ([], "numpy")
    assert stage.backends.health()[0] == verdict
    assert bool(stage.wanted) is (override != "numpy")


async def test_software_is_used_where_it_is_asked_for(stage):
    stage.found = LAVAPIPE
    await stage.seek("compositor.backend=wgpu")
    assert (stage.opened, stage.backends.name) == ([""], "wgpu")


async def test_a_gpu_that_fails_loses_no_picture(stage):
    await stage.seek()
    stage.gpu.fails = True
    plan = other_plan()
    for _ in range(2):
        assert (await stage.draw(plan) == render(plan)).all()
    verdict, summary, remedy = stage.backends.health()
    assert (verdict, stage.backends.demotions, stage.marked) == ("warning", 1, False)
    assert "Parent device is lost" in summary
    assert "geoosctl restart compositor" in remedy
    told, _ = stage.logs.ring.newest(9, lambda record: record.level == "warning")
    assert [record.error for record in told] == ["Parent device is lost"]


async def test_a_gpu_that_hangs_is_given_up(stage, monkeypatch):
    await stage.seek()
    monkeypatch.setattr(backends, "PATIENCE", 0.2)
    stage.gpu.hangs = threading.Event()
    plan = other_plan()
    try:
        with trio.fail_after(10):
            assert (await stage.draw(plan) == render(plan)).all()
            assert (await stage.draw(plan) == render(plan)).all()
    finally:
        stage.gpu.hangs.set()
    assert "no picture within" in stage.backends.health()[1]


@pytest.mark.parametrize("trouble", ["wrong", "fails", "does not open"])
async def test_a_gpu_that_fails_its_trial_never_draws(stage, trouble):
    if trouble == "does not open":
        stage.gpu = BackendError("no memory")
    else:
        setattr(stage.gpu, trouble, True)
    await stage.seek()
    assert (stage.backends.name, stage.marked) == ("numpy", False)
    assert stage.backends.health()[0] == "warning"


async def test_who_is_stopped_while_a_gpu_opens_leaves_no_mark(stage):
    stage.gpu.hangs = threading.Event()
    try:
        with trio.move_on_after(0.2) as stopped:
            await stage.seek()
        assert stopped.cancelled_caught
        assert (stage.backends.name, stage.marked) == ("numpy", False)
        assert stage.backends.demotions == 0
    finally:
        stage.gpu.hangs.set()


async def test_a_mark_that_cannot_be_made_keeps_nobody_from_drawing(stage):
    stage.state_dir = stage.state_dir / "missing"
    await stage.seek()
    assert stage.backends.name == "wgpu"


async def test_after_a_run_that_the_driver_ended_the_gpu_is_left_alone_once(stage):
    (stage.state_dir / MARK).touch()
    await stage.seek()
    assert (stage.opened, stage.marked) == ([], False)
    verdict, summary, _remedy = stage.backends.health()
    assert (verdict, "ended abruptly" in summary) == ("warning", True)


@pytest.mark.parametrize(("backend", "verdict"), [("auto", "healthy"), ("wgpu", "warning")])
def test_a_gpu_out_of_reach_is_told_with_the_drop_in(backend, verdict):
    settings = config.load(None, [f"compositor.backend={backend}"]).compositor
    hidden = "/dev/dri/renderD128 is hidden from this service"
    said, summary, remedy = without(settings, NOTHING, hidden)
    assert said == verdict
    assert hidden in summary
    assert "gpu.conf" in summary
    assert "geoos-compositor.service.d" in remedy


async def test_work_is_done_in_order_and_raises_where_it_was_asked_for():
    thread = DrawThread(NumpyBackend)
    with pytest.raises(ZeroDivisionError):
        await thread.do(lambda backend: 1 / 0)
    order, gate = [], threading.Event()
    with trio.move_on_after(0.05) as cancelled:
        await thread.do(lambda backend: (gate.wait(), order.append("given up")))
    assert cancelled.cancelled_caught
    gate.set()
    assert await thread.do(lambda backend: order.append("next") or backend.name) == "numpy"
    assert order == ["given up", "next"]
    await thread.close()


# -- a real device -----------------------------------------------------------------------------


@pytest.fixture
def devices(monkeypatch):
    """The wgpu backends that are opened: real ones."""
    opened = []

    class Seen(render_wgpu.WgpuBackend):
        def __init__(self, adapter=""):
            super().__init__(adapter)
            opened.append(self)

    monkeypatch.setattr(render_wgpu, "WgpuBackend", Seen)
    return opened


@pytest.mark.gpu
@pytest.mark.slow
async def test_a_device_that_is_lost_in_the_middle_loses_no_frame(tmp_path, devices):
    with logs.unconfigured("compositor") as book:
        made = Backends(book.logger())
        settings = config.load(None, ["compositor.backend=wgpu"]).compositor
        await made.seek(settings, tmp_path)
        assert made.name == "wgpu", made.health()
        plans = session(17, 320, 200)
        for number in range(6):
            if number == 3:
                devices[0]._device.destroy()
            plan = next(plans)
            drawn = await made.draw(lambda backend, plan=plan: backend.draw(plan).copy())
            assert np.array_equal(drawn, render(plan))
        assert (made.name, made.demotions) == ("numpy", 1)
        assert "lost" in made.health()[1]
        await made.close()


@pytest.mark.gpu
@pytest.mark.slow
async def test_who_watches_does_not_see_the_device_go(world, devices):  # noqa: F811
    await world.start("compositor.backend=wgpu", "compositor.fps=60")
    producer = await world.connect("ingest.sock")
    await producer.say(ProducerHello("p", 1))
    watcher, _ = await world.consumer("newest")
    await watcher.say(Demand(frames=True))
    sequence = itertools.count(1)

    async def seen_with(backend):
        """Say a token, see it in a frame, until *backend* draws."""
        while True:
            n = next(sequence)
            await producer.say(TokenVisualizationUpdate("a", n, token_id=n, model="m"), n=n)
            while (await next_picture(watcher)).seq < n:
                pass
            status = (await world.call("io.geoos.Daemon.GetStatus"))["status"]
            if status["details"]["backend"] == backend:
                assert f"draws with {backend} on {status['details']['adapter']}" in status["status"]
                assert status["details"]["frame_ms"] in status["status"]
                assert status["rates"]["frames"] > 0
                return status["details"]

    with trio.fail_after(60):
        details = await seen_with("wgpu")
        assert details["adapter"] == devices[0].adapter
        before = await world.call("io.geoos.Compositor.Render", {"width": 64, "height": 64})
        devices[0]._device.destroy()
        details = await seen_with("numpy")
    assert details["gpu_failures"] == "1"
    assert int(details["live_tiles"]) > 0
    assert before["media_type"] == "image/png"
    metrics = (await world.call("io.geoos.Daemon.GetMetrics"))["text"]
    for stage in ("cpu", "upload", "gpu", "readback", "encode", "frame"):
        assert f'geoos_compositor_frame_seconds{{quantile="0.95",stage="{stage}"}}' in metrics
        assert f"{stage} " in details["frame_ms"]
    assert 'geoos_compositor_backend_info{adapter="CPU",backend="numpy"} 1.0' in metrics
    checks = (await world.call("io.geoos.Daemon.GetHealth"))["checks"]
    (drawing,) = (check for check in checks if check["name"] == "drawing")
    assert drawing["status"] == "warning"
    # Nothing of the state was on the device.
    late, _ = await world.consumer("newest")
    await late.say(SnapshotRequest())
    snapshot = await late.expect(Snapshot)
    assert len(snapshot.tokens) == next(sequence) - 1
    await world.stop()
