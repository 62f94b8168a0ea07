"""A word before a model is asked that no server lists, most often a typing error.

The bridge sends such a prompt to the default server (docs/interfaces.md, "Proxy"): many take any
name, and answer with the model that they have. Whoever misspelt one should know.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Final

from geoosctl import output
from geoosctl.asking import ask_for
from geoosctl.reported import Model, Models
from geoosd.errors import GeoosError

_SECONDS: Final = 2.0


def warn(names: Iterable[str]) -> None:
    """Say on standard error which of *names* no server lists, each once.

    Nothing is said where nobody can tell: then the prompt itself fails, with the reason.
    """
    asked = dict.fromkeys(names)
    if not asked:
        return
    try:
        listed = ask_for(Models, "ListModels", seconds=_SECONDS).models
    except GeoosError:
        return
    for name in asked:
        if listed and (words := _words(name, listed)):
            output.echo(f"geoosctl: {output.visible(words)}", err=True)


def _words(name: str, listed: Sequence[Model]) -> str:
    known = {each.id for each in listed} | {f"{each.upstream}/{each.id}" for each in listed}
    if name in known:
        return ""
    upstream = name.partition("/")[0]
    named = "/" in name and any(each.upstream == upstream for each in listed)
    near = difflib.get_close_matches(name, sorted(known), n=1)
    hint = f"do you mean {near[0]}?" if near else "see: geoosctl models"
    return (
        f"no server lists {name!r}, so {upstream if named else 'the default one'} is asked; {hint}"
    )
