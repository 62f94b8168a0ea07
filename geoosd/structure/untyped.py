"""Values from TOML and JSON that others wrote: what has the wrong shape is as good as missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast


def table(value: Any) -> Mapping[str, Any]:
    """*value* if it is a table, else an empty one."""
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {}


def items(value: Any) -> Sequence[Any]:
    """*value* if it is a list, else an empty one."""
    return cast("Sequence[Any]", value) if isinstance(value, list) else []


def tables(value: Any) -> list[Mapping[str, Any]]:
    """The tables of a list."""
    return [table(each) for each in items(value) if isinstance(each, dict)]


def words(value: Any) -> list[str]:
    """The strings of a list."""
    return [each for each in items(value) if isinstance(each, str)]


def value_at(top: Mapping[str, Any], *keys: str) -> Any:
    """The value at *keys* of nested tables, or None."""
    value: Any = top
    for key in keys:
        value = table(value).get(key)
    return value
