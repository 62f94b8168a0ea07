"""Whether the embedded model server is wanted: ``geoosd engine --check-wanted``.

``ExecCondition=`` of the unit (systemd.service(5)): exit code 0 starts the engine, 1 skips it
without calling that a failure. A configuration that cannot be used gives 0 too: then the engine
says what is wrong and ends with 78. In the foreground ``geoosd up`` answers the same question.
"""

from __future__ import annotations

import http.client
import importlib.util
import urllib.error
import urllib.request
from collections.abc import Sequence

from geoosd.config import Config, well_known
from geoosd.errors import ConfigError
from geoosd.runtime import logs
from geoosd.runtime.service import argument_parser, load_config

_PATIENCE = 1.0
"""Seconds that another model server may take to answer."""
_SKIP = 1


def main(argv: Sequence[str]) -> int:
    """Say why the engine is not wanted, if so; the exit code."""
    parser = argument_parser("engine --check-wanted", "Ends with 0 where the engine is wanted.")
    try:
        config = load_config(parser.parse_args(argv))
    except ConfigError:
        return 0
    reason = why_not(config)
    if reason is None:
        return 0
    logs.configure("engine", config.log.level, config.log.format).logger().info(reason)
    return _SKIP


def why_not(config: Config) -> str | None:
    """Why the engine should not run; None where it should."""
    enabled = config.engine.enabled
    if enabled != "auto":
        return None if enabled == "yes" else 'not wanted: [engine] enabled = "no"'
    if importlib.util.find_spec("xllamacpp") is None:
        return "not wanted: the package xllamacpp is not installed"
    for upstream in config.upstreams or well_known(config.engine_listen)[:-1]:
        if _answers(f"{upstream.url}/v1/models"):
            return f"not wanted: {upstream.id} answers at {upstream.url}"
    return None


def _answers(url: str) -> bool:
    """Whether any HTTP server is there; what it says does not matter. Asks no proxy."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        opener.open(url, timeout=_PATIENCE).close()
    except urllib.error.HTTPError as error:
        error.close()
    except (OSError, http.client.HTTPException):
        return False
    return True
