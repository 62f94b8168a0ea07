"""One model's answer as it comes, and what is said of it; how it is shown is :mod:`.columns`'s and
:mod:`.commands.prompt`'s business."""

from __future__ import annotations

from dataclasses import dataclass, field

from geoosctl import output
from geoosd.wire import messages


@dataclass
class Answer:
    """One model's answer so far; ``text`` is what the model said, ``parts`` also its reasoning."""

    label: str
    upstream: str | None = None
    parts: list[tuple[str, str]] = field(default_factory=list)
    progress: str = "waiting"
    ended: messages.SessionEnded | None = None
    tokens: int = 0

    @property
    def text(self) -> str:
        """The answer alone, without reasoning."""
        return "".join(text for role, text in self.parts if role != "reasoning")

    def add(self, token: messages.TokenVisualizationUpdate) -> str:
        """Take a token; its role, or an empty string if it is not shown."""
        role = token.role or "answer"
        if role == "prompt" or token.choice:
            return ""
        self.tokens += 1
        self.parts.append((role, token.current_token))
        return role

    def numbers(self) -> list[str]:
        """Tokens, speed, time to first token, as far as they are known."""
        ended = self.ended or messages.SessionEnded(session="")
        counted = ended.usage.completion_tokens if ended.usage else None
        parts = [output.count(self.tokens if counted is None else counted, "token")]
        if ended.tokens_per_second is not None:
            parts.append(f"{output.number(ended.tokens_per_second)} tok/s")
        if ended.time_to_first_token is not None:
            parts.append(f"first token after {ended.time_to_first_token:.2f} s")
        return parts

    def summary(self) -> str:
        """The model and its numbers."""
        return output.visible(" · ".join([self.label, *self.numbers()]))


def progress_text(payload: messages.SessionProgress) -> str:
    """Where a session is, in words."""
    if payload.phase == "queued" and payload.position is not None:
        before = payload.position
        return f"queued, {before} before it" if before else "queued, next"
    if payload.phase == "prefill" and payload.total:
        return f"reading the prompt, {100 * (payload.processed or 0) // payload.total} %"
    return payload.phase
