"""The pure parts of the proxy: header fields, targets, the model in a body, heads on their way."""

import json
from types import SimpleNamespace

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoosd.bridge.adapters import http_fields, model_field
from geoosd.bridge.adapters.forwarding import Target, is_prefixed, request_for, response_fields
from geoosd.bridge.adapters.http_client import Origin
from geoosd.bridge.adapters.model_field import Asked


def headers(*fields):
    return h11.Request(method="GET", target="/", headers=[("Host", "a"), *fields]).headers


def test_hop_by_hop_fields_and_what_connection_names_stay_behind():
    kept = http_fields.end_to_end(
        headers(
            ("Connection", "keep-alive, X-Mine, Content-Length"),
            ("Keep-Alive", "timeout=5"),
            ("TE", "trailers"),
            ("Upgrade", "h2c"),
            ("Proxy-Connection", "x"),
            ("X-Mine", "1"),
            ("X-Yours", "2"),
            ("Content-Length", "0"),
        ),
        drop=(b"host",),
    )
    assert kept == [(b"X-Yours", b"2"), (b"Content-Length", b"0")]


def test_tokens_of_fields():
    assert http_fields.is_chunked(headers(("Transfer-Encoding", "Chunked")))
    assert not http_fields.is_chunked(headers())
    assert http_fields.takes_trailers(headers(("TE", "gzip"), ("TE", "Trailers")))
    assert not http_fields.takes_trailers(headers(("TE", "gzip")))
    assert http_fields.first(headers(), b"absent") is None


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\nX secret: a\r\n\r\n", "illegal header line"),
        (b"secret\r\n\r\n", "illegal status line"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: secret\r\n\r\n", "bad Content-Length"),
        (
            b"HTTP/1.1 101 Now\r\nUpgrade: secret\r\n\r\n",
            "it changes to another protocol, which was not asked for",
        ),
    ],
)
def test_what_is_wrong_is_said_without_the_bytes(answer, reason):
    state = h11.Connection(h11.CLIENT)
    state.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    state.receive_data(answer)
    with pytest.raises(h11.RemoteProtocolError) as wrong:
        state.next_event()
    assert http_fields.what_is_wrong(wrong.value) == reason


@pytest.mark.parametrize(
    ("target", "form"),
    [
        (b"/v1/x?y=z", b"/v1/x?y=z"),
        (b"http://h:1/v1/x", b"/v1/x"),
        (b"HTTPS://h", b"/"),
        (b"ftp://h/v1", None),
        (b"*", None),
        (b"h:443", None),
    ],
)
def test_targets_become_origin_form(target, form):
    assert http_fields.origin_form(target) == form


@pytest.mark.parametrize(
    ("target", "host"),
    [(b"/v1/x", b"a"), (b"/x?http://b", b"a"), (b"http://b:1/v1/x", b"b:1"), (b"HTTPS://b", b"b")],
)
def test_a_target_that_names_the_host_counts_before_the_field(target, host):
    assert http_fields.host_of(target, headers()) == host


@pytest.mark.parametrize(
    ("path", "does"),
    [
        (b"/v1/x", False),
        (b"/v1/a..b/...", False),
        (b"/v1/../x", True),
        (b"/v1/%2E%2e", True),
        (b"/v1/%2e%2e%2fx", True),
        (b"/v1/./x", True),
    ],
)
def test_paths_that_climb(path, does):
    assert http_fields.climbs(path) is does


@pytest.mark.parametrize(
    ("body", "asked"),
    [
        (b"", Asked()),
        (b'{"model":"m","n":3}', Asked("m", 3)),
        (b'{"messages":[{"model":"inner"}],"model":"outer"}', Asked("outer")),
        (b'{"model":7,"n":"x"}', Asked()),
        (b'{"model":"","n":0}', Asked()),
        (b'{"model":"m","n":true}', Asked("m", 1)),
        (b'{"model":"m","n":9999}', Asked("m", 1)),
        (b'{"model":"\xff"}', Asked()),
        (b'["model"]', Asked()),
        (b'{"model":"m"', Asked("m")),
        (b"\xff\xfe", Asked()),
        (b"[" * 100_000, Asked()),
        (b'{"x":' * 100_000, Asked()),
    ],
)
def test_what_a_body_asks_for(body, asked):
    assert model_field.look_up(body)[:2] == asked[:2]


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), _JSON, max_size=5), st.booleans())
def test_only_the_model_is_changed(fields, escaped):
    fields["model"] = "up/m"
    try:
        body = json.dumps(fields, ensure_ascii=escaped).encode()
    except UnicodeEncodeError:
        return  # a lone surrogate has no UTF-8
    asked = model_field.look_up(body)
    assert asked.model == "up/m"
    changed = model_field.with_model(body, asked, "m")
    assert json.loads(changed) == {**fields, "model": "m"}
    start, raw = asked.at
    assert (changed[:start], changed[start + 3 :]) == (body[:start], body[start + len(raw) :])


def test_a_body_that_names_no_model_stays_as_it_is():
    assert model_field.with_model(b"{}", Asked(), "m") == b"{}"


def test_enough_is_the_whole_or_a_long_begin_with_the_model():
    some = b'"x":"' + b"y" * (model_field.HOLD_BYTES // 2) + b'"'
    late = model_field.ModelSearch()
    assert [late.is_enough(piece) for piece in (b"{", some, b",", some, b",", some)] == [False] * 6
    assert late.is_enough(b',"n":2,"model":"m"')
    assert late.asked()[:2] == ("m", 2)
    early = model_field.ModelSearch()
    assert [early.is_enough(b) for b in (b'{"model":"m",', some, b"," + some)] == [
        False,
        False,
        True,
    ]
    other = model_field.ModelSearch()
    assert [other.is_enough(b"--part" + some), other.is_enough(some)] == [False, True]
    assert other.asked() == Asked()


def sent(target, *fields, body=b"", asked=None, session=None, url="http://up:8080/base"):
    held = SimpleNamespace(held=body)
    request = SimpleNamespace(method=b"POST", headers=headers(*fields), body=held)
    asked = asked or Asked()
    return request_for(target, Origin.of(url), request, b"/v1/x?y=1", asked, session)


def test_a_request_keeps_its_fields_and_gets_the_upstreams_host():
    head, body = sent(Target("up", ""), ("X-Mine", "1"), ("Content-Length", "2"), body=b"hi")
    assert (head.target, body) == (b"/base/v1/x?y=1", b"hi")
    assert head.headers.raw_items() == [
        (b"Host", b"up:8080"),
        (b"X-Mine", b"1"),
        (b"Content-Length", b"2"),
    ]


def test_a_prefixed_model_loses_its_prefix_and_the_length_follows():
    target = Target("up", "", model="m")
    assert is_prefixed(target, "up/m")
    assert not is_prefixed(target, "m")
    assert not is_prefixed(Target("up", ""), "up/None")
    body = b'{"model":"up/m"}'
    length = ("Content-Length", str(len(body)))
    head, changed = sent(target, length, body=body, asked=model_field.look_up(body))
    assert changed == b'{"model":"m"}'
    assert dict(head.headers)[b"content-length"] == b"13"


def test_the_session_is_for_the_engine_and_the_key_for_who_sends_none():
    engine = Target("engine", "", authorization="Bearer k")
    told = dict(sent(engine, ("x-geoos-session", "old"), session="s")[0].headers)
    assert (told[b"x-geoos-session"], told[b"authorization"]) == (b"s", b"Bearer k")
    other = dict(sent(Target("up", ""), ("Authorization", "mine"), session="s")[0].headers)
    assert b"x-geoos-session" not in other
    assert other[b"authorization"] == b"mine"


def test_an_answer_gets_the_two_fields_and_a_chunked_one_no_length():
    response = h11.Response(
        status_code=200,
        headers=[
            ("Transfer-Encoding", "chunked"),
            ("Content-Length", "7"),
            ("X-Geoos-Upstream", "forged"),
            ("X-Thing", "1"),
        ],
    )
    assert response_fields(response, Target("up", ""), "s") == [
        (b"X-Thing", b"1"),
        (b"x-geoos-session", b"s"),
        (b"x-geoos-upstream", b"up"),
    ]


@pytest.mark.parametrize(
    ("url", "origin", "authority"),
    [
        ("http://h", Origin(False, "h", 80), b"h"),
        ("https://h:443/p/", Origin(True, "h", 443, b"/p"), b"h"),
        ("https://h:80", Origin(True, "h", 80), b"h:80"),
        ("http://[::1]:1234", Origin(False, "::1", 1234), b"[::1]:1234"),
    ],
)
def test_origins(url, origin, authority):
    assert Origin.of(url) == origin
    assert Origin.of(url).authority == authority
