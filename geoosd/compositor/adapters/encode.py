"""Pixels to picture files, by Pillow. Blocks; call it in a worker thread."""

from __future__ import annotations

from io import BytesIO
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

Format: TypeAlias = Literal["png", "jpeg", "webp"]

MEDIA_TYPES: Final[dict[Format, str]] = {
    "png": "image/png",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
}
_OPTIONS: Final[dict[Format, dict[str, Any]]] = {
    "png": {"compress_level": 1},
    "jpeg": {"quality": 88, "subsampling": 0},
    "webp": {"quality": 92, "method": 2},
}


def encode(pixels: npt.NDArray[np.uint8], picture_format: Format) -> bytes:
    """*pixels* of shape (height, width, 4) as a picture; the alpha is left out, all is opaque."""
    out = BytesIO()
    image = Image.fromarray(np.ascontiguousarray(pixels[..., :3]))
    image.save(out, picture_format, **_OPTIONS[picture_format])
    return out.getvalue()
