#!/usr/bin/env python3
"""Show any text on the map, word by word. Plain Python; nothing to install.

    python3 etc/examples/producer.py < README.md
    python3 etc/examples/producer.py /run/geoos/ingest.sock < README.md

A message is an unsigned 32-bit little-endian length and then JSON (docs/interfaces.md, Messages).
"""

import json
import os
import socket
import struct
import sys
import time

RUNTIME = (
    os.environ.get("GEOOS_RUNTIME_DIR") or os.environ.get("XDG_RUNTIME_DIR", "/run") + "/geoos"
)


def send(geoos: socket.socket, message_type: str, **payload: object) -> None:
    """One message about something that happens now."""
    message = {"message_type": message_type, "timestamp": time.time(), "payload": payload}
    data = json.dumps(message).encode()
    geoos.sendall(struct.pack("<I", len(data)) + data)


def main() -> None:
    """Standard input becomes one session; what geoos could not take is printed."""
    path = sys.argv[1] if len(sys.argv) > 1 else f"{RUNTIME}/ingest.sock"
    session = f"producer-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as geoos:
        geoos.connect(path)
        send(geoos, "SessionStarted", session=session, model="words")
        for position, word in enumerate(sys.stdin.read().split()):
            token = {"current_token": f"{word} ", "sequence_position": position}
            send(geoos, "TokenVisualizationUpdate", session=session, model="words", **token)
        send(geoos, "SessionEnded", session=session)
        geoos.shutdown(socket.SHUT_WR)
        sys.stdout.buffer.write(geoos.makefile("rb").read())


if __name__ == "__main__":
    main()
