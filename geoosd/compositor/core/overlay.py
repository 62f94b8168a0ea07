"""Lays one picture over another, in integers, the same for every backend."""

from __future__ import annotations

import numpy as np

from geoosd.compositor.core.plan import Image, Overlay


def lay(picture: Image, overlay: Overlay) -> None:
    """Blend *overlay* over *picture*, of shape (height, width, 4); what lies outside is left out.

    Each channel is (below · (255 - alpha) + above · alpha + 127) // 255; the result is opaque.
    """
    height, width = picture.shape[:2]
    rows, columns = overlay.pixels.shape[:2]
    top, left = max(0, overlay.top), max(0, overlay.left)
    bottom, right = min(height, overlay.top + rows), min(width, overlay.left + columns)
    if top >= bottom or left >= right:
        return
    part = overlay.pixels[
        top - overlay.top : bottom - overlay.top, left - overlay.left : right - overlay.left
    ]
    below = picture[top:bottom, left:right, :3]
    alpha = part[..., 3:].astype(np.uint16)
    mixed = below * (255 - alpha) + part[..., :3] * alpha + np.uint16(127)
    below[:] = (mixed // 255).astype(np.uint8)
