"""State files and theme files on disk."""

import io
import json
import os
import pickle
import struct
import zipfile

import msgspec
import numpy as np
import pytest

from geoosd.compositor.adapters import themes
from geoosd.compositor.adapters.scene_file import SceneFile, decode_scene, encode_scene
from geoosd.compositor.adapters.snapshot import PlacesFile, StateFiles
from geoosd.compositor.core.layouts import Layout
from geoosd.compositor.core.places import Places
from geoosd.errors import StartError
from geoosd.wire.messages import District, TokenVisualizationUpdate

FAR = 7
DISTRICTS = [District(1, "m", "ids"), District(FAR, "n", "text")]
HERE = {1, FAR}


def some_scene():
    thoughts = [(TokenVisualizationUpdate("ä", 1, cell=3, district=1), 12.5)]
    keys = np.array([1 << 20 | 5, FAR << 20 | 9], np.uint64)
    return SceneFile(keys, np.array([0.5, 2.0]), thoughts)


def test_what_is_saved_comes_back(tmp_path):
    files = StateFiles(tmp_path)
    assert files.load_places() == PlacesFile()
    assert files.load_scene([]) is None
    places = PlacesFile(districts=DISTRICTS, theme="ember")
    files.save_places(places)
    files.save_scene(some_scene())
    again = StateFiles(tmp_path)
    assert again.load_places() == places
    keys, weights, thoughts = again.load_scene(DISTRICTS)
    assert keys.tolist() == [1 << 20 | 5, FAR << 20 | 9]
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
    b"[" * 100_000,
    b'{"districts":' + b"[" * 100_000,
    b'{"version":' + b"9" * 5000 + b"}",
    b'{"version":1e300}',
    b'{"theme":["a"]}',
    b" " * (17 << 20),
    *(
        json.dumps({"districts": districts}).encode()
        for districts in (
            [{"index": 0, "model": "m", "id_space": "ids"}],
            [{"index": 0, "model": "m", "id_space": "given"}],
            [{"index": 1, "model": None, "id_space": "ids"}],
            [{"index": 1, "model": "m", "id_space": "sums"}],
            [{"index": -1, "model": "m", "id_space": "ids"}],
            [{"index": 4097, "model": "m", "id_space": "ids"}],
            [{"index": 10**30, "model": "m", "id_space": "ids"}],
            [{"index": 1, "model": "m", "id_space": "ids"}] * 2,
            {"1": "m"},
        )
    ),
    json.dumps({"layouts": {f"m{number}": number for number in range(33)}}).encode(),
    json.dumps({"layouts": {"m": 0.5}}).encode(),
]


@pytest.mark.parametrize("data", BAD_PLACES, ids=range(len(BAD_PLACES)))
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
    assert files.load_scene(DISTRICTS) is None
    assert "a newer geoos wrote it (format version 3, this one reads 2)" in files.complaints[0]
    assert (tmp_path / "scene.npz.unreadable").read_bytes() == data


def test_a_scene_of_the_first_version_is_read(tmp_path):
    files = StateFiles(tmp_path)
    token = TokenVisualizationUpdate("ä", 1, cell=3, district=1)
    np.savez(
        files.scene_path,
        format=np.array("geoos-compositor"),
        version=np.array(1),
        keys=np.array([1 << 20], np.uint64),
        weights=np.array([2.0]),
        tokens=np.frombuffer(msgspec.json.encode([token]), np.uint8),
    )
    keys, weights, thoughts = files.load_scene(DISTRICTS)
    assert (keys.tolist(), weights.tolist()) == ([1 << 20], [2.0])
    assert thoughts == [(token, 0.0)]


def test_many_tokens_come_back_in_order(tmp_path):
    files = StateFiles(tmp_path)
    thoughts = [
        (TokenVisualizationUpdate(f'"{n}"', n, cell=n, district=1), n / 8) for n in range(1000)
    ]
    files.save_scene(some_scene()._replace(thoughts=thoughts))
    assert files.load_scene(DISTRICTS).thoughts == thoughts
    files.save_scene(some_scene()._replace(thoughts=[]))
    assert files.load_scene(DISTRICTS).thoughts == []


def test_a_layout_outlives_places_that_are_set_aside(tmp_path):
    """Whoever repairs them finds it there; what is no longer in force goes."""
    files, layout = StateFiles(tmp_path), Layout(struct.pack("<2i", 1, 0))
    files.save_layout(layout)
    files.save_places(PlacesFile(layouts={"m": layout.version}))
    files.places_path.write_bytes(b"{")
    again = StateFiles(tmp_path)
    again.save_places(again.load_places())
    assert files.layout_path(layout.version).exists()
    files.places_path.write_text(json.dumps({"layouts": {"m": layout.version}}))
    repaired = StateFiles(tmp_path)
    assert repaired.load_layout(repaired.load_places().layouts["m"], "m").data == layout.data
    repaired.save_places(PlacesFile())
    assert not files.layout_path(layout.version).exists()


def test_places_torn_anywhere_are_set_aside(tmp_path):
    files = StateFiles(tmp_path)
    files.save_places(PlacesFile(districts=DISTRICTS))
    whole = files.places_path.read_bytes()
    for length in range(len(whole)):
        files.places_path.write_bytes(whole[:length])
        assert files.load_places() == PlacesFile()
        assert not files.places_path.exists()


def test_a_scene_with_any_byte_changed_is_taken_or_set_aside(tmp_path):
    files = StateFiles(tmp_path)
    files.save_scene(some_scene())
    whole = files.scene_path.read_bytes()
    for place in range(0, len(whole), 5):
        for mask in (0x01, 0xFF):
            torn = bytearray(whole)
            torn[place] ^= mask
            files.scene_path.write_bytes(torn)
            scene = files.load_scene(DISTRICTS)
            assert scene is None or scene.weights.min() >= 0


def test_a_scene_torn_anywhere_is_set_aside():
    whole = encode_scene(some_scene())
    for length in range(len(whole)):
        with pytest.raises(ValueError):  # noqa: PT011 - whatever zipfile says of it
            decode_scene(whole[:length], HERE)


TOKEN = {"current_token": "a", "sequence_position": 1, "cell": 1, "district": 1}


def packed(**changed):
    members = {
        "format": np.array("geoos-compositor"),
        "version": np.array(2),
        "keys": np.array([1 << 20], np.uint64),
        "weights": np.array([1.0]),
        "tokens": [TOKEN],
        "stamps": np.array([12.5]),
    } | changed
    if isinstance(members["tokens"], list):
        members["tokens"] = np.frombuffer(json.dumps(members["tokens"]).encode(), np.uint8)
    out = io.BytesIO()
    np.savez(out, **{name: each for name, each in members.items() if each is not None})
    return out.getvalue()


def claiming(shape):
    """An archive whose keys say that they are of *shape*, and hold nothing."""
    header = repr({"descr": "<u8", "fortran_order": False, "shape": shape}).encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(packed())) as good, zipfile.ZipFile(out, "w") as bad:
        for name in good.namelist():
            data = good.read(name)
            if name == "keys.npy":
                data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
            bad.writestr(name, data)
    return out.getvalue()


def array_alone():
    out = io.BytesIO()
    np.save(out, np.zeros(3))
    return out.getvalue()


def bomb():
    """A gigabyte of zeros in a megabyte."""
    out = io.BytesIO()
    with (
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("keys.npy", "w", force_zip64=True) as member,
    ):
        for _ in range(257):
            member.write(bytes(1 << 20))
    return out.getvalue()


FOREIGN_SCENES = {
    "nothing": b"",
    "text": b"hello",
    "pickle": pickle.dumps({"keys": [1]}),
    "an array alone": array_alone(),
    "another format": packed(format=np.array("other")),
    "version 0": packed(version=np.array(0)),
    "a list of versions": packed(version=np.array([2, 2])),
    "a complex version": packed(version=np.array(2j)),
    "an endless version": packed(version=np.array(np.inf)),
    "a version in words": packed(version=np.array("two")),
    "objects": packed(keys=np.array([{}], dtype=object)),
    "keys in words": packed(keys=np.array(["a"])),
    "keys that are no integers": packed(keys=np.array([1.5])),
    "negative keys": packed(keys=np.array([-1])),
    "dates for keys": packed(keys=np.array(["2020-01-01"], "M8[D]")),
    "a table of keys": packed(keys=np.array([[1 << 20]], np.uint64)),
    "more keys than weights": packed(keys=np.array([1 << 20, 2 << 20], np.uint64)),
    "a key twice": packed(keys=np.array([1 << 20] * 2, np.uint64), weights=np.ones(2)),
    "the key of an unknown district": packed(keys=np.array([9 << 20], np.uint64)),
    "the largest key": packed(keys=np.array([2**64 - 1], np.uint64)),
    "no keys": packed(keys=None),
    "a negative weight": packed(weights=np.array([-1.0])),
    "no number for a weight": packed(weights=np.array([np.nan])),
    "an endless weight": packed(weights=np.array([np.inf])),
    "a huge weight": packed(weights=np.array([1e300])),
    "tokens in words": packed(tokens=np.array(["x"])),
    "tokens without end": packed(tokens=np.frombuffer(b"[" * 100_000, np.uint8)),
    "no tokens": packed(tokens=np.frombuffer(b"{}", np.uint8)),
    "a token without a cell": packed(tokens=[TOKEN | {"cell": None}]),
    "a token beyond the district": packed(tokens=[TOKEN | {"cell": 1 << 20}]),
    "a token's huge cell": packed(tokens=[TOKEN | {"cell": 10**30}]),
    "a token without a district": packed(tokens=[TOKEN | {"district": None}]),
    "a token of an unknown district": packed(tokens=[TOKEN | {"district": 9}]),
    "more tokens than stamps": packed(tokens=[TOKEN] * 2),
    "no number for a stamp": packed(stamps=np.array([np.nan])),
    "no stamps": packed(stamps=None),
    "a shape without room": claiming((10**9,)),
    "a shape beyond memory": claiming((10**14,)),
    "a shape beyond integers": claiming((10**20,)),
    "a negative shape": claiming((-5,)),
    "a bomb": bomb(),
}


@pytest.mark.parametrize("data", FOREIGN_SCENES.values(), ids=FOREIGN_SCENES)
def test_a_foreign_scene_is_set_aside(tmp_path, data):
    files = StateFiles(tmp_path)
    files.scene_path.write_bytes(data)
    assert files.load_scene(DISTRICTS) is None
    assert (tmp_path / "scene.npz.unreadable").read_bytes() == data
    (complaint,) = files.complaints
    assert complaint.startswith(f"cannot use {files.scene_path}: ")
    assert complaint.endswith("; kept as scene.npz.unreadable, starting without it")


def test_what_the_foreign_scenes_were_made_of_is_one():
    keys, weights, thoughts = decode_scene(packed(), HERE)
    assert (keys.tolist(), weights.tolist()) == ([1 << 20], [1.0])
    assert [(token.cell, at) for token, at in thoughts] == [(1, 12.5)]


def test_a_scene_without_its_places_lights_no_other_model_s_cells(tmp_path):
    files = StateFiles(tmp_path)
    files.save_scene(some_scene())
    assert files.load_scene(DISTRICTS[:1]) is None
    assert "districts that places.json does not have" in files.complaints[0]


def obstacles(path):
    """What may lie where a file should be, each made by a call."""
    return {
        "a directory": path.mkdir,
        "a pipe": lambda: os.mkfifo(path),
        "a device": lambda: path.symlink_to("/dev/zero"),
        "a loop": lambda: path.symlink_to(path.name),
    }


@pytest.mark.parametrize("what", ["a directory", "a pipe", "a device", "a loop"])
def test_what_is_no_file_is_set_aside_and_nothing_waits_for_it(tmp_path, what):
    files = StateFiles(tmp_path)
    for path in (files.places_path, files.scene_path):
        obstacles(path)[what]()
    assert files.load_places() == PlacesFile()
    assert files.load_scene([]) is None
    assert len(files.complaints) == 2
    files.save_places(PlacesFile(theme="paper"))
    assert files.load_places().theme == "paper"


def test_a_file_that_cannot_even_be_renamed_is_said(tmp_path):
    files = StateFiles(tmp_path)
    files.places_path.write_bytes(b"{")
    (tmp_path / "places.json.unreadable").mkdir()
    assert files.load_places() == PlacesFile()
    (complaint,) = files.complaints
    assert "cannot rename it either: " in complaint


AURORA = {
    "name": "aurora",
    "title": "Mine",
    "background": "#000000",
    "text": "#ffffff",
    "muted": "#888888",
    "accent": "#ff8800",
    "ramp": ["#000000", "#ffffff"],
    "tints": ["#ffffff"],
}
FOREIGN_THEMES = {
    "torn": b"{",
    "nothing": b"",
    "no text": b"\xff",
    "without end": b"[" * 60_000,
    "huge": b" " * 70_000,
    "a list": b"[]",
    "of another name": json.dumps(AURORA).encode(),
    "a number for a colour": json.dumps(AURORA | {"name": "other", "text": 7}).encode(),
    "no colours": json.dumps(AURORA | {"name": "other", "ramp": []}).encode(),
}


@pytest.mark.parametrize("data", FOREIGN_THEMES.values(), ids=FOREIGN_THEMES)
def test_a_user_s_theme_that_cannot_be_used_is_set_aside_a_shared_one_is_named(tmp_path, data):
    shared, own = tmp_path / "shared", tmp_path / "own"
    for directory in (shared, own):
        directory.mkdir()
        (directory / "other.json").write_bytes(data)
        (directory / "aurora.json").write_text(json.dumps(AURORA))
    found, unusable, lost = themes.load([shared], own)
    assert list(found) == ["aurora"]
    assert [line.partition(": ")[0] for line in unusable] == [f"cannot use {shared / 'other.json'}"]
    assert [line.rpartition(";")[2] for line in lost] == [
        " kept as other.json.unreadable, starting without it"
    ]
    assert (shared / "other.json").exists()
    assert themes.load([shared], own).lost == []


def test_themes_of_later_directories_win(tmp_path):
    *shared, own = themes.directories(tmp_path)
    before = themes.load(shared, own)
    assert themes.DEFAULT in before.themes
    own.mkdir()
    (own / "aurora.json").write_text(json.dumps(AURORA))
    found = themes.load(shared, own).themes
    assert found["aurora"].title == "Mine"
    assert found.keys() == before.themes.keys()
    assert list(themes.saved(tmp_path)) == ["aurora.json"]


def test_what_is_no_directory_of_themes(tmp_path):
    shared, own = tmp_path / "shared", tmp_path / "themes"
    for path in (shared, own):
        path.write_text("no directory")
    found, unusable, lost = themes.load([shared], own)
    assert (found, unusable) == ({}, [f"cannot use {shared}: not a directory"])
    assert "kept as themes.unreadable" in lost[0]
    assert not own.exists()


def test_every_shipped_theme_is_valid(repository, tmp_path):
    found, unusable, lost = themes.load([repository / "etc" / "themes"], tmp_path / "none")
    assert len(found) >= 3
    assert unusable == lost == []
