"""geoosd.wire.varlink: calls, replies, splitting, the interface files."""

import re
from importlib import resources

import pytest

from geoosd import wire
from geoosd.errors import FrameTooLarge, MessageError
from geoosd.wire import varlink

INTERFACES = sorted(
    entry.name.removesuffix(".varlink")
    for entry in resources.files(wire).iterdir()
    if entry.name.endswith(".varlink")
)


def test_calls_and_replies_leave_out_what_is_not_said():
    assert varlink.encode(varlink.Call("a.b.C")) == b'{"method":"a.b.C"}\0'
    assert varlink.encode(varlink.Reply({"x": 1})) == b'{"parameters":{"x":1}}\0'
    assert varlink.decode_call(b'{"method":"a.b.C","more":true,"novel":1}') == varlink.Call(
        "a.b.C", more=True
    )
    assert varlink.decode_reply(b"{}") == varlink.Reply()


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b'{"method":1}', b'{"method":"\xff"}', b"[" * 9999]
)
def test_a_malformed_call_is_refused(data):
    with pytest.raises(MessageError, match="cannot read the call") as refused:
        varlink.decode_call(data)
    assert refused.value.code == "malformed"


def test_a_malformed_reply_is_refused():
    with pytest.raises(MessageError, match="cannot read the reply"):
        varlink.decode_reply(b'{"continues":"yes"}')


def test_messages_are_split_at_nul():
    splitter = varlink.Splitter()
    assert splitter.receive(b"ab") == []
    assert splitter.receive(b"c\0d\0\0e") == [b"abc", b"d", b""]
    assert splitter.receive(bytearray(b"f\0")) == [b"ef"]


@pytest.mark.parametrize("data", [b"abcd\0", b"abcd", b"a\0bcde"])
def test_a_message_beyond_the_limit_is_refused(data):
    with pytest.raises(FrameTooLarge) as refused:
        varlink.Splitter(limit=3).receive(data)
    assert refused.value.size == 4


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'{"method":"a.b.C"}\n', True),
        (b'{"method":"a.b.C"}', False),
        (b'{"method":\n', False),
        (b"\n", False),
        (b"", False),
    ],
)
def test_a_call_that_ends_in_newline_is_noticed(data, expected):
    splitter = varlink.Splitter()
    splitter.receive(data)
    assert splitter.unterminated_call() is expected


@pytest.mark.parametrize("name", INTERFACES)
def test_an_interface_file_declares_what_its_name_says(name):
    description = varlink.interface(name)
    assert varlink.interface_name(description) == name
    methods = varlink.method_names(description)
    assert len(set(methods)) == len(methods)
    code = re.sub(r"#.*", "", description)
    defined = set(re.findall(r"^type (\w+)", code, re.MULTILINE))
    used = set(re.findall(r":\s*(?:\[\]|\[string\]|\?)*([A-Z]\w*)\b", code))
    assert used <= defined


def test_the_daemon_interface_has_the_methods_of_every_daemon():
    methods = varlink.method_names(varlink.interface("io.geoos.Daemon"))
    everywhere = ["GetStatus", "GetHealth", "GetMetrics", "GetLogs", "Reload", "SetLogLevel"]
    assert methods == [*everywhere, "Export"]


def test_what_is_no_description_is_said():
    with pytest.raises(ValueError, match="not a Varlink interface"):
        varlink.interface_name("hello")
