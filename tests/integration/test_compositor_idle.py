"""A real compositor with nothing to do: no frame, and next to no CPU time."""

import contextlib
import time

import pytest

from geoosd.wire import framing
from geoosd.wire.messages import Demand, FeedRequest, TokenVisualizationUpdate, encode

from .compositor_process import CompositorProcess, Producer, cpu_seconds

QUIET = 1.5
"""Seconds of looking."""
SHARE = 0.05
"""Of a core, at most: thirty small frames a second alone would take more."""


@pytest.fixture
def compositor(tmp_path):
    made = CompositorProcess(tmp_path)
    made.config.write_text(made.config.read_text() + "decay_seconds = 0.1\n")
    made.start()
    yield made
    made.stop()


def tokens(count):
    return [TokenVisualizationUpdate("a", n, token_id=n * 97, model="m") for n in range(count)]


def is_silent(feed, decoder):
    """Whether no picture comes for QUIET seconds; messages are passed over."""
    deadline = time.monotonic() + QUIET
    with contextlib.suppress(TimeoutError):
        while (left := deadline - time.monotonic()) > 0:
            feed.settimeout(left)
            chunk = feed.recv(1 << 18)
            assert chunk, "the feed ended"
            if any(frame[0] == framing.KIND_PICTURE for frame in decoder.receive(chunk)):
                return False
    return True


@pytest.mark.parametrize("watched", [False, True])
def test_when_all_has_faded_nothing_is_drawn_and_no_time_is_used(compositor, watched):
    with contextlib.ExitStack() as stack:
        feed = stack.enter_context(contextlib.closing(compositor.connect("feed.sock")))
        for request in (FeedRequest("newest"), Demand(frames=watched)):
            feed.sendall(framing.encode_feed_frame(framing.KIND_JSON, encode(request, 1.0)))
        decoder = framing.FrameDecoder(framing.MAX_FEED_FRAME)
        producer = Producer(compositor.run_dir, "p")
        stack.callback(producer.close)
        producer.say(*tokens(500))
        producer.wait_acknowledged()
        assert is_silent(feed, decoder) != watched
        deadline = time.monotonic() + 60  # an afterglow of a second or two
        while True:
            before = cpu_seconds(compositor.pid)
            if is_silent(feed, decoder):
                break
            assert time.monotonic() < deadline, "frames of a still map"
        assert cpu_seconds(compositor.pid) - before <= SHARE * QUIET
