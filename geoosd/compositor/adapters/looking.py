"""What a caller of ``Render`` and ``AdoptLayout`` (``io.geoos.Compositor``) wants, checked."""

from __future__ import annotations

import binascii
from base64 import b64decode
from typing import Annotated, Final

from msgspec import Meta, Struct

from geoosd.compositor.adapters.encode import Format
from geoosd.compositor.core import views
from geoosd.compositor.core.layouts import MAX_TOKENS, Parts
from geoosd.compositor.core.look import MAX_ZOOM, Look
from geoosd.errors import VarlinkError
from geoosd.wire.messages import Count, Name
from geoosd.wire.varlink import INVALID_ARGUMENT

_DEFAULT_SIZE: Final = 1024
_MOST_PIXELS: Final = 4096

Pixels = Annotated[int, Meta(ge=16, le=_MOST_PIXELS)]


class RenderQuery(Struct, forbid_unknown_fields=True):
    """The parameters, as the interface file explains them."""

    width: Pixels | None = None
    height: Pixels | None = None
    theme: str | None = None
    view: str | None = None
    format: Format | None = None
    zoom: Annotated[float, Meta(ge=0.01, le=MAX_ZOOM)] | None = None
    center_x: float | None = None
    center_y: float | None = None
    labels: bool | None = None
    dpr: Annotated[float, Meta(ge=1, le=4)] | None = None

    def look(self) -> Look:
        """What is to be seen. Raises :class:`VarlinkError`; for an unknown view it lists them."""
        view = self.view or "activation"
        if view not in views.VIEWS:
            raise _refused(f"cannot draw view {view!r}: there are {', '.join(views.VIEWS)}")
        if (self.center_x is None) != (self.center_y is None):
            raise _refused("cannot look there: center_x and center_y belong together")
        center = None
        if self.center_x is not None and self.center_y is not None:
            center = self.center_x, self.center_y
        ratio = self.dpr or 1.0
        width = round((self.width or _DEFAULT_SIZE) * ratio)
        height = round((self.height or _DEFAULT_SIZE) * ratio)
        if max(width, height) > _MOST_PIXELS:
            raise _refused(
                f"cannot draw {width} × {height} pixels: at most {_MOST_PIXELS} each; lower dpr"
            )
        return Look(view, width, height, self.zoom or 1.0, center, bool(self.labels))


class LayoutQuery(Struct, forbid_unknown_fields=True):
    """A part of a layout; none where ``tokens`` is 0."""

    model: Annotated[Name, Meta(min_length=1)]
    tokens: Annotated[int, Meta(ge=0, le=MAX_TOKENS)]
    first: Count = 0
    places: str = ""

    def whole(self, parts: Parts) -> bytes | None:
        """The whole layout when this is its last part. Raises ValueError."""
        try:
            part = b64decode(self.places, validate=True)
        except binascii.Error as error:
            raise ValueError(f"places is no base64: {error}") from None
        return parts.add(self.model, self.tokens, self.first, part)


def _refused(reason: str) -> VarlinkError:
    return VarlinkError(INVALID_ARGUMENT, {"reason": reason})
