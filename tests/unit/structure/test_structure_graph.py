"""Components, reach and paths, beside a slow and simple way to find them."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from geoosd.structure.graph import components, reach, reversed_edges, shortest_path


@st.composite
def graphs(draw):
    count = draw(st.integers(0, 12))
    if not count:
        return []
    targets = st.sets(st.integers(0, count - 1), max_size=4)
    return draw(st.lists(targets, min_size=count, max_size=count))


def closure(edges):
    """What each node leads to, itself included, by trying until nothing is added."""
    found = [{index, *targets} for index, targets in enumerate(edges)]
    while True:
        wider = [set().union(*(found[each] for each in reached)) for reached in found]
        if wider == found:
            return found
        found = wider


@given(graphs())
def test_reach(edges):
    bits = [
        {at for at in range(len(edges)) if each >> at & 1}
        for each in reach(edges, components(edges))
    ]
    assert bits == closure(edges)


@given(graphs())
def test_reach_the_other_way(edges):
    turned = reversed_edges(edges)
    assert reach(turned, components(edges)[::-1]) == reach(turned, components(turned))


@given(graphs())
def test_components(edges):
    reached = closure(edges)
    expected = {
        frozenset(other for other in reached[node] if node in reached[other])
        for node in range(len(edges))
    }
    found = components(edges)
    assert {frozenset(each) for each in found} == expected
    assert sum(len(each) for each in found) == len(edges)
    place = {node: at for at, members in enumerate(found) for node in members}
    assert all(place[target] <= place[node] for node, each in enumerate(edges) for target in each)


@given(graphs())
def test_reversed(edges):
    turned = reversed_edges(edges)
    assert all(node in turned[target] for node, each in enumerate(edges) for target in each)
    assert sum(map(len, turned)) == sum(map(len, edges))


@given(graphs(), st.data())
def test_paths(edges, data):
    nodes = st.sets(st.integers(0, max(0, len(edges) - 1)), max_size=3) if edges else st.just(set())
    starts, goals = data.draw(nodes), data.draw(nodes)
    path = shortest_path(edges, starts, goals)
    reached = closure(edges)
    if path:
        assert path[0] in starts
        assert path[-1] in goals
        assert len(path) > 1
        assert all(b in edges[a] for a, b in pairwise(path))
    else:
        assert not any(reached[target] & goals for start in starts for target in edges[start])


def test_a_shortest_path():
    edges = [{1, 3}, {2}, {4}, {4}, {0}]
    assert shortest_path(edges, {0}, {4}) == [0, 3, 4]
    assert shortest_path(edges, {0}, {0}) == [0, 3, 4, 0]
    assert shortest_path(edges, set(), {0}) == []


def test_a_long_chain_needs_no_recursion():
    edges = [{index + 1} for index in range(20_000)] + [set()]
    assert len(components(edges)) == 20_001
