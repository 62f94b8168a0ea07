"""The views by name, in the order of :data:`geoosd.wire.pictures.VIEWS`.

Each makes a drawing of a moment; whoever asks for another gets the list.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from geoosd.compositor.core import inside_views, map_views
from geoosd.compositor.core.confidence_view import confidence
from geoosd.compositor.core.look import Drawing, Look
from geoosd.compositor.core.models_view import models
from geoosd.compositor.core.moment import Moment
from geoosd.wire.messages import Theme

Draw: TypeAlias = Callable[[Moment, Look, Theme], Drawing]

VIEWS: Final[dict[str, Draw]] = {
    "activation": map_views.activation,
    "memory": map_views.memory,
    "confidence": confidence,
    "models": models,
    "attention": inside_views.attention,
    "layers": inside_views.layers,
}

FADING: Final = frozenset({"activation", "models"})
"""Those whose pictures change by themselves, as what is active fades; the others wait for news."""


def draw(taken: Moment, look: Look, theme: Theme) -> Drawing:
    """The drawing that *look* asks for. Raises ValueError for a view that there is not."""
    view = VIEWS.get(look.view)
    if view is None:
        raise ValueError(f"cannot draw view {look.view!r}: there are {', '.join(VIEWS)}")
    return view(taken, look, theme)
