"""The child process that is llama.cpp's own server (in process of xllamacpp), and nothing more.

Run as ``python -m geoosd.engine.adapters.host PARENT_PID SETTINGS_JSON``. It is a process of its
own because llama.cpp's assertions abort the process, its constructor keeps Python's lock while it
loads the model, and it installs its own signal handlers. It must end with its parent, however that
dies.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

import msgspec

from geoosd.engine.core.settings import ServerSettings
from geoosd.errors import EX_SOFTWARE

_PR_SET_PDEATHSIG = 1
_HTTP_THREADS = 32
"""A waiting request occupies one; /health must still be answered when many wait."""
_ERRORS_ONLY = 1
"""llama.cpp's verbosity. Warnings quote requests (parse errors), and prompts must not be logged."""
ENVIRONMENT = {
    "OMP_WAIT_POLICY": "passive",  # spinning threads fall to a tenth when another process is busy
    "GGML_NO_BACKTRACE": "1",  # on an assertion it would run a debugger on itself
}
"""What must be set before llama.cpp's library is loaded."""


def main(argv: list[str]) -> int:
    """Serve until killed; returns an exit code when the server cannot start."""
    parent, settings = int(argv[0]), msgspec.json.decode(argv[1], type=ServerSettings)
    _die_with(parent)
    server = _start(settings)
    if server is None:
        return EX_SOFTWARE
    # llama.cpp has set handlers that wait for its loop: an immediate end leaves nothing behind.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    while True:
        signal.pause()


def _die_with(parent: int) -> None:
    """Be killed when the parent ends, even while llama.cpp loads (prctl(2), PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def _start(settings: ServerSettings) -> object | None:
    """Load the model and serve it; None, with a line on stderr, if that fails."""
    import xllamacpp  # the library is 100 MB and reads its environment when loaded

    params = xllamacpp.CommonParams()
    params.model.path = settings.model
    params.model_alias = {settings.alias}
    params.hostnames = [settings.host]
    params.port = settings.port
    params.n_parallel = settings.slots
    params.n_ctx = settings.context
    params.fit_params = False  # would shrink the context by what memory is free just now
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings.threads
    params.n_threads_http = _HTTP_THREADS
    params.cache_ram_mib = 0  # no copies of old prompts
    params.cache_idle_slots = False
    params.endpoint_metrics = params.endpoint_slots = True
    params.ui = False
    params.cors_origins, params.cors_origins_explicit = "localhost", True
    params.cors_credentials = False
    params.verbosity = _ERRORS_ONLY
    try:
        server: object = xllamacpp.Server(params)
    except RuntimeError as error:
        print(f"cannot start llama.cpp's server: {error}", file=sys.stderr)  # noqa: T201
        return None
    return server


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
