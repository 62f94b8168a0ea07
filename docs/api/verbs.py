"""What each verb of geoosctl prints with ``--json``, as JSON Schema (2020-12).

Made of the Structs that geoosctl itself reads and prints, so that it cannot drift from them; what a
verb puts around them stands here. tests/integration/test_json_schema.py holds the real output of
every verb against it, strictly: a member that is not here fails.
"""

from __future__ import annotations

from typing import Any

import msgspec

from geoosctl import local, reported, systemd, trial
from geoosctl.commands import health, viewers
from geoosctl.commands import sessions as recordings
from geoosctl.output import SCHEMA_VERSION
from geoosd.wire import messages, reports, sessions

Schema = dict[str, Any]

STRUCTS = (
    reported.Entry,
    health.Health,
    reported.Model,
    local.LocalFile,
    viewers.Viewer,
    systemd.Unit,
    trial.Step,
    reports.Record,
    messages.Theme,
    sessions.Session,
    recordings.Recorded,
    sessions.Feedback,
    sessions.ModelFeedback,
    *messages.PAYLOAD_TYPES,
)

TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
WHOLE: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
ANY: Schema = {}


def maybe(schema: Schema) -> Schema:
    """It, or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def many(schema: Schema) -> Schema:
    """A list of it."""
    return {"type": "array", "items": schema}


def mapped(schema: Schema) -> Schema:
    """An object whose values are of it."""
    return {"type": "object", "additionalProperties": schema}


def one_of(*words: str) -> Schema:
    """One of these."""
    return {"enum": list(words)}


def ref(struct: type) -> Schema:
    """A Struct by its name."""
    return {"$ref": f"#/$defs/{struct.__name__}"}


def members(optional: tuple[str, ...] = (), /, **properties: Schema) -> Schema:
    """An object with these members."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required}


def told(optional: tuple[str, ...] = (), /, **properties: Schema) -> Schema:
    """What a verb prints: with its version."""
    return members(optional, version={"const": SCHEMA_VERSION}, **properties)


def versioned(struct: type) -> Schema:
    """A Struct that a verb prints as it is, with its version."""
    _, structs = msgspec.json.schema_components([struct], ref_template="#/$defs/{name}")
    schema: Schema = structs[struct.__name__]
    schema["properties"] = {"version": {"const": SCHEMA_VERSION}, **schema["properties"]}
    schema["required"] = ["version", *schema["required"]]
    return schema


def message() -> Schema:
    """A message as on the WebSocket."""
    kinds = [each.__name__ for each in messages.PAYLOAD_TYPES]
    schema = told(
        ("seq",),
        message_type=one_of(*kinds),
        timestamp=NUMBER,
        payload={"type": "object"},
        seq=WHOLE,
    )
    schema["allOf"] = [
        {
            "if": {"properties": {"message_type": {"const": each.__name__}}},
            "then": {"properties": {"payload": ref(each)}},
        }
        for each in messages.PAYLOAD_TYPES
    ]
    return schema


OUTCOMES = told(
    outcomes=many(members(name=TEXT, error=maybe(TEXT), reason=maybe(TEXT))),
)
UNITS = told(units=mapped(ref(systemd.Unit)))
CHECKED = told(file=maybe(TEXT), ok=FLAG, error=maybe(TEXT))
MESSAGE = message()

VERBS: dict[str, tuple[Schema, ...]] = {
    "status": (
        told(
            state=one_of("active", "degraded", "stopped"),
            manager=maybe(one_of("system", "user")),
            enabled=maybe(FLAG),
            daemons=many(ref(reported.Entry)),
        ),
    ),
    "health": (versioned(health.Health),),
    "selftest": (told(status=one_of("pass", "warn", "fail"), steps=many(ref(trial.Step))),),
    "start": (UNITS,),
    "stop": (UNITS,),
    "restart": (UNITS,),
    "logs": (versioned(reports.Record),),
    "metrics": (
        told(
            metrics=many(
                members(
                    name=TEXT,
                    type=TEXT,
                    help=TEXT,
                    samples=many(
                        members(
                            name=TEXT,
                            labels=mapped(TEXT),
                            value={"type": ["number", "string"]},
                        )
                    ),
                )
            )
        ),
    ),
    "prompt": (MESSAGE,),
    "batch": (told(file=TEXT, prompts=WHOLE, asked=WHOLE, failed=WHOLE),),
    "models": (
        told(models=many(ref(reported.Model))),
        told(files=many(ref(local.LocalFile))),
    ),
    "viewers": (told(viewers=many(ref(viewers.Viewer))),),
    "viewers disconnect": (told(disconnected=TEXT),),
    "watch": (MESSAGE,),
    "token create": (told(token=TEXT, role=one_of("viewer", "admin"), expires=NUMBER),),
    "token key": (told(file=TEXT),),
    "sessions": (told(sessions=many(ref(sessions.Session)), next=maybe(WHOLE)),),
    "session show": (versioned(recordings.Recorded),),
    "session replay": (MESSAGE,),
    "session export": (told(file=TEXT, format=TEXT, session=TEXT),),
    "session delete": (told(deleted=many(TEXT)),),
    "feedback add": (told(feedback=ref(sessions.Feedback)),),
    "feedback list": (told(feedback=many(ref(sessions.Feedback)), next=maybe(WHOLE)),),
    "feedback summary": (told(models=many(ref(sessions.ModelFeedback))),),
    "snapshot": (
        told(file=TEXT, media_type=TEXT, width=WHOLE, height=WHOLE),
        told(file=TEXT, pictures=WHOLE, seconds=NUMBER),
    ),
    "theme list": (told(current=TEXT, themes=many(ref(messages.Theme))),),
    "theme show": (told(theme=ref(messages.Theme)),),
    "theme set": (told(current=TEXT),),
    "theme validate": (CHECKED,),
    "map build": (told(model=TEXT, file=TEXT, tokens=WHOLE, built=FLAG),),
    "map adopt": (told(model=TEXT, tokens=WHOLE, layout=WHOLE, changed=FLAG),),
    "structure": (
        told(
            status=one_of("healthy", "warning", "critical", "unknown"),
            tree=TEXT,
            label=TEXT,
            reason=maybe(TEXT),
            score=maybe(NUMBER),
            formula=ANY,
            dimensions=mapped(members(value=maybe(NUMBER), status=TEXT)),
            terms=ANY,
            counts=ANY,
            subsystems=ANY,
            entropy=ANY,
            cycles=ANY,
            widest=ANY,
            offenders=ANY,
            recommendations=many(TEXT),
            notes=many(TEXT),
            churn=many({"type": "object"}),
            cache=members(hits=WHOLE, misses=WHOLE),
            seconds=NUMBER,
            baseline=maybe(many({"type": "object"})),
        ),
    ),
    "config check": (told(file=maybe(TEXT), ok=FLAG, error=maybe(TEXT), line=maybe(WHOLE)),),
    "config show": (told(file=maybe(TEXT), config=mapped({"type": "object"})),),
    "config example": (told(text=TEXT),),
    "backup": (told(file=TEXT, bytes=WHOLE, created=NUMBER, files=many(TEXT), deleted=many(TEXT)),),
    "restore": (
        told(
            file=TEXT, created=NUMBER, geoos=TEXT, files=many(TEXT), started=many(TEXT), aside=TEXT
        ),
        told(
            file=TEXT,
            ok={"const": True},
            created=NUMBER,
            geoos=TEXT,
            files=many(members(path=TEXT, bytes=WHOLE)),
        ),
        told(undone=TEXT),
    ),
    "bugreport": (told(file=TEXT, bytes=WHOLE, parts=many(TEXT)),),
    "reload": (OUTCOMES,),
    "log-level": (OUTCOMES,),
    "call": (told(parameters={"type": "object"}),),
}
"""What a verb may print: one of these, on one line or on every line."""


def schema() -> Schema:
    """One document: ``$defs`` has every Struct, and under ``verb: NAME`` what a verb prints."""
    _, structs = msgspec.json.schema_components(STRUCTS, ref_template="#/$defs/{name}")
    verbs = {
        f"verb: {name}": forms[0] if len(forms) == 1 else {"oneOf": list(forms)}
        for name, forms in VERBS.items()
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What geoosctl prints with --json",
        "description": f"Version {SCHEMA_VERSION}. Validate a line of VERB against "
        "#/$defs/verb: VERB. Members may be added without a new version.",
        "$defs": {**structs, **verbs},
    }
