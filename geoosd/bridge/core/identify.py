"""Token ids for streams that came without: the messages of one session wait for theirs, in order.

Pure: :mod:`..adapters.tokenize` asks the server and says when there is no answer. What has no id
after that goes on as it is, and its place is made from its text (docs/interfaces.md, "Places").
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from geoosd.bridge.core.tokenize import Parts, Vocabulary
from geoosd.wire.messages import NeuralStateUpdate, Payload, TokenVisualizationUpdate


def needs_id(payload: Payload) -> bool:
    """Whether *payload* is a token whose id the server did not tell."""
    return (
        isinstance(payload, TokenVisualizationUpdate)
        and payload.token_id is None
        and payload.current_token != ""
    )


class Line:
    """The messages of one session on their way to the map.

    Nothing overtakes. A text that turns out to be several tokens becomes as many messages, and the
    positions after it move up.
    """

    __slots__ = ("_choice", "_moved", "_vocabulary", "_waiting")

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._waiting: deque[Payload] = deque()
        self._moved: dict[int, int] = {}
        self._choice = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Take the next messages; what need not wait comes back."""
        self._waiting += payloads
        return self.release()

    def unknown(self) -> Iterator[str]:
        """The texts that are waited for, the most urgent first."""
        for payload in self._waiting:
            if isinstance(payload, TokenVisualizationUpdate) and needs_id(payload):
                text = payload.current_token
                if self._vocabulary.get(text) is None:
                    yield text

    def release(self, *, give_up: bool = False) -> list[Payload]:
        """What need not wait any longer; all of it with *give_up*."""
        released: list[Payload] = []
        while self._waiting:
            payload = self._waiting[0]
            if isinstance(payload, TokenVisualizationUpdate):
                parts: Parts | None = ()
                if needs_id(payload):
                    parts = self._vocabulary.get(payload.current_token)
                if parts is None and not give_up:
                    break
                released += self._identified(payload, parts or ())
            else:
                released.append(self._in_place(payload))
            self._waiting.popleft()
        return released

    def _identified(
        self, token: TokenVisualizationUpdate, parts: Parts
    ) -> list[TokenVisualizationUpdate]:
        self._choice = token.choice or 0
        moved = self._moved.get(self._choice, 0)
        position = token.sequence_position + moved
        if not parts:
            return [replace(token, sequence_position=position)] if moved else [token]
        self._moved[self._choice] = moved + len(parts) - 1
        (text, token_id), *others = parts
        first = replace(
            token,
            current_token=text,
            sequence_position=position,
            token_id=token_id,
            provenance={**(token.provenance or {}), "token_id": "derived"},
        )
        rest = [
            TokenVisualizationUpdate(
                current_token=text,
                sequence_position=position + after,
                token_id=token_id,
                session=token.session,
                choice=token.choice,
                role=token.role,
                model=token.model,
                provenance={"token_id": "derived", "activation": "absent"},
            )
            for after, (text, token_id) in enumerate(others, 1)
        ]
        return [first, *rest]

    def _in_place(self, payload: Payload) -> Payload:
        """A state follows the tokens that it is of, and moves with them."""
        moved = self._moved.get(self._choice, 0)
        if not moved or not isinstance(payload, NeuralStateUpdate):
            return payload
        if payload.sequence_position is None:
            return payload
        return replace(payload, sequence_position=payload.sequence_position + moved)
