"""What a client asked in a proxied request, for ``record = "full"``: the words of its body.

All dialects say it in one of three members: ``messages`` (OpenAI's chat, Anthropic, Ollama),
``input`` (OpenAI's responses, LM Studio) or ``prompt`` (completions). What is no text, such as a
picture, is named and not kept. Nothing is raised, whatever the body is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias, cast

import msgspec
from msgspec import Struct

from geoosd.bridge.core.recording import MAX_PROMPT
from geoosd.wire.sessions import Turn

_OURS: Final = ("system", "developer")

_Object: TypeAlias = Mapping[str, Any]


class Conversation(NamedTuple):
    """The system prompt, the last thing said to the model, and what was said before it."""

    prompt: str | None = None
    system: str | None = None
    turns: tuple[Turn, ...] = ()


class _Body(Struct):
    messages: Any = None
    input: Any = None
    prompt: Any = None
    system: Any = None
    system_prompt: Any = None
    instructions: Any = None


_decoder = msgspec.json.Decoder(_Body)


def read(body: bytes) -> Conversation:
    """The conversation in the body of a request; empty where there is none, or where it is longer
    than :data:`MAX_PROMPT` bytes."""
    if len(body) > MAX_PROMPT:
        return Conversation()
    try:
        return _read(_decoder.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Conversation()


def _read(said: _Body) -> Conversation:
    system = [_text(each) for each in (said.system, said.system_prompt, said.instructions)]
    turns: list[Turn] = []
    for turn in _turns(said):
        if turn.role in _OURS:
            system.append(turn.text)
        else:
            turns.append(turn)
    prompt = turns.pop().text if turns else None
    return Conversation(prompt, "\n\n".join(filter(None, system)) or None, tuple(turns))


def _turns(said: _Body) -> Iterator[Turn]:
    listed = _list(said.messages) or _list(said.input)
    for each in listed:
        if message := _object(each):
            yield _turn(message)
    if not listed and (text := _text(said.input) or _text(said.prompt)):
        yield Turn("user", text)


def _turn(message: _Object) -> Turn:
    role = message.get("role") or message.get("type")
    parts = [_text(message.get(name)) for name in ("content", "text", "output")]
    parts += [_call(each) for each in _list(message.get("tool_calls")) or [message]]
    return Turn(role if isinstance(role, str) else "user", "\n".join(filter(None, parts)))


def _call(call: Any) -> str:
    """A tool call in a message (chat), or as one of its own (responses); else empty."""
    function = _object(_object(call).get("function", call))
    name, arguments = function.get("name"), function.get("arguments", "")
    if not isinstance(name, str):
        return ""
    text = arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()
    return f"{name}({text})"


def _text(content: Any) -> str:
    """The text of a content: a string, a part, or parts of which some are text."""
    if isinstance(content, str):
        return content
    if part := _object(content):
        return _part(part)
    parts = _list(content)
    if parts and all(isinstance(each, int) for each in parts):
        return f"[{len(parts)} token ids]"
    return "\n".join(filter(None, map(_text, parts)))


def _part(part: _Object) -> str:
    """One part of a content: its text, or what it is in brackets."""
    for name in ("text", "content", "output"):
        if name in part:
            return _text(part[name])
    kind = part.get("type")
    return f"[{kind}]" if isinstance(kind, str) else ""


def _list(value: Any) -> Sequence[Any]:
    return cast("Sequence[Any]", value) if isinstance(value, list) else []


def _object(value: Any) -> _Object:
    return cast("_Object", value) if isinstance(value, dict) else {}
