"""Backups on the disk: what was written comes back, and nothing else is taken."""

import io
import json
import subprocess
import tarfile

import pytest
from backports.zstd import ZstdFile
from hypothesis import given
from hypothesis import strategies as st

from geoosctl import archive
from geoosctl.archive import Incoming
from geoosd.errors import GeoosError

FILES = {
    "etc/geoos.toml": b"[log]\n",
    "state/compositor/places.json": b"{}",
    "state/compositor/themes/mine.json": b"",
    "state/bridge/sessions.db": bytes(range(256)) * 3000,
}


def incoming(files):
    for path, content in files.items():
        half = len(content) // 2
        yield Incoming(path, len(content), iter([content[:half], content[half:]]))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("backup") / "b.tar.zst"
    with path.open("wb") as file:
        archive.write(file, incoming(FILES), 1.0)
    return path


def collect(path):
    found = {}

    def sink(entry, pieces):
        found[entry.path] = b"".join(pieces)

    return archive.read(path, sink), found


def test_what_was_written_comes_back(whole):
    contents, found = collect(whole)
    assert found == FILES
    assert contents.bytes == sum(map(len, FILES.values()))
    assert [each.path for each in contents.files] == list(FILES)
    assert (contents.header.version, contents.header.created) == (1, 1.0)


def test_a_sink_need_not_read(whole):
    taken = archive.read(whole, lambda entry, pieces: None)
    assert taken == archive.read(whole)


def test_other_programs_can_list_it(whole):
    done = subprocess.run(
        ["tar", "--use-compress-program=zstd -d", "-tf", whole], capture_output=True, text=True
    )
    if "zstd" in done.stderr:
        pytest.skip("no zstd: sudo apt install zstd")
    assert done.stdout.split() == ["geoos-backup.json", *FILES, "manifest.json"]


@pytest.mark.parametrize(
    ("size", "pieces"), [(3, [b"ab"]), (1, [b"ab"]), (2, [b"ab", b"c"]), (0, [b"a"]), (1, [])]
)
def test_a_file_that_is_not_as_announced_is_no_backup(size, pieces):
    with pytest.raises(GeoosError, match=r"sessions.db: it has not the . bytes"):
        archive.write(io.BytesIO(), [Incoming("state/bridge/sessions.db", size, pieces)], 1.0)


BAD_PLACES = [
    "../etc/passwd",
    "/etc/passwd",
    "state/bridge/../../x",
    "state/bridge/..",
    "state/bridge/.hidden",
    "state/bridge/a/b/c",
    "state/bridge/",
    "state/engine/x",
    "etc/shadow",
    "etc/themes/../geoos.json",
    "state/bridge/a\nb",
    "state/bridge/a\0b",
    "manifest.json",
    "geoos-backup.json",
]


@pytest.mark.parametrize("path", BAD_PLACES)
def test_a_daemon_cannot_put_a_file_anywhere_else(path):
    with pytest.raises(GeoosError, match="no such place in it"):
        archive.write(io.BytesIO(), [Incoming(path, 0, [])], 1.0)


# -- what somebody else made -----------------------------------------------------------------------


def header(**changes):
    members = {"format": "geoos-backup", "version": 1, "geoos": "9.9", "created": 1.0, **changes}
    return "geoos-backup.json", json.dumps(members).encode()


def manifest(files=()):
    return "manifest.json", json.dumps({"files": list(files)}).encode()


def entry(path, content=b"", digest=None):
    from hashlib import sha256

    return {
        "path": path,
        "size": len(content),
        "sha256": digest or sha256(content).hexdigest(),
    }


def made(path, *members):
    """A tar.zst of (name, content) or TarInfo."""
    with ZstdFile(path, "wb") as packed, tarfile.open(fileobj=packed, mode="w|") as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                tar.addfile(info, io.BytesIO(member[1]))
    return path


def special(kind, name="state/bridge/sessions.db", target="/etc/shadow"):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def refused(path):
    with pytest.raises(GeoosError) as caught:
        collect(path)
    said = str(caught.value)
    assert said.startswith("cannot ")
    assert "\n" not in said
    return said


def test_one_made_by_hand_is_taken(tmp_path):
    db = ("state/bridge/sessions.db", b"x")
    path = made(tmp_path / "b", header(), db, manifest([entry(*db)]))
    assert collect(path)[1] == dict([db])


@pytest.mark.parametrize("name", BAD_PLACES[:-2])
def test_no_path_leads_out_of_it(tmp_path, name):
    path = made(tmp_path / "b", header(), (name, b"x"), manifest([entry(name, b"x")]))
    if name in ("state/bridge/a\0b",):  # tar ends a name there: an ordinary one is left
        refused(path)
    elif name == "state/bridge/":
        assert "is no plain file" in refused(path) or "has no place" in refused(path)
    else:
        assert "has no place in it" in refused(path)


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE],
)
def test_only_plain_files_are_taken(tmp_path, kind):
    path = made(tmp_path / "b", header(), special(kind), manifest())
    assert "is no plain file" in refused(path)


DB = ("state/bridge/sessions.db", b"x")
SPOILT = {
    "nothing in it": [],
    "no header": [DB, manifest([entry(*DB)])],
    "another format": [header(format="zip"), manifest()],
    "a header that is none": [("geoos-backup.json", b"["), manifest()],
    "a header of another kind": [("geoos-backup.json", b'{"format": 1}'), manifest()],
    "a newer format": [header(version=2), ("whatever", b""), manifest()],
    "no manifest": [header(), DB],
    "a manifest that is none": [header(), DB, ("manifest.json", b"no")],
    "another checksum": [header(), DB, manifest([entry(*DB, digest="0" * 64)])],
    "another size": [header(), DB, manifest([{**entry(*DB), "size": 2}])],
    "a file too much": [header(), DB, manifest()],
    "a file too few": [header(), manifest([entry(*DB)])],
    "a file twice": [header(), DB, DB, manifest([entry(*DB)])],
    "more after the end": [header(), DB, manifest([entry(*DB)]), DB],
    "an endless header": [("geoos-backup.json", b" " * (1 << 21)), manifest()],
}


@pytest.mark.parametrize("what", SPOILT)
def test_what_is_spoilt_is_refused(tmp_path, what):
    said = refused(made(tmp_path / "b", *SPOILT[what]))
    if what == "a newer format":
        assert "made by a newer geoos (9.9; format 2, this one reads 1)" in said
    else:
        assert "no whole backup of geoos" in said


def test_a_file_that_is_not_there_or_none_of_ours(tmp_path):
    assert "no such file" in refused(tmp_path / "none")
    assert "is a directory" in refused(tmp_path)
    (tmp_path / "text").write_text("hello")
    assert "no whole backup" in refused(tmp_path / "text")
    (tmp_path / "empty").touch()
    assert "no whole backup" in refused(tmp_path / "empty")


@given(cut=st.floats(0, 0.9999))
def test_one_that_was_cut_off_is_refused(whole, tmp_path_factory, cut):
    data = whole.read_bytes()
    path = tmp_path_factory.mktemp("cut") / "b"
    path.write_bytes(data[: int(len(data) * cut)])
    refused(path)


@given(place=st.floats(0, 0.9999), flip=st.integers(1, 255))
def test_one_with_a_broken_byte_is_refused_or_whole(whole, tmp_path_factory, place, flip):
    data = bytearray(whole.read_bytes())
    data[int(len(data) * place)] ^= flip
    path = tmp_path_factory.mktemp("flip") / "b"
    path.write_bytes(data)
    try:
        _, found = collect(path)
    except GeoosError:
        return
    assert found == FILES  # a byte that says nothing, such as a reserved one
