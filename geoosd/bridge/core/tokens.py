"""From pieces of text to the messages of the map: what is known of a token, and how it is known.

* ``activation``: probability of the chosen token, exp(logprob). Measured.
* ``confidence``: exponentially weighted mean of the activations so far. Derived.
* ``entropy``: Shannon entropy in bits over the alternatives the server returned, the chosen token
  and one bucket that holds the rest of the probability; a lower bound of the true entropy. Derived.
* ``strength``: exponentially weighted mean of the known activations of the last 64 tokens. Derived.

What the server did not say is None with provenance ``absent``, never a number made up. Placing
tokens on the map is the compositor's: a token id stands here only where the server gave it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from math import exp, log2
from typing import Final

from geoosd.bridge.core.pieces import Candidate, Piece
from geoosd.wire.messages import (
    MAX_TOKEN_TEXT,
    NeuralData,
    NeuralStateUpdate,
    Provenance,
    TokenVisualizationUpdate,
)

WINDOW: Final = 64
"""Tokens that ``strength`` looks back on."""

_STRENGTH_DECAY: Final = 0.5 ** (1 / 16)
"""Weight of a token against the one after it: half after 16 tokens."""

_FORGOTTEN: Final = _STRENGTH_DECAY**WINDOW

_CONFIDENCE_GAIN: Final = 0.2
"""Share of the newest activation in ``confidence``."""

_MAX_ALTERNATIVES: Final = 20
_SHOWN_TEXT: Final = slice(64)
"""Of an alternative's text; a slice that is made once."""


def entropy_bits(probability: float, chosen_included: bool, others: Sequence[float]) -> float:
    """Entropy in bits of *others*, plus *probability* unless it is among them, plus the rest.

    Probabilities that sum to more than one (a server rounds, or gives them before and after
    sampling) are scaled down to one.
    """
    total = 0.0
    weighed = 0.0
    for part in others if chosen_included else (probability, *others):
        if part > 0.0:
            total += part
            weighed += part * log2(part)
    if total > 1.0:
        return max(0.0, log2(total) - weighed / total)
    rest = 1.0 - total
    if rest > 0.0:
        weighed += rest * log2(rest)
    return max(0.0, -weighed)


class Strength:
    """Exponentially weighted mean over a window of the last :data:`WINDOW` tokens, in O(1) a
    token."""

    __slots__ = ("_recent", "_sum", "_weight")

    def __init__(self) -> None:
        self._recent: deque[float | None] = deque(maxlen=WINDOW)
        self._sum = 0.0
        self._weight = 0.0

    def add(self, activation: float | None) -> None:
        """Take the next token's activation; None where it is not known."""
        leaving = self._recent[0] if len(self._recent) == WINDOW else None
        self._recent.append(activation)
        self._sum *= _STRENGTH_DECAY
        self._weight *= _STRENGTH_DECAY
        if leaving is not None:
            self._sum -= leaving * _FORGOTTEN
            self._weight -= _FORGOTTEN
        if activation is not None:
            self._sum += activation
            self._weight += 1.0

    def value(self) -> float | None:
        """The mean, 0..1; None while no activation in the window is known."""
        # Below the smallest weight a known token can have, only rounding is left.
        if self._weight < _FORGOTTEN / 2:
            return None
        return min(max(self._sum / self._weight, 0.0), 1.0)


def split_text(text: str, limit: int = MAX_TOKEN_TEXT) -> list[str]:
    """*text* in parts of at most *limit* bytes of UTF-8, cut between characters; *limit* >= 4."""
    if len(text) * 4 <= limit:
        return [text]
    data = text.encode("utf-8", "replace")
    parts: list[str] = []
    start = 0
    while len(data) - start > limit:
        end = start + limit
        while data[end] & 0xC0 == 0x80:
            end -= 1
        parts.append(data[start:end].decode())
        start = end
    return [*parts, data[start:].decode()]


class TokenStream:
    """The tokens of one choice of one session, in order.

    ``position`` is the ``sequence_position`` of the next token.
    """

    __slots__ = ("_choice", "_confidence", "_session", "_strength", "_told_absent", "position")

    def __init__(self, session: str, choice: int) -> None:
        self.position = 0
        self._session = session
        self._choice = choice
        self._confidence: float | None = None
        self._strength = Strength()
        self._told_absent = False

    def tokens(self, piece: Piece, model: str | None) -> list[TokenVisualizationUpdate]:
        """One message a piece; several where its text is longer than a message may hold.

        Only the first of several carries what is known of the token.
        """
        activation = piece.probability
        if activation is not None:
            before = self._confidence
            self._confidence = (
                activation if before is None else before + _CONFIDENCE_GAIN * (activation - before)
            )
        self._strength.add(activation)
        first, *others = split_text(piece.text)
        messages = [self._token(piece, first, model)]
        self.position += 1
        for part in others:
            messages.append(self._rest(piece, part, model))
            self.position += 1
        return messages

    def _token(self, piece: Piece, text: str, model: str | None) -> TokenVisualizationUpdate:
        how: Provenance = "measured" if piece.exact else "derived"
        activation = piece.probability
        confidence = self._confidence if activation is not None else None
        shown = entropy = None
        if piece.alternatives is not None:
            shown, probabilities = _told(piece.alternatives)
            if shown and activation is not None:
                among = _is_among(piece, piece.alternatives)
                entropy = entropy_bits(activation, among, probabilities)
        return TokenVisualizationUpdate(
            current_token=text,
            sequence_position=self.position,
            token_id=piece.token_id,
            activation=activation,
            session=self._session,
            choice=self._choice,
            role=piece.role,
            model=model,
            confidence=confidence,
            entropy=entropy,
            alternatives=shown or None,
            provenance={
                "token_id": "absent" if piece.token_id is None else how,
                "activation": "absent" if activation is None else how,
                "confidence": "absent" if confidence is None else "derived",
                "entropy": "absent" if entropy is None else "derived",
                "alternatives": how if shown else "absent",
                "layer": "absent",
            },
        )

    def _rest(self, piece: Piece, text: str, model: str | None) -> TokenVisualizationUpdate:
        """A further part of a text that one message cannot hold."""
        return TokenVisualizationUpdate(
            current_token=text,
            sequence_position=self.position,
            session=self._session,
            choice=self._choice,
            role=piece.role,
            model=model,
            provenance={"token_id": "absent", "activation": "absent"},
        )

    def state(self) -> NeuralStateUpdate | None:
        """The stream's state after the tokens of one chunk.

        None where there is nothing new to say: that nothing is known is said once.
        """
        strength = self._strength.value()
        if strength is None:
            if self._told_absent:
                return None
            self._told_absent = True
        else:
            self._told_absent = False
        known: Provenance = "absent" if strength is None else "derived"
        return NeuralStateUpdate(
            strength=strength,
            session=self._session,
            sequence_position=max(0, self.position - 1),
            data=NeuralData(confidence=self._confidence if strength is not None else None),
            provenance={
                "strength": known,
                "confidence": known,
                "layer_activations": "absent",
                "attention_weights": "absent",
                "memory_patterns": "absent",
            },
        )


def _told(candidates: list[Candidate]) -> tuple[list[tuple[str, float]], list[float]]:
    """The candidates whose probability was told, as messages show them, and those
    probabilities."""
    shown: list[tuple[str, float]] = []
    probabilities: list[float] = []
    for candidate in candidates[:_MAX_ALTERNATIVES]:
        # Candidate.probability, without a call for each of them.
        logprob = candidate.logprob
        probability = candidate.probability if logprob is None or logprob >= 0.0 else exp(logprob)
        if probability is not None:
            probabilities.append(probability)
            # Six digits after the point: as round() does it, in a quarter of its time.
            shown.append((candidate.token[_SHOWN_TEXT], int(probability * 1e6 + 0.5) / 1e6))
    return shown, probabilities


def _is_among(piece: Piece, candidates: list[Candidate]) -> bool:
    """Whether the chosen token is one of the candidates: by id where both have one, else by
    text."""
    for candidate in candidates[:_MAX_ALTERNATIVES]:
        if candidate.logprob is None and candidate.prob is None:
            continue  # it is not among the probabilities
        token_id = candidate.token_id
        if token_id is not None and piece.token_id is not None:
            if token_id == piece.token_id:
                return True
        elif candidate.token == piece.text:
            return True
    return False
