"""Directed graphs of modules: strongly connected components, reach, shortest paths.

Nodes are 0 … n-1; ``edges[i]`` are the nodes that *i* imports. Components are Tarjan's (1972),
without recursion; reach is the visibility of MacCormack, Rusnak & Baldwin (Management
Science 52:7, 2006), in which each node reaches itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence

Edges = Sequence[Collection[int]]


def components(edges: Edges) -> list[list[int]]:
    """The strongly connected components, each after those that it leads to."""
    search = _Search(edges)
    for start in range(len(edges)):
        search.visit(start)
    return search.found


class _Search:
    """Tarjan's depth-first search with its own stack, since a chain of modules may be long."""

    def __init__(self, edges: Edges) -> None:
        self.found: list[list[int]] = []
        self._edges = edges
        self._order: dict[int, int] = {}
        self._lowest: dict[int, int] = {}
        self._open: list[int] = []
        self._is_open: set[int] = set()

    def visit(self, start: int) -> None:
        """Find all components that *start* leads to and that are not found yet."""
        if start in self._order:
            return
        work = [self._enter(start)]
        while work:
            node, targets = work[-1]
            fresh = self._next(node, targets)
            if fresh is not None:
                work.append(self._enter(fresh))
                continue
            work.pop()
            if work:
                above = work[-1][0]
                self._lowest[above] = min(self._lowest[above], self._lowest[node])
            if self._lowest[node] == self._order[node]:
                self._close(node)

    def _enter(self, node: int) -> tuple[int, Iterator[int]]:
        self._order[node] = self._lowest[node] = len(self._order)
        self._open.append(node)
        self._is_open.add(node)
        return node, iter(self._edges[node])

    def _next(self, node: int, targets: Iterator[int]) -> int | None:
        """The next target that was never entered."""
        for target in targets:
            if target not in self._order:
                return target
            if target in self._is_open:
                self._lowest[node] = min(self._lowest[node], self._order[target])
        return None

    def _close(self, node: int) -> None:
        component: list[int] = []
        while not component or component[-1] != node:
            component.append(self._open.pop())
        self._is_open.difference_update(component)
        self.found.append(component)


def reach(edges: Edges, ordered: Iterable[Sequence[int]]) -> list[int]:
    """For each node a bit set of the nodes that it leads to, itself included.

    *ordered* are the :func:`components` of *edges*; in reverse, they are those of the graph with
    every edge turned round.
    """
    sets = [0] * len(edges)
    for component in ordered:
        reached = 0
        for node in component:
            reached |= 1 << node
            for target in edges[node]:
                reached |= sets[target]
        for node in component:
            sets[node] = reached
    return sets


def reversed_edges(edges: Edges) -> list[set[int]]:
    """The same graph with every edge turned round."""
    turned: list[set[int]] = [set() for _ in edges]
    for source, targets in enumerate(edges):
        for target in targets:
            turned[target].add(source)
    return turned


def shortest_path(edges: Edges, starts: Iterable[int], goals: Collection[int]) -> list[int]:
    """A shortest path of at least one edge from one of *starts* to one of *goals*; [] if none.

    Nodes are tried in their order, so the same graph gives the same path.
    """
    queue = deque((start, [start]) for start in sorted(starts))
    seen: set[int] = set()
    while queue:
        node, path = queue.popleft()
        for target in sorted(edges[node]):
            if target in goals:
                return [*path, target]
            if target not in seen:
                seen.add(target)
                queue.append((target, [*path, target]))
    return []
