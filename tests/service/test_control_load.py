"""control asked by many at once: the daemons hear little of it, and no caller has it all."""

import json

import pytest
import trio
from test_control_service import control

from geoosd.control.adapters.answers import FRESH
from geoosd.errors import VarlinkError
from geoosd.runtime import varlink
from geoosd.wire import varlink as wire

CALL = wire.encode(wire.Call("io.geoos.Control.GetStatus"))


async def answers(stream, count):
    """*count* answers to calls that were sent before."""
    data = b""
    while data.count(0) < count:
        more = await stream.receive_some(1 << 20)
        assert more, data[-500:]
        data += more
    return [json.loads(each) for each in data.split(b"\0")[:count]]


async def test_many_questions_are_few_for_the_daemons(tmp_path, autojump_clock):
    async with control(tmp_path) as stage:
        bridge = stage.daemons["bridge"]
        asked = []
        original = bridge._GetStatus

        async def counted(call):
            asked.append(trio.current_time())
            return await original(call)

        bridge._GetStatus = counted
        await trio.sleep(0.5)
        before = len(asked)
        began = trio.current_time()
        streams = [await trio.open_unix_socket(str(stage.path)) for _ in range(20)]
        async with trio.open_nursery() as nursery:
            for stream in streams:
                await stream.send_all(CALL * 10)
            got = []

            async def read(stream):
                got.extend(await answers(stream, 10))

            for stream in streams:
                nursery.start_soon(read, stream)
        assert len(got) == 200
        assert all(len(each["parameters"]["daemons"]) == 4 for each in got)
        # Besides, control watches once a second and goes its rounds.
        assert len(asked) - before <= (trio.current_time() - began) / FRESH + 5
        for stream in streams:
            await stream.aclose()


async def test_one_process_is_held_back_beyond_its_pace(tmp_path, autojump_clock):
    async with control(tmp_path) as stage:
        stream = await trio.open_unix_socket(str(stage.path))
        began = trio.current_time()
        async with stream, trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, CALL * 1000)
            assert len(await answers(stream, 1000)) == 1000
        assert 0.9 <= trio.current_time() - began <= 2.0


async def test_one_process_cannot_have_every_connection(tmp_path, autojump_clock):
    async with control(tmp_path) as stage:
        await trio.sleep(1)
        streams = []
        for _ in range(200):
            streams.append(await trio.open_unix_socket(str(stage.path)))
            await streams[-1].send_all(CALL)
        (refused,) = await answers(streams[-1], 1)
        assert refused["error"] == wire.UNAVAILABLE
        assert "cannot serve more connections of process" in refused["parameters"]["reason"]
        with pytest.raises(VarlinkError, match="cannot serve more connections"):
            await varlink.call(stage.path, "io.geoos.Control.GetStatus")
        for stream in streams:
            await stream.aclose()
        with trio.fail_after(10):
            while True:
                try:
                    assert await varlink.call(stage.path, "io.geoos.Control.GetStatus")
                except VarlinkError:
                    await trio.sleep(0.1)
                else:
                    break


async def test_callers_that_vanish_before_their_answers_end_nothing(tmp_path):
    async with control(tmp_path) as stage:
        for _ in range(30):
            stream = await trio.open_unix_socket(str(stage.path))
            await stream.send_all(CALL * 30)
            await trio.aclose_forcefully(stream)
        assert len((await stage.call("GetStatus"))["daemons"]) == 4
