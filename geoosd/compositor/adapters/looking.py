"""What a caller of ``io.geoos.Compositor.Render`` wants to see, checked."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, Struct

from geoosd.compositor.adapters.encode import Format
from geoosd.compositor.core import views
from geoosd.compositor.core.look import MAX_ZOOM, Look
from geoosd.errors import VarlinkError
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


def _refused(reason: str) -> VarlinkError:
    return VarlinkError(INVALID_ARGUMENT, {"reason": reason})
