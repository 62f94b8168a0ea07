"""A film of pictures taken one after the other: animated WebP and PNG by Pillow, MP4 by PyAV.

Pictures are kept as the files they came as, so an hour of 30 a second is some gigabytes less than
its pixels. Each is shown for as long as it was the newest one: a slow machine records fewer
pictures, not a faster film; what has not changed is not kept again.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

from PIL import Image

from geoosd.errors import GeoosError, reason_of

FORMATS = {".webp": "webp", ".apng": "png", ".mp4": "mp4"}
"""The suffixes of films, and the format of what Pillow writes."""


class Film:
    """Pictures and when each began, in seconds; :meth:`end` says when the last one ended."""

    def __init__(self) -> None:
        self._pictures: list[bytes] = []
        self._begins: list[float] = []
        self._end = 0.0

    def __len__(self) -> int:
        return len(self._pictures)

    @property
    def seconds(self) -> float:
        """From the first picture's beginning to the last one's end."""
        return self._end - self._begins[0] if self._begins else 0.0

    def add(self, picture: bytes, at: float) -> None:
        """The next picture, a whole file."""
        if not self._pictures or picture != self._pictures[-1]:
            self._pictures.append(picture)
            self._begins.append(at)
        self._end = at

    def end(self, at: float) -> None:
        """The last picture was shown until then."""
        self._end = at

    def durations(self) -> list[int]:
        """Of each picture, in milliseconds; rounding adds up to nothing over the film."""
        edges = [round((at - self._begins[0]) * 1000) for at in [*self._begins, self._end]]
        return [max(1, after - before) for before, after in pairwise(edges)]

    def write(self, path: Path) -> None:
        """The film as *path*'s suffix says. Raises :class:`GeoosError`."""
        kind = FORMATS[path.suffix.lower()]
        try:
            if kind == "mp4":
                self._write_mp4(path)
            else:
                self._write_animation(path, kind)
        except OSError as error:
            raise GeoosError(f"cannot write {path}: {reason_of(error)}") from None

    def _write_animation(self, path: Path, kind: str) -> None:
        options: dict[str, Any] = {"quality": 82, "method": 2} if kind == "webp" else {}
        reel = _Reel(self._pictures)
        reel.save(
            path, kind, save_all=True, duration=self.durations(), loop=0, disposal=0, **options
        )

    def _write_mp4(self, path: Path) -> None:
        av = video()
        with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
            stream = container.add_stream("h264", rate=30, options={"crf": "18", "preset": "fast"})
            first = _decoded(self._pictures[0])
            # H.264 with colour at half the resolution wants even sides.
            stream.width, stream.height = first.width // 2 * 2, first.height // 2 * 2
            stream.pix_fmt = "yuv420p"
            stream.codec_context.time_base = Fraction(1, 1000)
            at = 0
            for picture, duration in zip(self._shown_twice(), self._and_end(), strict=True):
                image = _decoded(picture).crop((0, 0, stream.width, stream.height))
                frame = av.VideoFrame.from_image(image)
                frame.pts, frame.time_base = at, Fraction(1, 1000)
                at += duration
                container.mux(stream.encode(frame))
            container.mux(stream.encode())

    def _shown_twice(self) -> Iterator[bytes]:
        """The pictures, the last one once more at its end: a frame has no duration of its own."""
        yield from self._pictures
        yield self._pictures[-1]

    def _and_end(self) -> list[int]:
        *before, last = self.durations()
        return [*before, max(1, last - 1), 1]


def video() -> Any:
    """PyAV. Raises :class:`GeoosError` naming the extra when it is missing."""
    try:
        import av
    except ImportError:
        raise GeoosError(
            "cannot write MP4: PyAV is missing; install it: pip install 'geoos[video]', "
            "or record .webp or .apng"
        ) from None
    return av


def _decoded(picture: bytes) -> Image.Image:
    return Image.open(io.BytesIO(picture)).convert("RGB")


class _Reel(Image.Image):
    """The pictures as one image of many frames, which Pillow's writers seek through: one is decoded
    at a time."""

    def __init__(self, pictures: list[bytes]) -> None:
        super().__init__()
        self._pictures = pictures
        self.n_frames = len(pictures)
        self.is_animated = True
        self.seek(0)

    def seek(self, frame: int) -> None:
        """Become that picture. Raises EOFError behind the last one."""
        if frame >= len(self._pictures):
            raise EOFError
        self._at = frame
        image = _decoded(self._pictures[frame])
        self.im, self._mode, self._size = image.im, image.mode, image.size

    def tell(self) -> int:
        """Which picture this is."""
        return self._at
