"""A viewer for the sandbox: ``steady_viewer.py FILE``; resumes where it was cut off.

Runs with the interpreter of /opt/geoos. Writes each message that it gets as a line of JSON.
"""

import json
import sys
from pathlib import Path

import trio
from trio_websocket import ConnectionClosed, HandshakeError, open_websocket_url

URL = "ws://127.0.0.1:8765/neural"


async def view(out):
    epoch, after = "", 0
    while True:
        query = f"?epoch={epoch}&after={after}" if epoch else ""
        try:
            async with open_websocket_url(URL + query) as socket:
                while True:
                    message = json.loads(await socket.get_message())
                    fresh = message["payload"].get("epoch", epoch)  # Hello has one
                    if fresh != epoch:
                        epoch, after = fresh, 0
                    after = max(after, message.get("seq") or 0)
                    out.write(json.dumps(message) + "\n")
                    out.flush()
        except (ConnectionClosed, HandshakeError, OSError):
            await trio.sleep(0.05)


with Path(sys.argv[1]).open("w") as file:
    trio.run(view, file)
