"""Token buckets of the callers of a Varlink server."""

from geoosd.runtime.pace import MAX_PEERS, Paces


def test_a_burst_is_free_and_then_there_is_a_pace():
    paces = Paces(10.0, 3.0)
    assert [paces.spend(1, 0.0) for _ in range(3)] == [0.0, 0.0, 0.0]
    assert paces.spend(1, 0.0) == 0.1
    assert paces.spend(1, 0.1) == 0.1
    assert paces.spend(1, 10.0) == 0.0


def test_one_does_not_use_up_anothers():
    paces = Paces(1.0, 1.0)
    for _ in range(100):
        paces.spend(1, 0.0)
    assert paces.spend(2, 0.0) == 0.0


def test_the_number_of_peers_is_bounded():
    paces = Paces(1.0, 1.0)
    for peer in range(MAX_PEERS + 50):
        paces.spend(peer, 0.0)
    assert len(paces._buckets) == MAX_PEERS
    assert paces.spend(0, 0.0) == 0.0
