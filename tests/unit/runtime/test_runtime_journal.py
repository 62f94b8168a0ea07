"""geoosd.runtime.journal against a journald of our own: a datagram socket that we read."""

import array
import os
import socket
import struct

import pytest

from geoosd.runtime import journal


def decode(data):
    """Fields of a record (https://systemd.io/JOURNAL_NATIVE_PROTOCOL/)."""
    fields = {}
    while data:
        line, _, data = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            (size,) = struct.unpack_from("<Q", data)
            value, data = data[8 : 8 + size], data[8 + size + 1 :]
        fields[name.decode()] = value.decode()
    return fields


class Journald:
    """Reads records as journald does: from the datagram or from the memory file it carries."""

    def __init__(self, path):
        self.path = str(path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(10)

    def read(self):
        data, ancillary, _, _ = self.socket.recvmsg(1 << 20, socket.CMSG_SPACE(4))
        for _, _, rights in ancillary:
            (fd,) = array.array("i", rights)
            with os.fdopen(fd, "rb") as file:
                file.seek(0)
                return decode(file.read()) | {"_MEMFD": "yes"}
        return decode(data)


@pytest.fixture
def journald(tmp_path):
    made = Journald(tmp_path / "journal")
    with made.socket:
        yield made


@pytest.fixture
def sink(journald):
    made = journal.JournalSocket(journald.path)
    yield made
    made._socket.close()


def test_fields_with_newlines_go_with_their_length():
    data = journal.encode({"MESSAGE": "a\nb", "PRIORITY": 6})
    assert data == b"MESSAGE\n\x03\0\0\0\0\0\0\0a\nb\nPRIORITY=6\n"
    assert decode(data) == {"MESSAGE": "a\nb", "PRIORITY": "6"}


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("session", "GEOOS_SESSION"),
        ("geoos_x", "GEOOS_X"),
        ("_private.key", "GEOOS_PRIVATE_KEY"),
        ("9lives", "GEOOS_LIVES"),
        ("größe", "GEOOS_GR_SSE"),
        ("x" * 80, "GEOOS_" + "X" * 58),
    ],
)
def test_a_key_becomes_a_field_name_that_journald_takes(key, name):
    assert journal.field_name(key) == name


def test_records_arrive_with_their_fields(journald, sink):
    sink.send({"MESSAGE": "hello", "GEOOS_SESSION": "s1"})
    assert journald.read() == {"MESSAGE": "hello", "GEOOS_SESSION": "s1"}


def test_a_large_record_travels_as_a_memory_file(journald, sink):
    text = "x" * (9 << 20)
    sink.send({"MESSAGE": text})
    assert journald.read() == {"MESSAGE": text, "_MEMFD": "yes"}
    assert sink.lost == 0


def test_a_stalled_journald_loses_nothing_and_keeps_the_order(journald, sink):
    sink._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    for number in range(300):
        sink.send({"N": number, "MESSAGE": "x" * 500})
    assert sink._backlog
    assert [journald.read()["N"] for _ in range(300)] == [str(number) for number in range(300)]
    sink.flush(10)
    assert not sink._backlog
    sink.send({"N": "after"})
    assert journald.read() == {"N": "after"}
    assert sink.lost == 0


def test_what_the_backlog_cannot_hold_is_counted_and_said(journald, sink, monkeypatch):
    monkeypatch.setattr(journal, "_BACKLOG", 5)
    sink._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    sent = 0
    while not sink.lost:
        sink.send({"N": sent, "MESSAGE": "x" * 500})
        sent += 1
    assert sink.lost == 1
    for _ in range(sent - 1):
        journald.read()
    sink.flush(10)
    sink.send({"N": "after"})
    assert journald.read() == {"N": "after", "GEOOS_LOST": "1"}
    sink.send({"N": "later"})
    assert journald.read() == {"N": "later"}


def test_a_journald_that_comes_back_is_found_again(tmp_path):
    path = tmp_path / "journal"
    sink = journal.JournalSocket(str(path))
    sink.send({"MESSAGE": "to nobody"})
    assert sink.lost == 1
    again = Journald(path)
    with again.socket:
        sink.send({"MESSAGE": "back"})
        assert again.read() == {"MESSAGE": "back", "GEOOS_LOST": "1"}
    assert sink.lost == 0
    sink._socket.close()


def test_a_journald_that_goes_away_in_a_stall_is_counted(journald, sink):
    sink._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    for number in range(300):
        sink.send({"N": number, "MESSAGE": "x" * 500})
    waiting = len(sink._backlog)
    assert waiting
    journald.socket.close()
    sink.flush(10)
    assert not sink._backlog
    assert sink.lost == waiting


@pytest.mark.parametrize("stream", [None, "nonsense", "a:b", "1:1"])
def test_stderr_is_not_the_journal_by_hearsay(stream, monkeypatch):
    if stream is None:
        monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    else:
        monkeypatch.setenv("JOURNAL_STREAM", stream)
    assert not journal.stderr_is_journal()


def test_stderr_is_the_journal_when_device_and_inode_agree(monkeypatch):
    status = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    assert journal.stderr_is_journal()
