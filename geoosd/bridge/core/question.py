"""The request that geoos's own ``Prompt`` makes of an upstream, and what a model can be asked.

The OpenAI API (chat and completions) with what llama.cpp adds: ``return_progress`` tells how far
the prompt is read, ``timings_per_token`` how many tokens a chunk really holds; and vLLM's
``return_token_ids``. Which of them a server takes is learnt (:mod:`.capabilities`).
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import msgspec
from msgspec import Struct

from geoosd.bridge.core.capabilities import Capability

Kind: TypeAlias = Literal["auto", "openai", "llama.cpp", "lmstudio", "ollama", "vllm"]

TOP: Final = 5
"""Alternatives asked for with every token."""

CONTINUATION_TOKENS: Final = 256
"""How far a model without a chat template goes on at most: it knows no end of an answer."""

MAX_MODELS: Final = 4096
"""Models of one server that are listed; of further ones it may be asked by name all the same."""

_MAX_NAME: Final = 1024
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


_WORDS: Final[Mapping[Capability, tuple[str, ...]]] = {
    "logprobs": ("logprobs",),
    "usage": ("stream_options",),
    "prompt_progress": ("return_progress", "timings_per_token"),
    "token_ids": ("return_token_ids",),
}
"""The fields by which a capability is asked for: a 400 that means one of them names it."""


def wanted(kind: str, parameters: Mapping[str, Any]) -> frozenset[Capability]:
    """What there is to ask for at a server of this *kind*, but for what the user asks himself."""
    asks: set[Capability] = {"logprobs", "usage"}
    if kind == "llama.cpp":
        asks.add("prompt_progress")
    if kind == "vllm":
        asks.add("token_ids")
    return frozenset(each for each in asks if not any(word in parameters for word in _WORDS[each]))


def refused(body: bytes, asks: Set[Capability]) -> frozenset[Capability]:
    """Which of *asks* a 400 with this *body* is about: what it names, else the logprobs."""
    about = named(body.decode("utf-8", "replace")) & asks
    if not about and "logprobs" in asks:
        return frozenset(("logprobs",))
    return about


def named(error: str) -> frozenset[Capability]:
    """Which of the things that can be asked for the words of a refusal name."""
    return frozenset(each for each in _WORDS if any(word in error for word in _WORDS[each]))


def fields_for(asks: Set[Capability], *, chat: bool) -> dict[str, Any]:
    """The fields that ask for *asks*, in a chat or in a plain completion."""
    fields: dict[str, Any] = {}
    if "usage" in asks:
        fields["stream_options"] = {"include_usage": True}
    if "prompt_progress" in asks:
        fields |= {"return_progress": True, "timings_per_token": True}
    if "token_ids" in asks:
        fields["return_token_ids"] = True
    if "logprobs" in asks:
        fields |= {"logprobs": True, "top_logprobs": TOP} if chat else {"logprobs": TOP}
    return fields


def compose(question: Question, *, chat: bool, asks: Set[Capability]) -> Request:
    """The request for *question* that asks for *asks* besides the answer.

    *chat* False asks a model that has no chat template: the system prompt, then the prompt, as
    plain text that it goes on with for at most :data:`CONTINUATION_TOKENS`.
    """
    body: dict[str, Any] = {"stream": True}
    if question.model is not None:
        body["model"] = question.model
    body |= fields_for(asks, chat=chat)
    if chat:
        system = [{"role": "system", "content": question.system}] if question.system else []
        body["messages"] = [*system, {"role": "user", "content": question.prompt}]
    else:
        body["prompt"] = "\n\n".join(text for text in (question.system, question.prompt) if text)
        body["max_tokens"] = CONTINUATION_TOKENS
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


class _TemplateCaps(Struct):
    supports_tools: bool | None = None


class _Props(Struct):
    chat_template: str | None = None
    chat_template_caps: _TemplateCaps | None = None
    build_info: str | None = None
    model_path: str | None = None


class _Version(Struct):
    version: str


class About(NamedTuple):
    """What a server says of itself beside its models; None where it does not."""

    version: str | None = None
    chat: bool | None = None
    tools: bool | None = None


def read_models(body: bytes) -> Listing | None:
    """Read ``/v1/models``; None where that is not what a model server answers.

    An entry without an id, or with one longer than 1024 characters, is left out.
    """
    try:
        models = msgspec.json.decode(body, type=_Models)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if models.data is None:
        return None
    entries = [entry for entry in models.data if _is_name(entry.get("id"))][:MAX_MODELS]
    owners = {entry.get("owned_by") for entry in entries}
    kind: Kind | None = None
    if "llamacpp" in owners:
        kind = "llama.cpp"
    elif "vllm" in owners:
        kind = "vllm"
    return Listing(entries, kind)


def _is_name(said: Any) -> bool:
    return isinstance(said, str) and 0 < len(said) <= _MAX_NAME


def read_props(body: bytes) -> About:
    """Read llama.cpp's ``/props``; nothing is known where it cannot be read.

    A base model has no template: llama.cpp then reports its own fallback, word for word.
    """
    try:
        props = msgspec.json.decode(body, type=_Props)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return About()
    version = " ".join(each for each in (props.build_info, props.model_path) if each)
    template = props.chat_template
    chat = None
    if template is not None:
        chat = bool(template.strip()) and template.strip() != _FALLBACK_TEMPLATE
    caps = props.chat_template_caps
    return About(version or None, chat, caps.supports_tools if caps is not None else None)


def read_version(body: bytes) -> About:
    """Read vLLM's ``/version`` or Ollama's ``/api/version``."""
    try:
        return About(msgspec.json.decode(body, type=_Version).version)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return About()
