"""What must not be in a bug report is not; what helps is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoosctl import redact

SECRETS = [
    "Authorization: Bearer {}",
    '{{"authorization": "Bearer {}"}}',
    "authorization: basic {}",
    "http://user:{}@host/v1",
    "https://{}@host",
    "GET /?access_token={}&tick=16 HTTP/1.1",
    "api_key={}",
    'API-KEY: "{}"',
    '{{\\"token\\": \\"{}\\"}}',
    "password = '{}'",
    "sk-{}",
    "hf_{}",
]


@pytest.mark.parametrize("place", SECRETS)
@given(secret=st.from_regex(r"[A-Za-z0-9]{12,60}", fullmatch=True))
def test_no_secret_stays(place, secret):
    cleaned = redact.text(f"before {place.format(secret)} after")
    assert secret not in cleaned
    assert redact.MARK in cleaned
    assert cleaned.startswith("before ")
    assert cleaned.endswith(" after")


def test_a_token_of_ours_and_its_key():
    import jwt

    token = jwt.encode({"role": "admin"}, "k" * 32, algorithm="HS256")
    assert redact.text(f"got {token}.") == f"got {redact.MARK}."
    assert redact.text("0123456789abcdef" * 4) == redact.MARK


PLAIN = [
    "upstream lmstudio at http://127.0.0.1:1234 is ready",
    "session kXj2mPq9Lw0a ended: 25 tokens, 24.9 tok/s",
    "gemma-3-270m",
    "epoch 0123456789abcdef",
    "sse_tokens_total 153",
    "tokens: 12",
    "cannot use /etc/geoos/geoos.toml: unknown key bridge.lisen",
]


@pytest.mark.parametrize("words", PLAIN)
def test_what_helps_stays(words):
    assert redact.text(words, home="/home/me", user="me") == words


def test_nobodys_name():
    said = redact.text("/home/alice/m.gguf of alice, not malice", home="/home/alice", user="alice")
    assert said == "~/m.gguf of USER, not malice"
    assert redact.text("root at /", home="/", user="root") == "root at /"


def test_values_that_are_private_whatever_they_look_like():
    given_config = {
        "bridge": {
            "system_prompt": "you are my doctor",
            "record": "full",
            "outbox": 5,
            "upstream": [{"id": "a", "api_key": "x", "api_key_credential": "desk"}],
        },
        "control": {"webhook": "https://hooks.example/T0/B0", "alerts": True},
        "broadcaster": {"token_key": "viewers", "origins": ["https://a.example"]},
        "empty": {"webhook": ""},
    }
    cleaned = redact.values(given_config)
    assert cleaned["bridge"] == {
        "system_prompt": redact.MARK,
        "record": "full",
        "outbox": 5,
        "upstream": [{"id": "a", "api_key": redact.MARK, "api_key_credential": "desk"}],
    }
    assert cleaned["control"] == {"webhook": redact.MARK, "alerts": True}
    assert cleaned["broadcaster"] == given_config["broadcaster"]
    assert cleaned["empty"] == {"webhook": ""}
