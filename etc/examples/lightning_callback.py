"""Show a training run live: a callback for PyTorch Lightning; every batch lights the layers up.

    from lightning_callback import GeoosCallback
    trainer = Trainer(callbacks=[GeoosCallback()])

What it sends of each layer is the mean of the absolute values of its last output: measured, not
made up. It works with Lightning, with pytorch_lightning, and without either: call the same hooks
from a loop of your own. It never harms the training: without geoos, or when geoos does not take
what it sends within a second, it says so once and stays silent.
"""

import json
import os
import socket
import struct
import time
import warnings
from typing import Any

try:
    from lightning.pytorch.callbacks import Callback
except ImportError:
    try:
        from pytorch_lightning.callbacks import Callback
    except ImportError:
        Callback = object

RUNTIME = (
    os.environ.get("GEOOS_RUNTIME_DIR") or os.environ.get("XDG_RUNTIME_DIR", "/run") + "/geoos"
)


class GeoosCallback(Callback):
    """Sends at most *per_second* updates; *path* is that of ``ingest.sock``."""

    def __init__(self, path: str = f"{RUNTIME}/ingest.sock", *, per_second: float = 20.0) -> None:
        self.path = path
        self.pause = 1 / per_second
        self.session = f"training-{os.getpid()}"
        self._geoos: socket.socket | None = None
        self._layers: dict[str, Any] = {}
        self._hooks: list[Any] = []
        self._next = 0.0

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Listen to every layer that has no layers of its own."""
        for name, layer in pl_module.named_modules():
            if name and not any(True for _ in layer.children()):
                self._hooks.append(layer.register_forward_hook(self._listener(name)))
        try:
            self._geoos = socket.socket(socket.AF_UNIX)
            self._geoos.settimeout(1.0)
            self._geoos.connect(self.path)
        except OSError as error:
            self._give_up(error)
        self._send("SessionStarted", session=self.session, model=type(pl_module).__name__)

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Tell how strongly every layer answered to this batch."""
        if self._geoos is None or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self.pause
        activations = [float(mean) for mean in self._layers.values()]
        self._send(
            "NeuralStateUpdate",
            daemon_id=self.session,
            session=self.session,
            sequence_position=batch_idx,
            data={"layer_activations": activations},
            provenance={"layer_activations": "measured"},
        )

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """Take leave."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self._send("SessionEnded", session=self.session)
        if self._geoos is not None:
            self._geoos.close()
            self._geoos = None

    def _listener(self, name: str) -> Any:
        self._layers[name] = 0.0

        def listen(layer: Any, inputs: Any, output: Any) -> None:
            if hasattr(output, "detach"):
                self._layers[name] = output.detach().abs().mean()

        return listen

    def _send(self, message_type: str, **payload: object) -> None:
        if self._geoos is None:
            return
        message = {"message_type": message_type, "timestamp": time.time(), "payload": payload}
        try:
            data = json.dumps(message, allow_nan=False).encode()
            self._geoos.sendall(struct.pack("<I", len(data)) + data)
        except ValueError:  # a loss that has run away to NaN: nothing that a map could show
            return
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        warnings.warn(f"cannot show this training at {self.path}: {error}", stacklevel=3)
        if self._geoos is not None:
            self._geoos.close()
            self._geoos = None
