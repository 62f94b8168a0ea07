"""A peer: LiteLLM's proxy, as its documentation starts it.

``python proxy_litellm.py UPSTREAM_PORT MODEL KEY`` prints its port once it answers. It runs in a
virtual environment of its own (:func:`processes.installed`). Nothing outside this machine is asked:
it takes the price list that it ships, and telemetry is off.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

_PATIENCE = 120.0


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except OSError:
        return False


def _announce(port: int, stdout: int) -> None:
    """Print the port as soon as requests are answered."""
    deadline = time.monotonic() + _PATIENCE
    while not _answers(f"http://127.0.0.1:{port}/health/liveliness"):
        if time.monotonic() > deadline:
            os.write(2, b"it did not answer\n")
            os._exit(1)
        time.sleep(0.1)
    os.write(stdout, b"%d\n" % port)


def main(upstream: int, model: str, key: str) -> None:
    """Serve until ended."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    served = {
        "model": f"openai/{model}",
        "api_base": f"http://127.0.0.1:{upstream}/v1",
        "api_key": "none",
    }
    config = {
        "model_list": [{"model_name": model, "litellm_params": served}],
        "general_settings": {"master_key": key},
        "litellm_settings": {"telemetry": False},
    }
    # What it prints on its way is not the port.
    stdout = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    from litellm import run_server

    with tempfile.TemporaryDirectory(prefix="geoos-bench-") as directory:
        path = Path(directory) / "config.yaml"
        path.write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML
        port = _free_port()
        threading.Thread(target=_announce, args=(port, stdout), daemon=True).start()
        arguments = ["--config", str(path), "--host", "127.0.0.1", "--port", str(port)]
        run_server(arguments, standalone_mode=False)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
