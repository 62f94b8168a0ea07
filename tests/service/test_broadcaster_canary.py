"""The viewer that is kept for canaries: they come through, and nobody else notices it."""

import trio
from test_broadcaster_viewers import standing

from geoosd.wire import messages
from geoosd.wire.messages import Canary


async def fly(stand, id_, hops):
    """A canary as the compositor passes it on: without a number."""
    data = messages.encode(Canary(id_, hops), 1.0)
    for stream in list(stand.feed._streams):
        await stand.feed._send(stream, data)


async def health(stand, wanted):
    """The finding, once it says *wanted*."""
    await stand.until(lambda: wanted in stand.service.canary.probe()[1])
    return stand.service.canary.probe()


async def test_a_canary_comes_through_with_its_time_at_every_hop(tmp_path):
    async with standing(tmp_path) as stand:
        await health(stand, "waits for the first canary")
        now = stand.service._runtime.now()
        with trio.fail_after(10):
            while stand.service.canary.watch.last is None:
                await fly(stand, "c1", {"bridge": now - 2.0, "compositor": now - 0.5})
                await trio.sleep(0.05)
        last = stand.service.canary.watch.last
        assert last.id == "c1"
        assert last.legs["compositor"] == 1.5
        assert 0.5 <= last.legs["broadcaster"] < 10
        assert 0 <= last.legs["viewer"] < 10
        found = await health(stand, "s from the bridge to a viewer")
        assert found[0] == "warning"
        text = stand.service._runtime.registry.get_sample_value(
            "geoos_canary_seconds_count", {"hop": "total"}
        )
        assert text >= 1


async def test_nobody_is_shown_the_viewer_that_is_kept_for_canaries(tmp_path):
    async with standing(tmp_path, "broadcaster.max_viewers=1") as stand:
        await health(stand, "waits for the first canary")
        assert len(stand.service.fanout) == 0
        assert stand.service.report().status == "0 viewers"
        assert (await stand.get("io.geoos.Broadcaster.ListViewers")) == {"viewers": []}


async def test_a_new_epoch_does_not_end_it(tmp_path):
    async with standing(tmp_path) as stand:
        await health(stand, "waits for the first canary")
        stand.feed.restart("e2")
        await stand.until(lambda: stand.service.hub.epoch == "e2")
        now = stand.service._runtime.now()
        with trio.fail_after(10):
            while stand.service.canary.watch.last is None:
                await fly(stand, "c2", {"bridge": now, "compositor": now})
                await trio.sleep(0.05)
