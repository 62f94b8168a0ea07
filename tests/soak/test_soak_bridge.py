"""Ten thousand requests that succeed and fail in every way: the bridge holds no more than before.

`make soak`; what it found is in docs/measurements/soak.md.
"""

import pytest
from integration.leaking import CLIENTS, FaultyUpstream, add_closed_upstream, ask_many, held
from integration.stack import Stack

pytestmark = [pytest.mark.soak, pytest.mark.timeout(590)]
ROUND = 1000
ROUNDS = 10


def test_ten_thousand_requests_leak_nothing(tmp_path):
    with FaultyUpstream() as upstream:
        stack = Stack(tmp_path, engine=False, upstream=upstream.url)
        add_closed_upstream(stack.config)
        try:
            stack.start()
            stack.wait_for_model()
            found = []
            for number in range(1 + ROUNDS):  # the first round warms up
                ask_many(stack, ROUND, seed=number)
                found.append(held(stack, upstream))
                print(f"{(number + 1) * ROUND:6} {found[-1]}", flush=True)
        finally:
            stack.kill()
    warm, last = found[0], found[-1]
    assert last.upstream_connections <= CLIENTS + 2
    assert last.descriptors <= warm.descriptors + CLIENTS
    assert last.threads <= warm.threads + 2
    # A kilobyte for each request would be 10 MB.
    assert last.resident_mb <= warm.resident_mb + 8
