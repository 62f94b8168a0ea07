"""What pictures are made from: the scene as it is at one moment, by itself.

The event loop only copies; planning, drawing and encoding are a thread's, while the scene goes on.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from functools import cached_property

from geoosd.compositor.core.cartography import MAX_TRAIL, TRAILS
from geoosd.compositor.core.field import Cells, Keys, Weights, key_of_token
from geoosd.compositor.core.insides import Inside
from geoosd.compositor.core.places import Places
from geoosd.compositor.core.scene import Scene
from geoosd.compositor.core.thoughts import StreamKey, Thought
from geoosd.wire.messages import District, SessionView


@dataclass(frozen=True)
class Moment:
    """``newest`` are tokens over all streams, oldest first; ``glow`` is how active the cells
    are that trails join; ``insides`` the newest first."""

    now: float
    activation: Cells
    memory: Cells
    newest: list[Thought]
    glow: dict[int, float]
    streams: dict[StreamKey, list[Thought]]
    insides: list[Inside]
    sessions: dict[str, SessionView]
    districts: list[District]

    @cached_property
    def lit(self) -> tuple[Keys, Weights]:
        """Cells that are active now, strongest first, and how strongly."""
        return self.activation.strongest()

    @cached_property
    def remembered(self) -> tuple[Keys, Weights]:
        """Cells that are remembered, and how often each came."""
        return self.memory.strongest()

    @property
    def in_use(self) -> Keys:
        """The cells that a fitted view shows: what is remembered, else what is lit."""
        known, _ = self.remembered
        return known if len(known) else self.lit[0]

    def tints(self, count: int) -> dict[int, int]:
        """The tint of each district, of *count*: models in order of appearance, round and round."""
        models: dict[str | None, int] = {}
        return {
            district.index: models.setdefault(district.model, len(models)) % count
            for district in self.districts
        }

    def words_of(self, session: str) -> dict[int, Thought]:
        """The tokens of a session's first choice, by position in the text."""
        return {
            thought.token.sequence_position: thought
            for (name, choice), thoughts in self.streams.items()
            if name == session and choice in (None, 0)
            for thought in thoughts
        }


def moment(scene: Scene, places: Places, now: float) -> Moment:
    """Copy what a picture of *scene* may need: a fraction of a millisecond for 100,000 cells."""
    joined = {key_of_token(token) for token in scene.thoughts.latest(TRAILS, MAX_TRAIL)}
    return Moment(
        now,
        scene.activation.at(now),
        scene.memory.at(now),
        list(scene.thoughts.newest),
        scene.activation.values(joined, now),
        scene.thoughts.streams(),
        [
            replace(each, rows=deque(each.rows), past=deque(each.past))
            for each in scene.insides.all()
        ],
        dict(scene.sessions),
        places.districts,
    )
