"""A minute of 5,000 tokens a second, and a thousand restarts.

`make soak`; what it found is in docs/measurements/soak.md.
"""

import os
import threading
import time

import pytest
import trio
from integration.compositor_process import (
    CompositorProcess,
    Producer,
    cpu_seconds,
    feed,
    resident_kib,
)
from service.test_compositor_service import World, place_some

from geoosd.wire.messages import Gap, TokenVisualizationUpdate

pytestmark = [pytest.mark.soak, pytest.mark.timeout(590)]
RATE = 5000
SECONDS = 60
TICK = 0.02


def token(n):
    return TokenVisualizationUpdate(
        f" word{n % 7919}",
        n,
        token_id=(n * 2654435761) % 50_021,
        activation=(n % 100) / 100,
        session=f"s{n % 8}",
        model=f"model-{n % 3}",
    )


def test_a_minute_of_5000_tokens_a_second_on_one_core_loses_nothing(tmp_path):
    """The producer keeps the pace whatever the compositor does; the consumer counts."""
    compositor = CompositorProcess(tmp_path, interval=10)
    compositor.start()
    os.sched_setaffinity(compositor.pid, {max(os.sched_getaffinity(0))})
    total, seen, gaps = RATE * SECONDS, [], []
    late = 0.0

    def consume():
        for message in feed(compositor):
            if isinstance(message.payload, TokenVisualizationUpdate):
                seen.append(message.payload.sequence_position)
            elif isinstance(message.payload, Gap):
                gaps.append(message.payload)
            if len(seen) == total:
                return

    consumer = threading.Thread(target=consume, daemon=True)
    consumer.start()
    producer = Producer(compositor.run_dir, "soak")
    pause = threading.Event()
    resident = []
    began, cpu = time.monotonic(), cpu_seconds(compositor.pid)
    each = int(RATE * TICK)
    for tick in range(total // each):
        producer.say(*(token(n) for n in range(tick * each, (tick + 1) * each)))
        due = began + (tick + 1) * TICK
        late = max(late, time.monotonic() - due)
        pause.wait(max(0.0, due - time.monotonic()))
        if (tick + 1) % (SECONDS * 5) == 0:
            resident.append(resident_kib(compositor.pid) / 1024)
    producer.wait_acknowledged()
    producer.close()
    consumer.join(30)
    seconds, cpu = time.monotonic() - began, cpu_seconds(compositor.pid) - cpu
    print(
        f"{total} tokens in {seconds:.1f} s, {cpu / seconds:.0%} of one core, "
        f"producer at most {late:.2f} s late; MB resident {[round(each) for each in resident]}"
    )
    try:
        assert seen == list(range(total))
        assert gaps == []
        # The ring fills (16 MiB) and the memory of places does; then nothing more is kept.
        assert resident[-1] <= resident[len(resident) // 2] + 4
    finally:
        compositor.stop()


async def test_a_thousand_restarts_move_no_token(tmp_path, nursery):
    """A thousand lives, one after the other, over one state directory."""
    world = World(tmp_path, nursery)
    first = None
    for life in range(1000):
        await world.start("bridge.record=full", "compositor.snapshot_interval=3600")
        places = await place_some(world)
        first = first or places
        assert places == first, life
        for peer in world.peers:
            await peer.stream.aclose()
        world.peers.clear()
        await world.stop()
        await trio.lowlevel.checkpoint()


def test_fifty_kills_move_no_token(tmp_path):
    compositor = CompositorProcess(tmp_path, interval=0.05)
    places = {}
    for life in range(50):
        compositor.start()
        producer = Producer(compositor.run_dir, f"p{life}")
        producer.say(*(token(n) for n in range(life * 100, life * 100 + 100)), token(0))
        producer.wait_acknowledged()
        count = 0
        for message in feed(compositor):
            if isinstance(message.payload, TokenVisualizationUpdate):
                each = message.payload
                place = each.district, each.cell
                assert places.setdefault((each.model, each.token_id), place) == place
                count += 1
                if count == 101:
                    break
        producer.close()
        compositor.stop(9)
    assert len(places) > 1000
