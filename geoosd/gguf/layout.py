"""Places that mean something: token ids in an order in which neighbours mean similar things.

A balanced bisection: all tokens are cut into two halves of equal size across the direction in which
their embeddings differ most, each half again, and so on; each pair of halves is turned so that what
touches is what is closer. The rank of a token in that order is its index on the Hilbert curve,
which keeps neighbours in the order neighbours in the square. (Principal direction divisive
partitioning: Boley 1998; measured for this purpose: 8.7 % of a word's true ten nearest neighbours
lie within 8 cells, by id 0.3 %.)

Deterministic for one version of NumPy and its BLAS; that is why a layout is built once and kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from geoosd.gguf.tensor import Floats

Ranks: TypeAlias = npt.NDArray[np.int32]

DIMENSIONS: Final = 96
"""Principal components that are kept; they hold most of the variance of word embeddings."""

LEAF: Final = 4
_ITERATIONS: Final = 6
_SAMPLE: Final = 20_000

Told = Callable[[float], None]
"""Hears of progress, 0 to 1."""


def build(chunks: Callable[[], Iterable[Floats]], told: Told = lambda _part: None) -> Ranks:
    """``ranks[id]`` is the place of token *id* in the order; a permutation of 0 … n - 1.

    *chunks* gives the embedding matrix from its first row on, each time it is called.
    """
    points = _project(chunks, lambda part: told(part / 4))
    order = bisect(points, lambda part: told((1 + 3 * part) / 4))
    ranks = np.empty(len(order), np.int32)
    ranks[order] = np.arange(len(order), dtype=np.int32)
    return ranks


def _project(chunks: Callable[[], Iterable[Floats]], told: Told) -> Floats:
    """Every row, centred and of length one, in its principal components."""
    count, total = 0, np.zeros(1)
    for rows in chunks():
        count, total = count + len(rows), total + rows.sum(axis=0, dtype=np.float64)
    told(1 / 3)
    mean = (total / count).astype(np.float32)
    size = len(mean)
    moment, middle = np.zeros((size, size)), np.zeros(size)
    for rows in chunks():
        unit = _units(rows, mean)
        moment += unit.T @ unit
        middle += unit.sum(axis=0, dtype=np.float64)
    told(2 / 3)
    middle /= count
    covariance = moment - count * np.outer(middle, middle)
    _, vectors = np.linalg.eigh(covariance)
    components = vectors[:, ::-1][:, :DIMENSIONS].astype(np.float32)
    # Of the two directions of an axis, the one in which its largest part is positive.
    largest = np.take_along_axis(components, np.abs(components).argmax(axis=0)[None], axis=0)
    components *= np.sign(largest)
    centre = middle.astype(np.float32)
    found = np.concatenate([(_units(rows, mean) - centre) @ components for rows in chunks()])
    told(1.0)
    return np.asarray(found, np.float32)


def _units(rows: Floats, mean: Floats) -> Floats:
    centred = rows - mean
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    units: Floats = centred / np.maximum(lengths, 1e-6)
    return units


def bisect(points: Floats, told: Told = lambda _part: None) -> npt.NDArray[np.int64]:
    """The order of *points* (rows): similar ones lie together."""
    order = np.arange(len(points))
    parts = [(0, len(points))] if len(points) > LEAF else []
    levels = max(1, (len(points) // LEAF).bit_length())
    level = 0
    while parts:
        following: list[tuple[int, int]] = []
        before: Floats | None = None
        for first, end in parts:
            middle, before = _cut(points, order, first, end, before)
            following += [
                part for part in ((first, middle), (middle, end)) if part[1] - part[0] > LEAF
            ]
        parts = following
        level += 1
        told(min(1.0, level / levels))
    return order


def _cut(
    points: Floats, order: npt.NDArray[np.int64], first: int, end: int, before: Floats | None
) -> tuple[int, Floats]:
    """Put *order* from *first* to *end* into two halves, the one that is closer to *before* first.

    Where the second begins, and its centre.
    """
    ids = order[first:end]
    rows = points[ids]
    centre = rows.mean(axis=0)
    rows = rows - centre
    half = len(ids) // 2
    sides = np.argpartition(rows @ _direction(rows), half)
    low, high = np.sort(sides[:half]), np.sort(sides[half:])
    low_centre, high_centre = rows[low].mean(axis=0) + centre, rows[high].mean(axis=0) + centre
    if before is not None and _distance(high_centre, before) < _distance(low_centre, before):
        low, high, high_centre = high, low, low_centre
    order[first:end] = np.concatenate([ids[low], ids[high]])
    return first + len(low), high_centre


def _distance(one: Floats, other: Floats) -> float:
    return float(((one - other) ** 2).sum())


def _direction(rows: Floats) -> Floats:
    """The direction in which centred *rows* differ most."""
    count, size = rows.shape
    if count > 2 * size:
        sample = rows[:: max(1, count // _SAMPLE)]
        _, vectors = np.linalg.eigh(sample.T @ sample)
        return np.asarray(vectors[:, -1], np.float32)
    found: Floats = rows[np.argmax((rows * rows).sum(axis=1))].copy()
    for _ in range(_ITERATIONS):
        found = np.asarray(rows.T @ (rows @ found), np.float32)
        found /= np.float32(np.linalg.norm(found) + 1e-12)
    return found
