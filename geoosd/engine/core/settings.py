"""How the model server is to run: threads, context and slots for a model on a machine.

Neighbours: :mod:`geoosd.engine.adapters.host` applies it to llama.cpp's server.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

SLOTS: Final = 2
"""Requests that are answered at once; more wait inside llama.cpp's server."""
SLOT_CONTEXT: Final = 4096
"""Tokens of prompt and answer together in one slot; a longer prompt is refused with 400."""
_ALL_CPUS_UP_TO: Final = 4
_MOST_THREADS: Final = 16


class ServerSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """What the child process is told, as JSON in its argument.

    ``alias`` is the model's id in ``/v1/models``; ``context`` is tokens of all slots together.
    """

    model: str
    alias: str
    host: str
    port: int
    threads: int
    context: int
    slots: int = SLOTS


def threads_for(configured: int, cpus: int) -> int:
    """Threads that compute: *configured*, or for 0 a default for *cpus* usable logical CPUs.

    Small machines use all. Bigger ones mostly count two logical CPUs a core, and a second thread
    on a core gains llama.cpp nothing: half, at most 16.
    """
    if configured:
        return configured
    if cpus <= _ALL_CPUS_UP_TO:
        return max(cpus, 1)
    return min(max(cpus // 2, _ALL_CPUS_UP_TO), _MOST_THREADS)


def context_for(trained: int | None) -> int:
    """Tokens of all slots together for a model that was trained with *trained* (None: unknown)."""
    return SLOTS * min(trained or SLOT_CONTEXT, SLOT_CONTEXT)
