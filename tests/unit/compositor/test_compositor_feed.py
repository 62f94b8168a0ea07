"""What the service may expect of whatever carries the feed; every adapter is put into the list."""

import pytest

from geoosd.compositor.adapters.feed import SocketFeed
from geoosd.compositor.core.feed import Feed
from geoosd.wire.messages import Canary, SessionEnded, Snapshot, TokenVisualizationUpdate
from geoosd.wire.pictures import Picture


def over_a_socket():
    return SocketFeed(
        "e1",
        snapshot=lambda seq: Snapshot(seq, [], [], ""),
        theme=lambda: None,
        now=lambda: 0.0,
        on_demand=lambda _demand: None,
        listen=lambda: None,
        count=3,
    )


@pytest.fixture(params=[over_a_socket])
def feed(request) -> Feed:
    return request.param()


def test_every_message_has_the_next_number(feed):
    assert (feed.epoch, feed.newest) == ("e1", 0)
    for payload in (TokenVisualizationUpdate("a", 0), Canary("c", {}), SessionEnded("s")):
        before = feed.newest
        feed.publish(payload, 1.0)
        feed.wake()
        assert feed.newest == before + 1


def test_the_newest_stay_within_bounds_and_loss_is_counted(feed):
    for position in range(5):
        feed.publish(TokenVisualizationUpdate("a", position), 1.0)
    kept, *others = feed.queues()
    assert (kept.depth, kept.capacity, kept.dropped) == (3, 3, 2)
    assert others == []


def test_a_picture_that_nobody_watches_is_nobody_s(feed):
    assert (feed.views, feed.consumers, feed.errors) == ([], 0, 0)
    feed.show(Picture(16, 16, 0, b"", 0))
    assert feed.newest == 0
