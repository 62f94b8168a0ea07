"""Whatever goes wrong with requests, the bridge keeps nothing of them.

The same over ten thousand requests, with memory: `make soak`.
"""

import pytest

from .leaking import CLIENTS, FaultyUpstream, add_closed_upstream, ask_many, held
from .stack import Stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


def test_three_hundred_requests_that_go_wrong_leave_nothing_open(tmp_path):
    with FaultyUpstream() as upstream:
        stack = Stack(tmp_path, engine=False, upstream=upstream.url)
        add_closed_upstream(stack.config)
        try:
            stack.start()
            stack.wait_for_model()
            asked = ask_many(stack, 100)
            before = held(stack, upstream)
            asked += ask_many(stack, 300, seed=1)
            after = held(stack, upstream)
        finally:
            stack.kill()
    # Idle connections to the upstream are kept, no more than were ever needed at once.
    assert after.upstream_connections <= CLIENTS + 2
    assert after.descriptors <= before.descriptors + CLIENTS
    assert after.threads <= before.threads + 2
    del asked["refused"]
    assert upstream.asked == asked  # no POST more, whatever failed
