"""The messages of ingest, feed and WebSocket (docs/interfaces.md), as msgspec Structs.

Every message travels in the envelope ``{"message_type", "timestamp", "payload"}``; ``seq`` is added
by the feed to the messages that count, ``n`` by a producer that said hello. One decoder serves all
types: ``message_type`` is the tag. Unknown fields are dropped, missing optional ones are ``None``;
timestamps of old producers in milliseconds are brought to seconds; what is out of range or not
finite is refused with the path of the field.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeAlias, Union

import msgspec
from msgspec import Meta, Struct

from geoosd.errors import MessageError

PROTOCOL_VERSION: Final = 1
MAX_TOKEN_TEXT: Final = 4096
"""Bytes of UTF-8 in one ``current_token``; producers split longer text."""
MAX_STATE_BYTES: Final = 16 * 1024
MAX_SUBSCRIBE_BYTES: Final = 4 * 1024
MAX_SNAPSHOT_BYTES: Final = 512 * 1024
MAX_SNAPSHOT_CELLS: Final = 8192

Unit = Annotated[float, Meta(ge=0.0, le=1.0)]
Count = Annotated[int, Meta(ge=0)]
NonNegative = Annotated[float, Meta(ge=0.0)]
Name = Annotated[str, Meta(max_length=256)]
Provenance = Literal["measured", "derived", "assumed", "absent"]
Role = Literal["answer", "reasoning", "tool", "prompt"]
Phase = Literal["queued", "prefill", "generating"]
Color = Annotated[str, Meta(pattern="^#[0-9a-fA-F]{6}$")]
Channel = Literal["tokens", "state", "sessions", "frames", "canary"]
Tick = Literal[0, 16, 33, 100]


class TokenVisualizationUpdate(Struct):
    """One token of one choice of one session.

    ``activation`` is the probability of the chosen token. ``hilbert_position`` ([x, y] in [0, 1)
    relative to the district), ``district`` and ``cell`` are filled in by the compositor alone.
    """

    current_token: str
    sequence_position: Count
    token_id: Count | None = None
    activation: Unit | None = None
    layer: Count | None = None
    session: Name | None = None
    choice: Count | None = None
    role: Role | None = None
    model: Name | None = None
    confidence: Unit | None = None
    entropy: NonNegative | None = None
    alternatives: Annotated[list[tuple[str, Unit]], Meta(max_length=20)] | None = None
    provenance: dict[str, Provenance] | None = None
    hilbert_position: tuple[Unit, Unit] | None = None
    district: Count | None = None
    cell: Count | None = None


class PackedAttention(Struct):
    """Attention of one token: square-rooted bytes, base64, layers × heads × positions.

    ``first`` positions from the start of the context and ``rest`` up to the newest are kept.
    """

    layers: Count
    heads: Count
    positions: Count
    first: Count
    rest: Count
    u8: str


class NeuralData(Struct):
    """What is known of the network's inside at one position; None where the source has none."""

    layer_activations: list[float] | None = None
    attention_weights: PackedAttention | list[list[float]] | None = None
    memory_patterns: list[tuple[Count, float]] | None = None
    confidence: Unit | None = None


class NeuralStateUpdate(Struct):
    """State of one stream: ``strength`` is the weighted mean activation of its last 64 tokens."""

    daemon_id: Name = "lm_studio_daemon"
    strength: Unit | None = None
    session: Name | None = None
    sequence_position: Count | None = None
    data: NeuralData = msgspec.field(default_factory=NeuralData)
    provenance: dict[str, Provenance] | None = None


class Usage(Struct):
    """Token counts as the upstream reported them."""

    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    total_tokens: Count | None = None


class SessionStarted(Struct):
    """A request was accepted by the bridge, or a recorded session is shown again: then
    ``replay_of`` names it, and nothing in this session happens now."""

    session: Name
    model: Name | None = None
    upstream: Name | None = None
    choices: Count = 1
    replay_of: Name | None = None


class SessionProgress(Struct):
    """Where a session is before and while it generates. ``upstream`` is there when another one than
    was named before has taken the request over."""

    session: Name
    phase: Phase
    position: Count | None = None
    processed: Count | None = None
    total: Count | None = None
    upstream: Name | None = None


class SessionEnded(Struct):
    """The end of a session. Times are seconds; ``error`` is None for a complete answer."""

    session: Name
    finish_reason: Name | None = None
    usage: Usage | None = None
    time_to_first_token: NonNegative | None = None
    tokens_per_second: NonNegative | None = None
    error: Annotated[str, Meta(max_length=1024)] | None = None


class Theme(Struct):
    """Colours of the shell and the renderer.

    ``ramp`` runs from a quiet cell to the brightest, in even steps; ``tints`` tell models apart.
    """

    name: Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9-]{0,63}$")]
    title: Annotated[str, Meta(max_length=80)]
    background: Color
    text: Color
    muted: Color
    accent: Color
    ramp: Annotated[list[Color], Meta(min_length=2, max_length=16)]
    tints: Annotated[list[Color], Meta(min_length=1, max_length=8)]


MAX_THEME_BYTES: Final = 64 * 1024
"""Of a theme as a file or as a request's body; one that uses every field to its end is 2 KiB."""


class ThemeChanged(Struct):
    """The whole theme, so that a viewer needs nothing else."""

    theme: Theme


class Hello(Struct):
    """First message of a feed or a viewer's connection."""

    epoch: str
    seq: int
    oldest: int | None = None
    version: int = PROTOCOL_VERSION
    theme: Theme | None = None


class District(Struct):
    """One model's square of 1024 × 1024 cells; ``index`` is its place on the outer curve."""

    index: Count
    model: Name | None
    id_space: Literal["ids", "text", "given"]
    layout: Count = 0


class SessionView(Struct):
    """A session as the scene knows it."""

    session: Name
    model: Name | None = None
    upstream: Name | None = None
    phase: Literal["queued", "prefill", "generating", "ended"] = "queued"
    started: float = 0.0
    tokens: Count = 0
    replay_of: Name | None = None


class Snapshot(Struct):
    """The scene for a late joiner, as of ``at_seq``; at most 512 KiB.

    ``tokens`` are recent ones, oldest first. ``cells`` is base64 of little-endian records
    (u32 district, u32 cell, f32 weight), strongest first, at most 8,192 of them.
    """

    at_seq: int
    sessions: list[SessionView]
    tokens: list[TokenVisualizationUpdate]
    cells: str
    districts: list[District] = msgspec.field(default_factory=list[District])


class Gap(Struct):
    """``dropped`` messages are missing: ``from_seq`` up to ``to_seq`` where they were numbered."""

    from_seq: int | None
    to_seq: int | None
    dropped: Count
    reason: str


class Demand(Struct):
    """What somebody downstream wants; travels upstream. ``frames`` are pictures of the activation,
    ``views`` names what else is to be drawn (:data:`geoosd.wire.pictures.VIEWS`)."""

    frames: bool = False
    attention_layers: list[Count] | None = None
    views: Annotated[list[Name], Meta(max_length=16)] | None = None


class Canary(Struct):
    """A probe of the data path: wall-clock seconds at every hop."""

    id: str
    hops: dict[str, float]


class Error(Struct):
    """The peer's last message could not be taken."""

    code: str
    field: str | None
    message: str


class ProducerHello(Struct):
    """A producer that numbers its messages (``n``); ``next`` is the number of the next one."""

    producer: Name
    next: Count


class Ack(Struct):
    """Everything up to and including number ``through`` has been taken."""

    through: int


class After(Struct):
    """A place in a feed: the messages of ``epoch`` after number ``after``."""

    epoch: str
    after: int


class FeedRequest(Struct, rename={"from_": "from"}):
    """What a feed consumer wants to read from."""

    from_: Literal["oldest", "newest"] | After


class SnapshotRequest(Struct):
    """Asks the feed for a :class:`Snapshot`."""


class Subscribe(Struct):
    """The one message a viewer may send: what it wants from now on; None: as before. ``view`` is
    what the pictures of the channel ``frames`` show (:data:`geoosd.wire.pictures.VIEWS`)."""

    channels: list[Channel] | None = None
    models: list[Name] | None = None
    tick: Tick | None = None
    view: Name | None = None


Payload: TypeAlias = (
    TokenVisualizationUpdate
    | NeuralStateUpdate
    | SessionStarted
    | SessionProgress
    | SessionEnded
    | ThemeChanged
    | Hello
    | Snapshot
    | Gap
    | Demand
    | Canary
    | Error
    | ProducerHello
    | Ack
    | FeedRequest
    | SnapshotRequest
    | Subscribe
)

PAYLOAD_TYPES: Final[tuple[type[Payload], ...]] = Payload.__args__

COUNTED: Final = (
    TokenVisualizationUpdate,
    NeuralStateUpdate,
    SessionStarted,
    SessionProgress,
    SessionEnded,
    ThemeChanged,
)
"""The messages that the feed numbers."""

DROPPABLE: Final = (TokenVisualizationUpdate, NeuralStateUpdate, Canary)
"""Messages that an overfull queue may drop, counted and announced by a :class:`Gap`."""

CHANNEL_OF: Final[dict[type[Payload], Channel]] = {
    TokenVisualizationUpdate: "tokens",
    NeuralStateUpdate: "state",
    SessionStarted: "sessions",
    SessionProgress: "sessions",
    SessionEnded: "sessions",
    Canary: "canary",
}
"""Types that a viewer may filter; all others always reach it."""


class Message(NamedTuple):
    """A decoded message.

    ``timestamp`` is float seconds since the epoch as the source stamped it; never an order.
    """

    payload: Payload
    timestamp: float
    seq: int | None = None
    n: int | None = None


def _envelope_of(payload: type[Payload]) -> Any:
    """The envelope Struct of one payload type; ``message_type`` is its tag."""
    fields: list[Any] = [
        ("timestamp", Union[NonNegative, None], None),
        ("payload", payload),
        ("seq", Union[int, None], None),
        ("n", Union[Count, None], None),
    ]
    return msgspec.defstruct(
        f"{payload.__name__}Envelope",
        fields,
        tag=payload.__name__,
        tag_field="message_type",
        omit_defaults=True,
        kw_only=True,
    )


_ENVELOPES: Final[dict[type[Payload], Any]] = {kind: _envelope_of(kind) for kind in PAYLOAD_TYPES}
_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Union[tuple(_ENVELOPES.values())])
_encoder = msgspec.json.Encoder()

_AT_PATH = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")
_NAMED_FIELD = re.compile(r"(?:required|unknown) field `(?P<field>[^`]+)`")
_MILLISECONDS: Final = 1e11


def encode(
    payload: Payload, timestamp: float, *, seq: int | None = None, n: int | None = None
) -> bytes:
    """The message as UTF-8 JSON, without any framing. *timestamp* is seconds since the epoch."""
    envelope = _ENVELOPES[type(payload)]
    return _encoder.encode(envelope(payload=payload, timestamp=timestamp, seq=seq, n=n))


def decode(data: bytes, received_at: float) -> Message:
    """Decode and validate one message.

    *received_at* stands in for a missing timestamp. Raises :class:`MessageError` that names the
    field.
    """
    try:
        envelope = _decoder.decode(data)
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MessageError(
            "malformed", f"cannot read the message: not JSON in UTF-8: {error}"
        ) from None
    payload = envelope.payload
    if (
        type(payload) is TokenVisualizationUpdate
        and len(payload.current_token) > MAX_TOKEN_TEXT // 4
    ):
        _check_token_text(payload.current_token)
    return Message(payload, _seconds(envelope.timestamp, received_at), envelope.seq, envelope.n)


def _check_token_text(text: str) -> None:
    size = len(text.encode())
    if size > MAX_TOKEN_TEXT:
        raise MessageError(
            "invalid",
            f"cannot take payload.current_token: {size} bytes, at most {MAX_TOKEN_TEXT}; split it",
            "payload.current_token",
        )


def _seconds(timestamp: float | None, received_at: float) -> float:
    if timestamp is None:
        return received_at
    return timestamp / 1000.0 if timestamp >= _MILLISECONDS else timestamp


def _invalid(reason: str) -> MessageError:
    """A validation error of msgspec as ours: its path becomes the field's name."""
    at = _AT_PATH.search(reason)
    path = at["path"] if at else ""
    why = reason[: at.start()] if at else reason
    if named := _NAMED_FIELD.search(why):
        path = f"{path}.{named['field']}".lstrip(".")
    if path == "message_type":
        return MessageError(
            "unknown_type", f"cannot take the message: {why[:1].lower()}{why[1:]}", path
        )
    return MessageError(
        "invalid", f"cannot take {path or 'the message'}: {why[:1].lower()}{why[1:]}", path or None
    )
