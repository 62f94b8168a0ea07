"""The request that geoos's own ``Prompt`` makes of an upstream, and what a model can be asked.

The OpenAI API (chat and completions) with what llama.cpp adds: ``return_progress`` tells how far
the prompt is read, ``timings_per_token`` how many tokens a chunk really holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import msgspec
from msgspec import Struct

Kind: TypeAlias = Literal["auto", "openai", "llama.cpp", "lmstudio", "ollama", "vllm"]

TOP: Final = 5
"""Alternatives asked for with every token."""

CONTINUATION_TOKENS: Final = 256
"""How far a model without a chat template goes on at most: it knows no end of an answer."""

_FALLBACK_TEMPLATE: Final = (
    "{%- for message in messages -%}\n"
    "  {{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' -}}\n"
    "{%- endfor -%}\n"
    "{%- if add_generation_prompt -%}\n"
    "  {{- '<|im_start|>assistant\n' -}}\n"
    "{%- endif -%}"
)
"""What llama.cpp reports as the template of a model that has none."""


class Question(NamedTuple):
    """A prompt for one model. *parameters* override everything that geoos would ask for."""

    prompt: str
    model: str | None = None
    system: str = ""
    parameters: Mapping[str, Any] = {}


class Request(NamedTuple):
    """An HTTP request: where, and the JSON object to send."""

    path: str
    body: dict[str, Any]


def compose(question: Question, *, chat: bool, kind: str, logprobs: bool = True) -> Request:
    """The request for *question*.

    *chat* False asks a model that has no chat template: the system prompt, then the prompt, as
    plain text that it goes on with for at most :data:`CONTINUATION_TOKENS`. Without *logprobs* none
    are asked for, except by the user.
    """
    body: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
    if question.model is not None:
        body["model"] = question.model
    if kind == "llama.cpp":
        body |= {"return_progress": True, "timings_per_token": True}
    if chat:
        system = [{"role": "system", "content": question.system}] if question.system else []
        body["messages"] = [*system, {"role": "user", "content": question.prompt}]
    else:
        body["prompt"] = "\n\n".join(text for text in (question.system, question.prompt) if text)
        body["max_tokens"] = CONTINUATION_TOKENS
    if logprobs:
        body |= {"logprobs": True, "top_logprobs": TOP} if chat else {"logprobs": TOP}
    body |= question.parameters
    if not body["stream"]:
        # stream_options are an error without a stream.
        body.pop("stream_options", None)
    return Request("/v1/chat/completions" if chat else "/v1/completions", body)


def choices_of(parameters: Mapping[str, Any]) -> int:
    """How many answers (``n``) a request asks for."""
    n = parameters.get("n")
    return n if isinstance(n, int) and n > 0 else 1


# -- what a server says of itself ------------------------------------------------------------------


class Listing(NamedTuple):
    """The answer of ``/v1/models``: each model's entry as it came, and the kind of server if
    told."""

    entries: list[dict[str, Any]]
    kind: Kind | None

    @property
    def ids(self) -> list[str]:
        """The models' ids."""
        return [entry["id"] for entry in self.entries]


class _Models(Struct):
    data: list[dict[str, Any]] | None = None


class _Props(Struct):
    chat_template: str | None = None


def read_models(body: bytes) -> Listing | None:
    """Read ``/v1/models``; None where that is not what a model server answers."""
    try:
        models = msgspec.json.decode(body, type=_Models)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if models.data is None:
        return None
    entries = [entry for entry in models.data if isinstance(entry.get("id"), str)]
    owners = {entry.get("owned_by") for entry in entries}
    kind: Kind | None = None
    if "llamacpp" in owners:
        kind = "llama.cpp"
    elif "vllm" in owners:
        kind = "vllm"
    return Listing(entries, kind)


def has_chat_template(props: bytes) -> bool | None:
    """Whether llama.cpp's ``/props`` tells of a template; None where it cannot be read.

    A base model has none: llama.cpp then reports its own fallback, word for word.
    """
    try:
        template = msgspec.json.decode(props, type=_Props).chat_template
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if template is None:
        return None
    return bool(template.strip()) and template.strip() != _FALLBACK_TEMPLATE
