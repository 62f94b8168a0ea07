"""API keys of upstreams: systemd credentials (systemd.exec(5), CREDENTIALS_DIRECTORY)."""

from __future__ import annotations

import os
from pathlib import Path

from geoosd import config
from geoosd.errors import ConfigError, reason_of


def read_api_key(settings: config.Upstream) -> str | None:
    """The key that the credential of *settings* holds; None where it names none.

    Raises :class:`ConfigError` where a credential is named but not there.
    """
    name = settings.api_key_credential
    if name is None:
        return None
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    if not directory:
        raise ConfigError(
            f"cannot use upstream {settings.id}: api_key_credential is {name!r} but "
            "CREDENTIALS_DIRECTORY is not set; add LoadCredential= to the unit, or point it at a "
            f"directory that holds the file {name}"
        )
    if "/" in name or name in ("", ".", ".."):
        raise ConfigError(f"cannot use upstream {settings.id}: {name!r} is not a credential's name")
    try:
        key = (Path(directory) / name).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = reason_of(error) if isinstance(error, OSError) else "not UTF-8"
        raise ConfigError(
            f"cannot use upstream {settings.id}: credential {name}: {reason}"
        ) from None
    if not key.isprintable() or not key.isascii():
        raise ConfigError(
            f"cannot use upstream {settings.id}: credential {name}: not one line of ASCII text"
        )
    return key
