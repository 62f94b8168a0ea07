"""Pictures from the feed to viewers and to /stream.mjpg, and the demand for them upstream."""

import struct

import httpx
import trio
from broadcaster_wire import BINARY, TEXT, UPGRADE, frame, raw_viewer
from test_broadcaster_http import client
from test_broadcaster_viewers import TOKEN, standing, watching

from geoosd.wire.messages import Demand
from geoosd.wire.pictures import VIEWS, Picture, encode_picture

FRAMES = UPGRADE.replace(b"channels=canary", b"channels=frames,tokens&tick=0")
MEMORY = FRAMES.replace(b"&tick=0", b"&tick=0&view=memory")


def picture(seq, size=1000, view=0):
    return (
        struct.pack("<BBHHHQ", 1, 1, 64, 32, view, seq) + b"\xff\xd8" + b"%8d" % seq + b"j" * size
    )


async def next_picture(viewer):
    while True:
        opcode, payload = await viewer.next()
        if opcode == BINARY:
            return payload


async def until(stream, end):
    got = b""
    with trio.fail_after(5):
        while not got.endswith(end):
            got += await stream.receive_some()
    return got


async def test_frames_are_passed_on_as_they_came(tmp_path):
    async with standing(tmp_path) as stand, watching(stand) as other:
        await other.take(2)
        assert not stand.feed.demand.frames
        async with raw_viewer(stand.port, FRAMES) as one, raw_viewer(stand.port, FRAMES) as two:
            await stand.until(lambda: stand.feed.demand.frames)
            for seq in range(1, 20):
                await stand.feed.show(picture(seq))
                for viewer in (one, two):
                    assert await next_picture(viewer) == picture(seq)
            await stand.feed.say(TOKEN)
            opcode, payload = await one.next()
            assert opcode == TEXT
            assert b'"seq":1' in payload
            async with raw_viewer(stand.port, FRAMES) as late:
                assert await next_picture(late) == picture(19)
        await stand.until(lambda: not stand.feed.demand.frames)
        assert (await other.next())["seq"] == 1


async def test_two_viewers_may_look_at_different_views(tmp_path):
    async with standing(tmp_path) as stand, raw_viewer(stand.port, FRAMES) as one:
        memory, layers = VIEWS.index("memory"), VIEWS.index("layers")
        async with raw_viewer(stand.port, MEMORY) as two:
            await stand.until(lambda: stand.feed.demand == Demand(frames=True, views=["memory"]))
            await stand.feed.show(picture(1))
            await stand.feed.show(picture(2, view=memory))
            assert await next_picture(one) == picture(1)
            assert await next_picture(two) == picture(2, view=memory)
            await two.send(frame(TEXT, b'{"message_type":"Subscribe","payload":{"view":"layers"}}'))
            await stand.until(lambda: stand.feed.demand == Demand(frames=True, views=["layers"]))
            await stand.feed.show(picture(3, view=memory))
            await stand.feed.show(picture(4, view=layers))
            assert await next_picture(two) == picture(4, view=layers)
        await stand.until(lambda: stand.feed.demand == Demand(frames=True))


async def test_demand_is_said_again_to_a_compositor_that_came_back(tmp_path):
    async with standing(tmp_path) as stand, raw_viewer(stand.port, FRAMES):
        await stand.until(lambda: stand.feed.demand.frames)
        stand.feed.demand = Demand()
        stand.feed.cut()
        await stand.until(lambda: stand.feed.demand.frames)
        stand.feed.demand = Demand()
        stand.feed.restart("e2")
        await stand.until(lambda: stand.feed.demand.frames)


async def test_a_slow_viewer_skips_pictures_but_no_message(tmp_path):
    async with standing(tmp_path) as stand, raw_viewer(stand.port, FRAMES) as slow:
        await stand.until(lambda: stand.feed.demand.frames)
        for seq in range(1, 101):
            await stand.feed.show(picture(seq, 200_000))
            await stand.feed.say(TOKEN)
        await stand.until(lambda: stand.service.feed.pictures == 100)
        shown, said = [], []
        with trio.fail_after(20):
            while len(said) < 100 or not shown or shown[-1] != 100:
                opcode, payload = await slow.next()
                if opcode == BINARY:
                    shown.append(int.from_bytes(payload[8:16], "little"))
                elif b'"seq":' in payload and b'"TokenV' in payload:
                    said.append(payload)
        assert shown == sorted(set(shown))
        assert len(said) == 100
        assert len(shown) < 100


async def test_bad_pictures_end_nothing(tmp_path):
    async with standing(tmp_path) as stand, raw_viewer(stand.port, FRAMES) as viewer:
        await stand.until(lambda: stand.feed.demand.frames)
        for bad in (b"", b"short", b"\0" * 100):
            await stand.feed.show(bad)
        await stand.feed.show(picture(1))
        assert await next_picture(viewer) == picture(1)
        assert stand.service.feed.refused == 3


async def test_mjpeg(tmp_path):
    async with standing(tmp_path) as stand, client(stand) as http:
        head = await http.head("/stream.mjpg")
        assert head.headers["content-type"] == "multipart/x-mixed-replace; boundary=geoos"
        assert not stand.feed.demand.frames
        assert (await http.get("/stream.mjpg?fps=0")).status_code == 400
        assert (await http.get("/stream.mjpg?size=1")).status_code == 400
        one, two = [await trio.open_tcp_stream("127.0.0.1", stand.port) for _ in range(2)]
        async with one, two:
            for stream in (one, two):
                await stream.send_all(
                    b"GET /stream.mjpg?fps=60 HTTP/1.0\r\nHost: localhost\r\n\r\n"
                )
                assert (await until(stream, b"--geoos\r\n")).startswith(b"HTTP/1.1 200")
            mjpeg = stand.service.mjpegs["activation"]
            await stand.until(lambda: stand.feed.demand.frames and mjpeg.clients == 2)
            for seq in (1, 2, 3):
                await stand.feed.show(picture(seq))
                for stream in (one, two):
                    part = await until(stream, b"j\r\n--geoos\r\n")
                    head = b"Content-Type: image/jpeg\r\nContent-Length: 1010\r\n\r\n"
                    assert part == head + picture(seq)[16:] + b"\r\n--geoos\r\n"
        await stand.until(lambda: not stand.feed.demand.frames)
        assert stand.service.mjpegs["activation"].clients == 0


async def test_mjpeg_of_another_view_is_demanded_and_sent_to_those_who_asked(tmp_path):
    async with standing(tmp_path) as stand, client(stand) as http:
        refused = await http.get("/stream.mjpg?view=inside")
        assert refused.status_code == 400
        assert "there are activation, memory, confidence" in refused.text
        stream = await trio.open_tcp_stream("127.0.0.1", stand.port)
        async with stream:
            await stream.send_all(
                b"GET /stream.mjpg?fps=60&view=layers HTTP/1.0\r\nHost: localhost\r\n\r\n"
            )
            await until(stream, b"--geoos\r\n")
            await stand.until(lambda: stand.feed.demand == Demand(views=["layers"]))
            shown = encode_picture(Picture(64, 32, 9, b"\xff\xd8layers", VIEWS.index("layers")))
            unknown = encode_picture(Picture(64, 32, 9, b"\xff\xd8later", len(VIEWS)))
            for each in (picture(8), unknown, shown):
                await stand.feed.show(each)
            assert b"layers" in await until(stream, b"--geoos\r\n")
        await stand.until(lambda: stand.feed.demand == Demand())


async def test_a_demand_that_waits_while_the_feed_ends_harms_nothing(tmp_path):
    async with standing(tmp_path) as stand:
        feed = stand.service.feed
        await stand.until(lambda: feed.link.connected)
        async with feed._sending:
            feed.want_pictures(True)
            await stand.until(lambda: feed._sending.statistics().tasks_waiting == 1)
            stand.feed.cut()
            await stand.until(lambda: feed._stream is None)
        await stand.until(lambda: stand.feed.demand.frames)


async def test_mjpeg_ends_with_the_service(tmp_path):
    async with standing(tmp_path) as stand, httpx.AsyncClient() as http:
        url = f"http://127.0.0.1:{stand.port}/stream.mjpg"
        async with http.stream("GET", url):
            await stand.until(lambda: stand.service.mjpegs["activation"].clients == 1)
            stand.runtime.draining.set()
            await stand.until(lambda: stand.service.mjpegs["activation"].clients == 0)
