"""``Backup``: the state of every daemon that has one and the configuration, in one stream.

Control has no access to anybody's state; it passes on what the daemons give. A daemon that does not
answer ends it: a backup without its part would be a trap.
"""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from geoosd.config import Config, Paths
from geoosd.control.adapters.forward import explained, needs_more
from geoosd.errors import VarlinkError, reason_of
from geoosd.runtime import varlink
from geoosd.runtime.export import END, ExportedFile, send_files
from geoosd.runtime.varlink import IncomingCall, unavailable

WITH_STATE: Final = ("compositor", "bridge")
_THEMES: Final = Path("/etc/geoos/themes")


async def backup(call: IncomingCall, paths: Paths, config: Config) -> Mapping[str, Any]:
    """Answer *call*. Raises :class:`VarlinkError`."""
    needs_more(call)
    await send_files(call, configuration(config, _THEMES), "etc/")
    for daemon in WITH_STATE:
        path = paths.varlink(daemon)
        try:
            async with varlink.stream(path, "io.geoos.Daemon.Export") as replies:
                async for reply in replies:
                    if reply.get("file") is not None:
                        await call.reply({**reply, "file": f"state/{daemon}/{reply['file']}"})
        except VarlinkError as error:
            raise explained(daemon, path, error) from None
    return END


def configuration(config: Config, themes: Path) -> list[ExportedFile]:
    """The file that *config* comes from, and the administrator's *themes*. Raises
    :class:`VarlinkError` where one cannot be read."""
    sources = {f"themes/{path.name}": path for path in sorted(themes.glob("*.json"))}
    if config.source is not None:
        sources["geoos.toml"] = config.source
    try:
        return [ExportedFile(name, BytesIO(path.read_bytes())) for name, path in sources.items()]
    except OSError as error:
        raise unavailable(f"cannot read {error.filename}: {reason_of(error)}") from None
