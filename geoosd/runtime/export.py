"""A daemon's state on its way into a backup: open files, sent in pieces (``Export``).

Each daemon gives its own state, of which nobody else can read a byte; who asks needs no access to
the disk, and nothing is stopped for it. :mod:`geoosctl.archive` puts the files together.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, BinaryIO, Final, NamedTuple, TypeAlias

import trio

from geoosd.errors import VarlinkError, reason_of
from geoosd.runtime.varlink import IncomingCall, unavailable
from geoosd.wire import varlink as wire

PIECE: Final = 1 << 18
"""Bytes of a file in one reply, before base64."""

END: Final[dict[str, Any]] = {"file": None, "size": 0, "data": ""}
"""The parameters of the last reply."""


class ExportedFile(NamedTuple):
    """A file to be: ``name`` is relative to the state directory, ``content`` is read from its
    start and closed."""

    name: str
    content: BinaryIO


Export: TypeAlias = Callable[[], Awaitable[Sequence[ExportedFile]]]


async def nothing() -> Sequence[ExportedFile]:
    """The export of a daemon without state."""
    return ()


async def send_files(call: IncomingCall, files: Sequence[ExportedFile], prefix: str = "") -> None:
    """Reply to *call* with every piece of *files*, and close them.

    Raises :class:`VarlinkError` when the caller takes one reply only, or a file cannot be read.
    """
    try:
        if not call.more:
            raise VarlinkError(f"{wire.SERVICE}.ExpectedMore")
        for name, content in files:
            size = content.seek(0, 2)
            content.seek(0)
            sent = 0
            while True:
                piece = await trio.to_thread.run_sync(content.read, PIECE)
                data = b64encode(piece).decode()
                if piece or not sent:
                    await call.reply({"file": f"{prefix}{name}", "size": size, "data": data})
                sent += len(piece)
                if not piece or sent >= size:
                    break
    except OSError as error:
        raise unavailable(f"cannot read the state: {reason_of(error)}") from None
    finally:
        for each in files:
            each.content.close()
