"""What a viewer wants: the query of ``/neural`` and the ``Subscribe`` message, as one type.

See docs/interfaces.md, "WebSocket". What cannot be used raises :class:`MessageError` that names
the parameter.
"""

from __future__ import annotations

from typing import Final, NamedTuple, cast, get_args
from urllib.parse import parse_qsl

from geoosd.errors import MessageError
from geoosd.wire import messages
from geoosd.wire.messages import After, Channel, Subscribe, Tick
from geoosd.wire.pictures import VIEWS

CHANNELS: Final[tuple[Channel, ...]] = get_args(Channel)
TICKS: Final[tuple[Tick, ...]] = get_args(Tick)
DEFAULT_CHANNELS: Final[frozenset[Channel]] = frozenset({"tokens", "state", "sessions"})
_MAX_MODELS: Final = 32
_MAX_FIELDS: Final = 16
_MAX_NAME: Final = 256


class Filter(NamedTuple):
    """Which messages reach a viewer; viewers with equal filters share one ring.

    ``models`` None means all; messages of no known model always pass. ``view`` is what pictures
    are of; :attr:`pictures` is None where none are wanted.
    """

    channels: frozenset[Channel] = DEFAULT_CHANNELS
    models: frozenset[str] | None = None
    view: str = VIEWS[0]

    @property
    def pictures(self) -> str | None:
        """The view whose pictures reach a viewer."""
        return self.view if "frames" in self.channels else None

    def takes(self, channel: Channel | None, model: str | None) -> bool:
        """Whether a message of *channel* (None: for everybody) and *model* passes."""
        if channel is None:
            return True
        if channel not in self.channels:
            return False
        return self.models is None or model is None or model in self.models


class Subscription(NamedTuple):
    """A filter, and for how many milliseconds sends may be gathered."""

    filter: Filter
    tick: Tick

    def changed_by(self, subscribe: Subscribe) -> Subscription:
        """With what *subscribe* names instead; an empty list of models means all again.

        Raises :class:`MessageError` for too many models and for an unknown view.
        """
        channels, models, view = self.filter
        if subscribe.channels is not None:
            channels = frozenset(subscribe.channels)
        if subscribe.models is not None:
            models = _models(subscribe.models, "payload.models")
        if subscribe.view is not None:
            view = _view(subscribe.view, "payload.view")
        tick = self.tick if subscribe.tick is None else subscribe.tick
        return Subscription(Filter(channels, models, view), tick)


class Request(NamedTuple):
    """What the address of a viewer's connection asks for."""

    subscription: Subscription
    resume: After | None


def parse_query(query: str, default_tick: Tick) -> Request:
    """The query string (without ``?``) of ``/neural``. Unknown parameters are left alone."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=_MAX_FIELDS)
    except ValueError:
        raise _bad("query", f"more than {_MAX_FIELDS} parameters") from None
    fields = dict(pairs)
    channels = _channels(fields["channels"]) if "channels" in fields else DEFAULT_CHANNELS
    names = [value for key, value in pairs if key == "models" for value in value.split(",")]
    tick = _tick(fields["tick"]) if "tick" in fields else default_tick
    view = _view(fields.get("view", VIEWS[0]), "view")
    subscription = Subscription(Filter(channels, _models(names, "models"), view), tick)
    return Request(subscription, _resume(fields))


def parse_message(data: str | bytes, received_at: float) -> Subscribe:
    """The one message that a viewer may send. Raises :class:`MessageError`."""
    if isinstance(data, bytes):
        raise MessageError("malformed", "cannot take a binary message: send Subscribe as text")
    payload = messages.decode(data.encode(), received_at).payload
    if not isinstance(payload, Subscribe):
        kind = type(payload).__name__
        raise MessageError(
            "unknown_type", f"cannot take {kind} from a viewer: only Subscribe", "message_type"
        )
    return payload


def _channels(text: str) -> frozenset[Channel]:
    names = [name for name in text.split(",") if name]
    for name in names:
        if name not in CHANNELS:
            raise _bad("channels", f"{name[:40]!r} is none of {', '.join(CHANNELS)}")
    return frozenset(cast("list[Channel]", names))


def _tick(text: str) -> Tick:
    for tick in TICKS:
        if text == str(tick):
            return tick
    raise _bad("tick", f"{text[:40]!r} is none of {', '.join(map(str, TICKS))}")


def _models(names: list[str], field: str) -> frozenset[str] | None:
    models = frozenset(name for name in names if name)
    if len(models) > _MAX_MODELS:
        raise _bad(field, f"more than {_MAX_MODELS} models")
    if any(len(name) > _MAX_NAME for name in models):
        raise _bad(field, f"a name of more than {_MAX_NAME} characters")
    return models or None


def _view(name: str, field: str) -> str:
    if name not in VIEWS:
        raise _bad(field, f"{name[:40]!r} is none of {', '.join(VIEWS)}")
    return name


def _resume(fields: dict[str, str]) -> After | None:
    """Both or neither; an empty epoch is a first connection."""
    epoch, after = fields.get("epoch", ""), fields.get("after", "")
    if not epoch or not after:
        return None
    if not (after.isascii() and after.isdigit() and len(after) <= 18):
        raise _bad("after", f"{after[:40]!r} is not a message's number")
    return After(epoch, int(after))


def _bad(field: str, why: str) -> MessageError:
    return MessageError("invalid", f"cannot take {field}: {why}", field)
