"""The Hilbert map: points per CPU-second, both ways, against the packages on PyPI.

At order 10 (a district) and at order 31 (the largest). The curves differ by a reflection at most;
that every package's own round trip holds, and that neighbouring indices are neighbouring cells, is
asserted first.

hilbertsfc is compiled by Numba and needs Python 3.12 (all its versions say so), so on Debian 12 it
is skipped; it is given one thread, as the others are. No target is set against it: geoos asks for
some thousands of points a picture, and Numba would cost 200 MB to install.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
from measure import Pace, Result, Skipped, Turn, alternate, at_least, cpu_rate, ratio

from geoosd.compositor.core import hilbert

NAME = "hilbert"
_ARRAY = 8192
"""Points in one call: the cells of a picture, and enough for both NumPy packages to be at their
best; more no longer fit the caches."""
_LOOP = 512
"""The same for a package that loops in Python: more make no difference."""

ToCells = Callable[[Any], Any]
"""Indices to cells as an array of shape (n, 2); and back."""


def our_maps(order: int) -> tuple[ToCells, ToCells]:
    return (
        lambda indices: np.stack(hilbert.cells_at(indices, order), axis=1),
        lambda cells: hilbert.indices_of(cells[:, 0], cells[:, 1], order),
    )


def numpy_hilbert_curve_maps(order: int) -> tuple[ToCells, ToCells]:
    module = import_module("hilbert")
    return (
        lambda indices: module.decode(indices, 2, order),
        lambda cells: module.encode(cells, 2, order),
    )


def hilbertcurve_maps(order: int) -> tuple[ToCells, ToCells]:
    curve = import_module("hilbertcurve.hilbertcurve").HilbertCurve(order, 2)
    return (
        lambda indices: np.array(curve.points_from_distances(indices)),
        lambda cells: np.array(curve.distances_from_points(cells)),
    )


def hilbertsfc_maps(order: int) -> tuple[ToCells, ToCells]:
    module = import_module("hilbertsfc")
    return (
        lambda indices: np.stack(module.hilbert_decode_2d(indices, nbits=order), axis=1),
        lambda cells: module.hilbert_encode_2d(cells[:, 0], cells[:, 1], nbits=order),
    )


def check(maps: tuple[ToCells, ToCells], order: int) -> None:
    """A package does what it says, so that the comparison is of like with like."""
    to_cells, to_indices = maps
    first = np.arange(1 << 8, dtype=np.uint64) + np.uint64((1 << 2 * order) // 3)
    cells = to_cells(first)
    assert (np.asarray(to_indices(cells)).astype(np.uint64) == first).all()
    steps = np.abs(np.diff(np.asarray(cells).astype(np.int64), axis=0)).sum(axis=1)
    assert (steps == 1).all()


def _turn(work: Callable[[Any], Any], argument: Any, seconds: float) -> Turn:
    def once() -> int:
        work(argument)
        return len(argument)

    return partial(cpu_rate, once, seconds)


PEERS = {
    "numpy-hilbert-curve": (numpy_hilbert_curve_maps, _ARRAY, 100.0),
    "hilbertcurve": (hilbertcurve_maps, _LOOP, None),
    "hilbertsfc": (hilbertsfc_maps, _ARRAY, None),
}


_ONLY_ON = {"hilbertsfc": " on Python 3.12 and newer"}


def run(pace: Pace) -> Iterator[Result]:
    """Against whichever peers are installed."""
    contestants: dict[str, tuple[Callable[[int], tuple[ToCells, ToCells]], int]] = {
        "ours": (our_maps, _ARRAY)
    }
    for name, (maps, count, _) in PEERS.items():
        try:
            check(maps(10), 10)
        except ImportError as error:
            where = _ONLY_ON.get(name, "")
            reason = f"cannot import {error.name}: make bench installs it{where}"
            yield Skipped(f"{NAME}: {name}", reason)
        else:
            contestants[name] = maps, count
    for order in (10, 31):
        yield from _at_order(order, contestants, pace)


def _at_order(
    order: int,
    contestants: dict[str, tuple[Callable[[int], tuple[ToCells, ToCells]], int]],
    pace: Pace,
) -> Iterator[Result]:
    random = np.random.default_rng(1)
    turns: dict[str, dict[str, Turn]] = {"index to cell": {}, "cell to index": {}}
    for name, (maps, count) in contestants.items():
        to_cells, to_indices = maps(order)
        check((to_cells, to_indices), order)
        indices = random.integers(0, 1 << 2 * order, count, dtype=np.uint64)
        cells = to_cells(indices)
        # hilbertcurve is a loop in Python: Python's own integers are what it is fastest with.
        if name == "hilbertcurve":
            indices, cells = indices.tolist(), cells.tolist()
        turns["index to cell"][name] = _turn(to_cells, indices, pace.seconds / 4)
        turns["cell to index"][name] = _turn(to_indices, cells, pace.seconds / 4)
    for direction, each in turns.items():
        measured = alternate(each, pace.rounds)
        for name in list(each)[1:]:
            bound = PEERS[name][2]
            yield ratio(
                f"{NAME}, order {order}, {direction}: {name}",
                "/s",
                measured["ours"],
                measured[name],
                "higher",
                at_least(bound) if bound else None,
            )
