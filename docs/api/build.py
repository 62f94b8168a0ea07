"""Make the API reference: ``python docs/api/build.py [DIRECTORY]`` (docs/api).

Everything is read off the code: message types, Varlink interface files with the access class that
a daemon demands, the route table of the port, the JSON of geoosctl. What is committed must be what
this makes: tests/policy/test_policy_api_reference.py.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec
import trio
import verbs

from geoosd.broadcaster.adapters.http import Route
from geoosd.config import DAEMONS, Paths, load
from geoosd.runtime import logs
from geoosd.runtime.daemon import DaemonInterface
from geoosd.runtime.service import Runtime
from geoosd.wire import messages
from geoosd.wire import varlink as wire

HERE = Path(__file__).resolve().parent
MADE = "<!-- Made by docs/api/build.py of the code; do not edit. -->\n"
INTERFACES = ("Control", "Daemon", "Bridge", "Compositor", "Broadcaster")


# -- messages --------------------------------------------------------------------------------------


def message_schema() -> dict[str, Any]:
    """JSON Schema of every payload and of the envelope."""
    types = messages.PAYLOAD_TYPES
    _, structs = msgspec.json.schema_components(types, ref_template="#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Messages of ingest, feed and WebSocket",
        "type": "object",
        "properties": {
            "message_type": {"enum": [each.__name__ for each in types]},
            "timestamp": {"type": "number", "description": "seconds since the epoch"},
            "payload": {"type": "object"},
            "seq": {"type": "integer", "description": "of the feed; see docs/interfaces.md"},
        },
        "required": ["message_type", "timestamp", "payload"],
        "allOf": [
            {
                "if": {"properties": {"message_type": {"const": each.__name__}}},
                "then": {"properties": {"payload": {"$ref": f"#/$defs/{each.__name__}"}}},
            }
            for each in types
        ],
        "$defs": structs,
    }


def messages_page() -> Iterator[str]:
    """Every message type with its fields."""
    structs = message_schema()["$defs"]
    yield "# Messages\n"
    yield (
        "Ingest, feed and WebSocket speak the same: an envelope `message_type`, `timestamp` "
        "(seconds), `payload`, and on the way out `seq`. The rules of order and loss are in "
        "[interfaces.md](../interfaces.md); the same as JSON Schema is in "
        "[messages.schema.json](messages.schema.json).\n"
    )
    names = [each.__name__ for each in messages.PAYLOAD_TYPES]
    for name in [*names, *(each for each in structs if each not in names)]:
        yield f"## {name}\n" if name in names else f"## {name} (in others)\n"
        yield from _fields(structs[name])


def _fields(struct: dict[str, Any]) -> Iterator[str]:
    if about := struct.get("description"):
        yield prose(about) + "\n"
    properties = struct.get("properties", {})
    if not properties:
        return
    yield "| field | type | required |"
    yield "| --- | --- | --- |"
    for name, schema in properties.items():
        needed = "yes" if name in struct["required"] else ""
        yield f"| `{name}` | {kind(schema)} | {needed} |"
    yield ""


def prose(text: str) -> str:
    """A docstring as Markdown."""
    text = re.sub(r":\w+:`~?\.?([^`]*)`", r"`\1`", inspect.cleandoc(text))
    return re.sub(r"\*(\w+)\*", r"`\1`", text.replace("``", "`"))


def kind(schema: dict[str, Any]) -> str:
    """A type in words."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(kind(each) for each in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"`{each}`" for each in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    word = str(schema.get("type", "anything"))
    if word == "array":
        if items := schema.get("prefixItems"):
            return f"[{'; '.join(map(kind, items))}]"
        return f"list of {kind(schema.get('items') or {})}{_bounds(schema)}"
    if word == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {kind(schema['additionalProperties'])}"
    return word + _bounds(schema)


def _bounds(schema: dict[str, Any]) -> str:
    what = {"string": " characters", "array": " items"}.get(schema.get("type", ""), "")
    least = schema.get("minimum", schema.get("minLength", schema.get("minItems")))
    most = schema.get("maximum", schema.get("maxLength", schema.get("maxItems")))
    if "pattern" in schema:
        pattern = schema["pattern"].replace("|", r"\|")
        return f" like `{pattern}`"
    if least is not None and most is not None:
        return f", {least:g} to {most:g}{what}"
    if least is not None:
        return f", at least {least:g}{what}"
    return f", at most {most:g}{what}" if most is not None else ""


# -- Varlink ---------------------------------------------------------------------------------------


async def _access() -> dict[str, str]:
    """The access class that each method demands, as the daemons register them."""
    found: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as directory:
        for name in DAEMONS:
            spec = import_module(f"geoosd.{name}.service").SPEC
            where = Paths(Path(directory), Path(directory))
            runtime = Runtime(name, load(), where, log_book=logs.Logs(name, "error"))
            service = spec.create(runtime)
            DaemonInterface(runtime, service, load).register()
            methods = runtime.varlink._methods
            found |= {method: access for method, (access, _) in methods.items()}
            runtime.notifier.close()
    return found


def varlink_page() -> Iterator[str]:
    """Every interface as its file has it, and who may call what."""
    access = trio.run(_access)
    yield "# Varlink\n"
    yield (
        "`read` and `use`: members of group `geoos`; `admin`: root and group `geoos-admin`; the "
        "user who runs the daemons may do everything. Errors are those of `io.geoos`, each with "
        "`reason`. How to call: [interfaces.md](../interfaces.md).\n"
    )
    for name in INTERFACES:
        text = wire.interface(f"io.geoos.{name}")
        yield f"## io.geoos.{name}\n"
        yield "| method | access |"
        yield "| --- | --- |"
        for method in sorted(wire.method_names(text)):
            yield f"| `{method}` | {access[f'io.geoos.{name}.{method}']} |"
        yield f"\n```\n{text.strip()}\n```\n"


# -- HTTP ------------------------------------------------------------------------------------------

ABOUT = {
    "/": "the page",
    "/healthz": "200 when all is well enough to serve, else 503; for a monitor that can do no more",
    "/metrics": "Prometheus text of all daemons",
    "/neural": "the [WebSocket](../interfaces.md); 426 for who asks for no upgrade",
    "/snapshot.png": "a picture; query: see PictureRequest",
    "/snapshot.jpg": "the same as JPEG",
    "/snapshot.webp": "the same as WebP",
    "/stream.mjpg": "frames without end; query: see StreamRequest",
    "/api/status": "what `geoosctl status --json` has",
    "/api/themes": "all themes, and the name of the current one",
    "/api/themes/*": "one of them",
    "PUT /api/themes/*": "keep a theme under that name, over a shipped one; body: a whole Theme "
    "([messages.md](messages.md)) of the same name; 201 for a new one, else 200",
    "/api/prompt": "ask a model; body: see PromptRequest",
    "/api/sessions": "recorded sessions, the newest first",
    "/api/sessions/*": "one of them, with its messages and their times",
}


def http_page() -> Iterator[str]:
    """The route table."""
    from geoosd.broadcaster.adapters import api

    given: dict[str, Any] = {"paths": Paths(Path("/run"), Path("/var")), "page": {}}
    wanted = list(inspect.signature(api.Api).parameters)
    routes = api.Api(*(given.get(name) for name in wanted)).routes()
    yield "# HTTP on the broadcaster's port\n"
    yield (
        "Off loopback every call needs a token; what changes something needs the page's own origin "
        "and, with tokens, the role `admin`. HEAD is answered where GET is. Errors are JSON: "
        '`{"error": {"code", "message"}}`.\n'
    )
    yield "| method | path | access | what |"
    yield "| --- | --- | --- | --- |"
    yield f"| GET | `/` and its files | read | {ABOUT['/']} |"
    for route in routes:
        about = ABOUT.get(f"{route.method} {route.path}") or ABOUT.get(route.path, "")
        yield f"| {route.method} | `{_path(route)}` | {route.access} | {about} |"
    for request in (api.PictureRequest, api.StreamRequest, api.PromptRequest):
        yield f"\n## {request.__name__}\n"
        _, structs = msgspec.json.schema_components([request])
        yield from _fields(structs[request.__name__])


def _path(route: Route) -> str:
    return route.path.replace("*", "NAME")


# -- geoosctl --------------------------------------------------------------------------------------


def made() -> dict[str, str]:
    """Each file's name and text."""
    return {
        "messages.md": page(messages_page()),
        "messages.schema.json": as_json(message_schema()),
        "varlink.md": page(varlink_page()),
        "http.md": page(http_page()),
        "geoosctl.schema.json": as_json(verbs.schema()),
    }


def page(lines: Iterator[str]) -> str:
    """A page of Markdown."""
    text = MADE + "\n".join(lines)
    return re.sub(r"\n{3,}", "\n\n", text).rstrip() + "\n"


def as_json(schema: dict[str, Any]) -> str:
    """A schema, for people too."""
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> None:
    """Write everything."""
    where = Path(arguments[0]) if arguments else HERE
    where.mkdir(parents=True, exist_ok=True)
    for name, text in made().items():
        (where / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
