"""What sources say of a network's inside: layer activations, attention, memory patterns.

Kept as received, by stream; nothing is filled in. What no source has sent is None, and views say
``absent`` (promise 2 of the product: nothing on screen is made up).
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections import deque
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from geoosd.errors import MessageError
from geoosd.wire.messages import NeuralStateUpdate, PackedAttention, Provenance

MAX_STREAMS: Final = 16
MAX_ROWS: Final = 256
"""Tokens of a stream whose attention is kept: with 16 KiB a message, 4 MiB at most."""
MAX_PAST: Final = 96
"""Layer activations of a stream that are kept."""
MAX_POSITIONS: Final = 1 << 31

Floats: TypeAlias = npt.NDArray[np.float32]
Bytes: TypeAlias = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class AttentionRow:
    """How one token attended to those before it.

    ``packed`` has the shape (layers, heads, kept positions) and holds square roots times 255;
    ``first`` of the kept positions are the context's first, the others end at ``positions``.
    """

    position: int | None
    positions: int
    first: int
    packed: Bytes

    @property
    def weights(self) -> Floats:
        """The weights, 0 to 1, of shape (layers, heads, kept positions)."""
        return np.square(self.packed.astype(np.float32) / 255)

    @property
    def columns(self) -> npt.NDArray[np.int64]:
        """The position in the context of each kept one."""
        rest: int = self.packed.shape[2] - self.first
        kept = np.arange(self.first + rest)
        return np.where(kept < self.first, kept, kept + self.positions - self.first - rest)


@dataclass
class Inside:
    """The newest word on one stream; ``matrix`` is a plain attention matrix, rows attend.

    ``rows`` and ``past`` are what its attention and its layers were, oldest first.
    """

    name: str
    at: float = 0.0
    position: int | None = None
    strength: float | None = None
    confidence: float | None = None
    past: deque[Floats] = field(default_factory=lambda: deque[Floats](maxlen=MAX_PAST))
    matrix: Floats | None = None
    patterns: list[tuple[int, float]] | None = None
    rows: deque[AttentionRow] = field(default_factory=lambda: deque[AttentionRow](maxlen=MAX_ROWS))
    provenance: dict[str, Provenance] = field(default_factory=dict[str, Provenance])

    @property
    def layers(self) -> Floats | None:
        """The newest layer activations."""
        return self.past[-1] if self.past else None


class Insides:
    """By stream: a session, or the daemon that speaks for none. The least recent is forgotten."""

    def __init__(self) -> None:
        self._streams: dict[str, Inside] = {}

    def __len__(self) -> int:
        return len(self._streams)

    def take(self, update: NeuralStateUpdate, at: float) -> None:
        """Take an update that :func:`check` has let pass; what is None leaves the old as it was."""
        name = update.daemon_id if update.session is None else update.session
        inside = self._streams.pop(name, None) or Inside(name)
        if len(self._streams) >= MAX_STREAMS:
            del self._streams[next(iter(self._streams))]
        self._streams[name] = inside
        inside.at, inside.position = at, update.sequence_position
        inside.strength, inside.confidence = update.strength, update.data.confidence
        inside.provenance.update(update.provenance or {})
        if update.data.layer_activations is not None:
            inside.past.append(np.array(update.data.layer_activations, np.float32))
        if update.data.memory_patterns is not None:
            inside.patterns = update.data.memory_patterns
        attention = update.data.attention_weights
        if isinstance(attention, PackedAttention):
            inside.rows.append(_unpacked(attention, update.sequence_position))
        elif attention is not None:
            inside.matrix = np.array(attention, np.float32)

    def all(self) -> list[Inside]:
        """Every stream, the newest first."""
        return list(self._streams.values())[::-1]


def check(update: NeuralStateUpdate) -> None:
    """Raises :class:`MessageError` for an inside that contradicts itself or is not finite."""
    data = update.data
    if data.layer_activations is not None:
        _check_finite(data.layer_activations, "layer_activations")
    if data.memory_patterns is not None:
        _check_finite([weight for _, weight in data.memory_patterns], "memory_patterns")
    attention = data.attention_weights
    if isinstance(attention, PackedAttention):
        _unpacked(attention, None)
    elif attention is not None:
        if len({len(row) for row in attention}) > 1:
            raise _invalid("attention_weights", "its rows differ in length; send a matrix")
        for row in attention:
            _check_finite(row, "attention_weights")


def _check_finite(values: list[float], name: str) -> None:
    with np.errstate(over="ignore"):
        if not np.isfinite(np.array(values, np.float64).astype(np.float32)).all():
            raise _invalid(name, "a number in it is not finite in 32 bits; send finite numbers")


def _unpacked(attention: PackedAttention, position: int | None) -> AttentionRow:
    kept = attention.first + attention.rest
    if not kept <= attention.positions <= MAX_POSITIONS:
        raise _invalid("attention_weights", f"{kept} positions kept of {attention.positions}")
    try:
        data = b64decode(attention.u8, validate=True)
    except (binascii.Error, ValueError):
        raise _invalid("attention_weights.u8", "it is not base64") from None
    shape = attention.layers, attention.heads, kept
    if len(data) != shape[0] * shape[1] * shape[2] or not data:
        raise _invalid(
            "attention_weights.u8",
            f"{len(data)} bytes; layers × heads × (first + rest) are {' × '.join(map(str, shape))}",
        )
    packed = np.frombuffer(data, np.uint8).reshape(shape)
    return AttentionRow(position, attention.positions, attention.first, packed)


def _invalid(name: str, reason: str) -> MessageError:
    where = f"payload.data.{name}"
    return MessageError("invalid", f"cannot take {where}: {reason}", where)
