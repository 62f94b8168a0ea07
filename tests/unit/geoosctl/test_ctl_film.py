"""Films: what a player shows of them, and for how long."""

import io
import sys

import numpy as np
import pytest
from PIL import Image, ImageSequence

from geoosctl.film import Film
from geoosd.errors import GeoosError

COLORS = [(200, 0, 0), (0, 200, 0), (0, 0, 200)]


def picture(color, size=(64, 48), kind="png"):
    out = io.BytesIO()
    Image.new("RGB", size, color).save(out, kind)
    return out.getvalue()


def film(kind="png"):
    made = Film()
    for index, color in enumerate(COLORS):
        made.add(picture(color, kind=kind), index * 0.25)
    made.add(picture(COLORS[-1], kind=kind), 0.75)
    made.end(1.1)
    return made


@pytest.mark.parametrize("suffix", [".webp", ".apng"])
def test_an_animation_shows_each_picture_for_its_time(tmp_path, suffix):
    path = tmp_path / f"film{suffix}"
    made = film()
    assert (len(made), made.seconds) == (3, 1.1)
    made.write(path)
    with Image.open(path) as read:
        assert read.n_frames == 3
        durations, colors = [], []
        for frame in ImageSequence.Iterator(read):
            frame.load()
            durations.append(frame.info["duration"])
            colors.append(np.asarray(frame.convert("RGB"))[20, 20].astype(int))
    assert durations == [250, 250, 600]
    for seen, meant in zip(colors, COLORS, strict=True):
        assert np.abs(seen - meant).max() < 12


def test_mp4_plays_as_long_as_it_was_recorded(tmp_path):
    av = pytest.importorskip("av")
    path = tmp_path / "film.mp4"
    odd = Film()
    for index, color in enumerate(COLORS):
        odd.add(picture(color, (65, 49), "jpeg"), index * 0.25)
    odd.end(1.1)
    odd.write(path)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.width, stream.height) == ("h264", 64, 48)
        frames = list(container.decode(stream))
    times = [float(frame.time) for frame in frames]
    assert times[:3] == pytest.approx([0.0, 0.25, 0.5], abs=0.005)
    assert times[-1] == pytest.approx(1.1, abs=0.005)
    for frame, meant in zip(frames, [*COLORS, COLORS[-1]], strict=True):
        seen = frame.to_ndarray(format="rgb24")[24, 32].astype(int)
        assert np.abs(seen - meant).max() < 30


def test_a_film_of_one_picture(tmp_path):
    for suffix in (".webp", ".apng"):
        path = tmp_path / f"film{suffix}"
        made = Film()
        made.add(picture(COLORS[0]), 0.0)
        made.end(0.0)
        made.write(path)
        with Image.open(path) as read:
            assert read.size == (64, 48)
    assert Film().seconds == 0.0


def test_without_pyav_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(GeoosError, match=r"pip install 'geoos\[video\]'"):
        film().write(tmp_path / "film.mp4")


def test_what_the_disk_refuses_is_said(tmp_path):
    with pytest.raises(GeoosError, match=r"cannot write .*: no such file or directory"):
        film().write(tmp_path / "nowhere" / "film.webp")
