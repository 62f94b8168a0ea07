"""The recordings of tests/data/sse: what was asked for, what came, and what is to be made of it."""

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path

from geoosd.wire.messages import SessionEnded, TokenVisualizationUpdate, Usage

SSE = Path(__file__).parent / "data" / "sse"
_spec = importlib.util.spec_from_file_location("expect", SSE / "expect.py")
expect = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(expect)

NAMES = sorted(path.name.removesuffix(".body") for path in SSE.glob("*.body"))


@dataclass
class Recording:
    """One answer; ``expected.json`` beside it holds the rest."""

    name: str
    body: bytes
    path: str
    content_type: str
    finish_reason: str | None
    usage: Usage | None
    error: str | None
    tokens: list[tuple[int, str, str, int | None, float | None]]

    def pieces(self, cut):
        """The body cut into pieces of *cut* bytes, or ``"recorded"``: as it came from the server,
        event by event where that is not known."""
        if cut != "recorded":
            lengths = [cut] * -(-len(self.body) // cut)
        elif (times := SSE / f"{self.name}.times.jsonl").exists():
            lengths = [json.loads(line)["len"] for line in times.read_text().splitlines()]
        else:
            lengths = [len(block) + 2 for block in self.body.split(b"\n\n")]
        pieces, start = [], 0
        for length in lengths:
            pieces.append(self.body[start : start + length])
            start += length
        assert start >= len(self.body)
        return [piece for piece in pieces if piece]


def recording(name):
    """Read one."""
    expected = json.loads((SSE / f"{name}.expected.json").read_text())
    usage = expected["usage"]
    return Recording(
        name,
        (SSE / f"{name}.body").read_bytes(),
        expected["path"],
        expected["content_type"],
        expected["finish_reason"],
        None if usage is None else Usage(*usage),
        expected["error"],
        [tuple(token) for token in expected["tokens"]],
    )


def tokens_of(payloads):
    """[(choice, role, text, id, probability)] of what was published, as in ``expected.json``."""
    return [
        (
            token.choice,
            token.role,
            token.current_token,
            token.token_id,
            None if token.activation is None else round(token.activation, 9),
        )
        for token in payloads
        if isinstance(token, TokenVisualizationUpdate)
    ]


def check(recorded, payloads):
    """That *payloads* say what the recording does."""
    assert tokens_of(payloads) == recorded.tokens
    (ended,) = [payload for payload in payloads if isinstance(payload, SessionEnded)]
    assert (ended.finish_reason, ended.usage, ended.error) == (
        recorded.finish_reason,
        recorded.usage,
        recorded.error,
    )
