"""Tokens of viewers: signed, short-lived, and never repeated in an error."""

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoosd.errors import ConfigError, MessageError
from geoosd.wire import tokens

KEY = b"0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize("role", ["viewer", "admin"])
def test_what_is_issued_is_verified(role):
    token = tokens.issue(KEY, role, "id", 1000.4, 60)
    assert tokens.verify(token, KEY, 1059) == tokens.Token(role, 1060.0)
    with pytest.raises(MessageError, match="expired"):
        tokens.verify(token, KEY, 1060)
    with pytest.raises(MessageError, match="none of ours"):
        tokens.verify(token, KEY[::-1], 1000)


def test_two_tokens_differ():
    assert tokens.issue(KEY, "viewer", "a", 0, 1) != tokens.issue(KEY, "viewer", "b", 0, 1)


@pytest.mark.parametrize(
    "change",
    [
        {"iss": "other"},
        {"role": "root"},
        {"role": ["admin"]},
        {"role": None},
        {"exp": "9999999999"},
        {"exp": True},
        {"exp": None},
    ],
)
def test_signed_but_strange(change):
    claims = {"iss": "geoos", "role": "admin", "exp": 2_000_000_000} | change
    token = jwt.encode({k: v for k, v in claims.items() if v is not None}, KEY)
    with pytest.raises(MessageError) as refused:
        tokens.verify(token, KEY, 0)
    assert token not in str(refused.value)


@pytest.mark.parametrize("token", ["a" * 3000, "é.é.é", "", "..", "a.b.c", "\x00"])
def test_no_token_at_all(token):
    with pytest.raises(MessageError):
        tokens.verify(token, KEY, 0)


def test_one_that_is_too_long_is_not_even_looked_at():
    claims = {"iss": "geoos", "role": "admin", "exp": 2_000_000_000}
    spare = tokens.MAX_TOKEN_BYTES - len(jwt.encode(claims | {"jti": ""}, KEY))
    fits = jwt.encode(claims | {"jti": "i" * (spare // 2)}, KEY)
    assert tokens.verify(fits, KEY, 0).role == "admin"
    with pytest.raises(MessageError, match="it is none;"):
        tokens.verify(jwt.encode(claims | {"jti": "i" * tokens.MAX_TOKEN_BYTES}, KEY), KEY, 0)


def test_another_algorithm_is_none_of_ours():
    claims = {"iss": "geoos", "role": "admin", "exp": 2_000_000_000}
    for algorithm in ("HS384", "HS512"):
        with pytest.raises(MessageError):
            tokens.verify(jwt.encode(claims, KEY * 2, algorithm=algorithm), KEY * 2, 0)
    with pytest.raises(MessageError):
        tokens.verify(jwt.encode(claims, None, algorithm="none"), KEY, 0)


@given(st.text(max_size=200), st.binary(max_size=60))
def test_any_text_is_refused_without_another_error(text, body):
    for token in (text, tokens.issue(KEY, "admin", "a", 0, 9) + text + "x"):
        with pytest.raises(MessageError):
            tokens.verify(token, KEY, 0)
    signed = jwt.PyJWS().encode(body, KEY)
    with pytest.raises(MessageError):
        tokens.verify(signed, KEY, 0)


def test_a_key_has_a_length():
    assert tokens.key_of(b"  " + KEY + b"\n", "f") == KEY
    with pytest.raises(ConfigError, match="31 bytes, at least 32"):
        tokens.key_of(KEY[1:], "f")
