"""State files and theme files on disk."""

import json
import struct

import msgspec
import numpy as np
import pytest

from geoosd.compositor.adapters import themes
from geoosd.compositor.adapters.snapshot import PlacesFile, SceneFile, StateFiles
from geoosd.compositor.core.layouts import Layout
from geoosd.compositor.core.places import Places
from geoosd.errors import StartError
from geoosd.wire.messages import District, TokenVisualizationUpdate


def some_scene():
    thoughts = [(TokenVisualizationUpdate("ä", 1, cell=3, district=1), 12.5)]
    return SceneFile(np.array([1, 2**40], np.uint64), np.array([0.5, 2.0]), thoughts)


def test_what_is_saved_comes_back(tmp_path):
    files = StateFiles(tmp_path)
    assert files.load_places() == PlacesFile()
    assert files.load_scene() is None
    places = PlacesFile(districts=[District(1, "m", "ids")], theme="ember")
    files.save_places(places)
    files.save_scene(some_scene())
    again = StateFiles(tmp_path)
    assert again.load_places() == places
    keys, weights, thoughts = again.load_scene()
    assert keys.tolist() == [1, 2**40]
    assert weights.tolist() == [0.5, 2.0]
    assert [(token.current_token, at) for token, at in thoughts] == [("ä", 12.5)]
    assert again.complaints == []
    again.remove_scene()
    again.remove_scene()
    assert [path.name for path in tmp_path.iterdir()] == ["places.json"]


def test_layouts_are_on_disk_while_they_are_in_force(tmp_path):
    files, layout = StateFiles(tmp_path), Layout(struct.pack("<2i", 1, 0))
    where = Places()
    where.adopt("m", layout)
    files.save_layout(layout)
    files.save_places(PlacesFile.of(where, "ember"))
    loaded = files.load_places()
    assert (loaded.version, loaded.layouts) == (2, {"m": layout.version})
    assert files.load_layout(layout.version, "m").data == layout.data
    where.adopt("m", None)
    files.save_places(PlacesFile.of(where, "ember"))
    assert [path.name for path in tmp_path.iterdir()] == ["places.json"]
    assert files.load_places().version == 1, "an older geoos can read it"
    assert files.complaints == []


@pytest.mark.parametrize("data", [None, b"abc", struct.pack("<2i", 0, 1)])
def test_a_layout_that_is_not_what_its_name_says(tmp_path, data):
    files, layout = StateFiles(tmp_path), Layout(struct.pack("<2i", 1, 0))
    path = files.layout_path(layout.version)
    if data is not None:
        path.write_bytes(data)
    assert files.load_layout(layout.version, "m") is None
    (complaint,) = files.complaints
    assert "tokens of m lie by their ids" in complaint
    assert not path.exists()


BAD_PLACES = [
    b"",
    b"\xff",
    b"[]",
    b'{"format":"other","version":1}',
    b'{"format":"geoos-compositor","version":0}',
    b'{"format":"geoos-compositor","version":"2"}',
    b'{"format":"other","version":2}',
    json.dumps({"districts": [{"index": 0, "model": "m", "id_space": "ids"}]}).encode(),
]


@pytest.mark.parametrize("data", BAD_PLACES)
def test_foreign_places_are_set_aside(tmp_path, data):
    files = StateFiles(tmp_path)
    files.places_path.write_bytes(data)
    assert files.load_places() == PlacesFile()
    assert (tmp_path / "places.json.unreadable").read_bytes() == data
    assert "kept as places.json.unreadable" in files.complaints[0]


NEWER_PLACES = [
    b'{"format":"geoos-compositor","version":3}',
    # What it holds besides may look like nothing that we know.
    b'{"format":"geoos-compositor","version":4,"districts":{"m":7},"theme":["a"]}',
]


@pytest.mark.parametrize("data", NEWER_PLACES)
def test_newer_places_are_refused_and_left_alone(tmp_path, data):
    files = StateFiles(tmp_path)
    files.places_path.write_bytes(data)
    with pytest.raises(StartError, match=r"places\.json: a newer geoos wrote it .*; install that"):
        files.load_places()
    assert files.places_path.read_bytes() == data
    assert [path.name for path in tmp_path.iterdir()] == ["places.json"]
    assert files.complaints == []


def test_a_newer_scene_is_set_aside_whole(tmp_path):
    files = StateFiles(tmp_path)
    np.savez(files.scene_path, format=np.array("geoos-compositor"), version=np.array(3))
    data = files.scene_path.read_bytes()
    assert files.load_scene() is None
    assert "a newer geoos wrote it (format version 3)" in files.complaints[0]
    assert (tmp_path / "scene.npz.unreadable").read_bytes() == data


def test_a_scene_of_the_first_version_is_read(tmp_path):
    files = StateFiles(tmp_path)
    token = TokenVisualizationUpdate("ä", 1, cell=3, district=1)
    np.savez(
        files.scene_path,
        format=np.array("geoos-compositor"),
        version=np.array(1),
        keys=np.array([7], np.uint64),
        weights=np.array([2.0]),
        tokens=np.frombuffer(msgspec.json.encode([token]), np.uint8),
    )
    keys, weights, thoughts = files.load_scene()
    assert (keys.tolist(), weights.tolist()) == ([7], [2.0])
    assert thoughts == [(token, 0.0)]


def test_many_tokens_come_back_in_order(tmp_path):
    files = StateFiles(tmp_path)
    thoughts = [
        (TokenVisualizationUpdate(f'"{n}"', n, cell=n, district=1), n / 8) for n in range(1000)
    ]
    files.save_scene(some_scene()._replace(thoughts=thoughts))
    assert files.load_scene().thoughts == thoughts
    files.save_scene(some_scene()._replace(thoughts=[]))
    assert files.load_scene().thoughts == []


def test_a_scene_with_any_byte_changed_is_taken_or_set_aside(tmp_path):
    files = StateFiles(tmp_path)
    files.save_scene(some_scene())
    whole = files.scene_path.read_bytes()
    for place in range(0, len(whole), 5):
        for mask in (0x01, 0xFF):
            torn = bytearray(whole)
            torn[place] ^= mask
            files.scene_path.write_bytes(torn)
            scene = files.load_scene()
            assert scene is None or scene.weights.min() >= 0


def test_a_scene_torn_anywhere_is_set_aside(tmp_path):
    files = StateFiles(tmp_path)
    files.save_scene(some_scene())
    whole = files.scene_path.read_bytes()
    for length in range(0, len(whole), 37):
        files.scene_path.write_bytes(whole[:length])
        assert files.load_scene() is None
        assert not files.scene_path.exists()


def test_a_scene_that_makes_no_sense_is_set_aside(tmp_path):
    files = StateFiles(tmp_path)
    for weights in ([1.0], [1.0, -1.0], [1.0, np.nan], [1.0, np.inf]):
        files.save_scene(some_scene()._replace(weights=np.array(weights)))
        assert files.load_scene() is None
    unplaced = [(TokenVisualizationUpdate("a", 0), 1.0)]
    files.save_scene(some_scene()._replace(thoughts=unplaced))
    assert files.load_scene() is None
    files.scene_path.mkdir()
    assert files.load_scene() is None
    assert "cannot use" in files.complaints[-2]


def test_themes_of_later_directories_win_and_bad_ones_are_named(tmp_path):
    shipped = themes.directories(tmp_path)[0]
    known, complaints = themes.load(themes.directories(tmp_path))
    assert themes.DEFAULT in known
    assert complaints == []
    own = tmp_path / "themes"
    own.mkdir()
    mine = json.loads((shipped / "aurora.json").read_text()) | {"title": "Mine"}
    (own / "aurora.json").write_text(json.dumps(mine))
    (own / "other.json").write_text(json.dumps(mine))
    (own / "broken.json").write_text("{")
    (own / "huge.json").write_text(" " * 70_000)
    known, complaints = themes.load(themes.directories(tmp_path))
    assert known["aurora"].title == "Mine"
    assert len(complaints) == 3
    assert any("name the file aurora.json" in line for line in complaints)


def test_every_shipped_theme_is_valid(repository):
    known, complaints = themes.load([repository / "etc" / "themes"])
    assert len(known) >= 3
    assert complaints == []
