"""What a daemon would not start with, although each key is right by itself.

A daemon asks its own function when it starts, so that the others run on; ``geoosctl config check``
asks them all. Each raises :class:`geoosd.errors.ConfigError` that names the key.
"""

from __future__ import annotations

from geoosd.config import Config
from geoosd.errors import ConfigError


def check(config: Config) -> None:
    """Everything that can be told from the configuration alone."""
    broadcaster(config)
    engine(config)


def broadcaster(config: Config) -> None:
    """Whoever can be reached from other machines asks for a token."""
    address = config.broadcaster_listen
    if not config.broadcaster.token_key and not address.is_loopback:
        raise ConfigError(
            f"cannot listen on {address}: broadcaster.listen: off loopback every call needs a "
            "token; make a key: geoosctl token key FILE, and name it by broadcaster.token_key"
        )


def engine(config: Config) -> None:
    """There is one mode so far."""
    if config.engine.mode != "server":
        raise ConfigError(
            f"cannot start the embedded engine: engine.mode: {config.engine.mode!r} is not in "
            "this version; use 'server'"
        )
