"""A peer: mitmproxy in reverse mode, streaming bodies both ways as its documentation advises.

``python proxy_mitmproxy.py UPSTREAM_PORT`` prints its port. It runs in a virtual environment of its
own (:func:`processes.installed`).
"""

from __future__ import annotations

import sys
import tempfile
from typing import Any

from mitmproxy import ctx
from mitmproxy.tools.main import mitmdump


class Streaming:
    """Passes bodies on as they come; by default they are held back until they are whole."""

    def running(self) -> None:
        """Print the port."""
        proxyserver: Any = ctx.master.addons.get("proxyserver")
        print(proxyserver.listen_addrs()[0][1], flush=True)

    def requestheaders(self, flow: Any) -> None:
        """A request has begun."""
        flow.request.stream = True

    def responseheaders(self, flow: Any) -> None:
        """An answer has begun."""
        flow.response.stream = True


addons = [Streaming()]

if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="geoos-bench-") as directory:
        mitmdump(
            [
                f"--mode=reverse:http://127.0.0.1:{int(sys.argv[1])}",
                "--listen-host=127.0.0.1",
                "--listen-port=0",
                f"--set=confdir={directory}",
                f"--scripts={__file__}",
                "--quiet",
            ]
        )
