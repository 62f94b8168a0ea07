"""What verbs ask of control (``io.geoos.Control``): as the command line says, and typed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeVar

import msgspec

from geoosctl import client
from geoosctl.cli import settings
from geoosd.errors import GeoosError

CONTROL: Final = "io.geoos.Control"

T = TypeVar("T")


def ask(
    method: str, parameters: Mapping[str, Any] | None = None, *, seconds: float = 5.0
) -> dict[str, Any]:
    """Control's answer to *method*; *seconds* to wait where ``--timeout`` does not say.

    Raises as :func:`.client.call` does.
    """
    options = settings()
    return client.call(
        options.control, f"{CONTROL}.{method}", parameters, timeout=options.wait(seconds)
    )


def ask_for(
    kind: type[T],
    method: str,
    parameters: Mapping[str, Any] | None = None,
    *,
    seconds: float = 5.0,
) -> T:
    """Control's answer to *method* as *kind*. Raises as :func:`ask` and :func:`read` do."""
    return read(ask(method, parameters, seconds=seconds), kind)


def listen(
    method: str, parameters: Mapping[str, Any] | None = None, *, seconds: float | None = None
) -> Iterator[dict[str, Any]]:
    """Control's answers to *method* as they come; *seconds* between two, None for ever."""
    options = settings()
    return client.stream(
        options.control, f"{CONTROL}.{method}", parameters, timeout=options.wait(seconds)
    )


def read(reply: Mapping[str, Any], kind: type[T]) -> T:
    """A reply as *kind*. Raises :class:`GeoosError` if it is not what it should be."""
    try:
        return msgspec.convert(reply, kind)
    except msgspec.ValidationError as error:
        raise GeoosError(
            f"cannot read the answer: {error}; geoosctl and the daemon may be of different versions"
        ) from None
