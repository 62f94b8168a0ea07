"""What a bug report must not contain, taken out. Pure.

What is replaced stays visible as ``[redacted]``, so that nobody wonders. Configuration values that
are a user's own words or may hold a secret go whatever they look like; in all other text, what
looks like a credential goes, with home directory and user name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

MARK: Final = "[redacted]"

PRIVATE_KEYS: Final = frozenset({"system_prompt", "webhook"})
"""Keys of the configuration whose value is nobody's business."""

_LOOKS_SECRET: Final = re.compile(r"(?i)(?:api_?key|secret|password|passwd|token|authorization)$")
_CREDENTIALS: Final = (
    # URL with a password (RFC 3986, 3.2.1)
    (re.compile(r"(?<=://)[^\s/@]+@"), f"{MARK}@"),
    # Authorization (RFC 9110, 11.6.2), in headers and in what quotes them
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{4,}"), rf"\1 {MARK}"),
    # a token in a query, or any key=value that says what it is
    (
        re.compile(
            r"(?i)\b(access_token|api[_-]?key|token|secret|password|passwd)(\\?[\"']?\s*[=:]\s*\\?[\"']?)"
            r"[^\s\"'&,;\\]{4,}"
        ),
        rf"\1\2{MARK}",
    ),
    # JSON Web Token (RFC 7519)
    (re.compile(r"\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"), MARK),
    # keys of the well-known services: sk-…, hf_…, ghp_…, xox?-…, AKIA…
    (re.compile(r"\b(?:sk-|hf_|gh[pousr]_|xox[a-z]-|AKIA)[A-Za-z0-9_-]{8,}"), MARK),
    # a key of ours, and other long random hexadecimal
    (re.compile(r"\b[0-9a-fA-F]{40,}\b"), MARK),
)


def text(given: str, *, home: str = "", user: str = "") -> str:
    """*given* without credentials, without the *home* directory's and the *user*'s name."""
    for pattern, replacement in _CREDENTIALS:
        given = pattern.sub(replacement, given)
    if len(home) > 1:
        given = given.replace(home, "~")
    if user and user != "root":
        given = re.sub(rf"\b{re.escape(user)}\b", "USER", given)
    return given


def values(given: Mapping[str, Any]) -> dict[str, Any]:
    """A table of the configuration without what may be private in it."""
    return {key: _value(key, value) for key, value in given.items()}


def _value(key: str, value: Any) -> Any:
    if isinstance(value, dict):
        return values(value)
    if isinstance(value, list):
        return [values(each) if isinstance(each, dict) else each for each in value]
    private = key in PRIVATE_KEYS or _LOOKS_SECRET.search(key)
    return MARK if private and isinstance(value, str) and value else value
