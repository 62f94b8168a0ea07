"""Tokens of viewers and administrators: JSON Web Tokens (RFC 7519) with HMAC-SHA-256.

``geoosctl token create`` issues them, the broadcaster verifies them; what they share is one key.
Who has a token has its role until it expires: there is no list of tokens to strike one from, but
another key ends them all.
"""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple, TypeAlias

import jwt

from geoosd.errors import ConfigError, MessageError

Role: TypeAlias = Literal["viewer", "admin"]
"""A viewer may look; an admin may prompt and change as well."""

MIN_KEY_BYTES: Final = 32
"""RFC 7518 §3.2: a key at least as long as the hash."""
MAX_TOKEN_BYTES: Final = 2048
_ALGORITHM: Final = "HS256"
_ISSUER: Final = "geoos"
_OPTIONS: Final[Any] = {
    "require": ["exp", "iss", "role"],
    # The clock is the caller's.
    "verify_exp": False,
    "verify_iat": False,
    "verify_nbf": False,
    "verify_aud": False,
}

# Its types name some of the cryptography package, which HMAC does without and which may be missing.
_JWT: Final[Any] = jwt


class Token(NamedTuple):
    """What a token says; ``expires`` is seconds since the epoch."""

    role: Role
    expires: float


def key_of(text: bytes, where: str) -> bytes:
    """The key in a file's *text*: all of it but white space around. Raises :class:`ConfigError`."""
    key = text.strip()
    if len(key) < MIN_KEY_BYTES:
        raise ConfigError(
            f"cannot use the token key in {where}: {len(key)} bytes, at least {MIN_KEY_BYTES} are "
            f"needed; make one: geoosctl token key {where}"
        )
    return key


def issue(key: bytes, role: Role, id_: str, now: float, ttl: float) -> str:
    """A token for *role*, valid for *ttl* seconds; *id_* tells it from others."""
    claims = {
        "iss": _ISSUER,
        "jti": id_,
        "role": role,
        "iat": int(now),
        "exp": int(now + ttl),
    }
    text: str = _JWT.encode(claims, key, algorithm=_ALGORITHM)
    return text


def verify(token: str, key: bytes, now: float) -> Token:
    """What *token* says. Raises :class:`MessageError`, which never repeats the token."""
    if len(token) > MAX_TOKEN_BYTES or not token.isascii():
        raise _refused("it is none")
    try:
        claims = _JWT.decode(token, key, algorithms=[_ALGORITHM], issuer=_ISSUER, options=_OPTIONS)
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise _refused("it is none of ours") from None
    role, expires = claims["role"], claims["exp"]
    if role not in ("viewer", "admin") or type(expires) not in (int, float):
        raise _refused("it says something else than ours do")
    if now >= expires:
        raise _refused("it has expired")
    return Token(role, float(expires))


def _refused(why: str) -> MessageError:
    return MessageError(
        "invalid", f"cannot take this token: {why}; make one: geoosctl token create", "token"
    )
