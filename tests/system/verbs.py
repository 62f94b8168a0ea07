"""Every verb of geoosctl, who may use it, and a harmless way to try it.

A verb that is not here fails ``test_system_access``: say which access class it has
(docs/interfaces.md, Varlink).
"""

READ, USE, ADMIN, ROOT, LOCAL = "read", "use", "admin", "root", "local"
"""``ROOT`` is what systemd or the mode of a file keeps to root; ``LOCAL`` asks no daemon."""

TRIED = {
    "status": (READ, []),
    "health": (READ, []),
    "selftest": (USE, []),
    "logs": (READ, ["-n", "1"]),
    "metrics": (READ, []),
    "models": (READ, []),
    "viewers": (READ, []),
    "theme list": (READ, []),
    "theme show": (READ, []),
    "call": (READ, ["io.geoos.Control.GetStatus"]),
    "sessions": (READ, []),
    "session show": (READ, ["{session}"]),
    "session export": (READ, ["{session}", "-"]),
    "feedback list": (READ, []),
    "feedback summary": (READ, []),
    "watch": (READ, None),  # has no end of its own; asks the port that everybody here may look at
    "feedback add": (USE, ["{session}", "4"]),
    "batch": (USE, ["/tmp/prompts.jsonl", "--out", "/tmp/{who}.results.jsonl"]),
    "session replay": (ADMIN, ["{session}", "--speed", "1000"]),
    "session delete": (ADMIN, ["{session}", "--yes"]),
    "prompt": (USE, ["hello", "--model", "scripted"]),
    "snapshot": (USE, ["/tmp/{who}.png"]),
    "viewers disconnect": (ADMIN, ["{viewer}"]),
    "theme set": (ADMIN, ["aurora"]),
    "map adopt": (ADMIN, ["{who}", "--by-id"]),
    "backup": (ADMIN, ["/tmp/{who}.tar.zst"]),
    "restore": (ROOT, None),  # stops everything; test_system_backup.py
    "reload": (ADMIN, []),
    "log-level": (ADMIN, ["info"]),
    "start": (ROOT, ["control"]),
    "stop": (ROOT, ["engine"]),
    "restart": (ROOT, ["broadcaster"]),
    "token create": (ROOT, ["--key", "/etc/geoos/credentials/viewers"]),
    "token key": (LOCAL, ["/tmp/{who}.key"]),
    "theme validate": (LOCAL, ["/etc/geoos/themes/aurora.json"]),
    "bugreport": (LOCAL, ["/tmp/{who}.report.tar.gz"]),
    "map build": (LOCAL, None),  # takes a minute; tests/unit/geoosctl/test_ctl_map.py
    "structure": (LOCAL, ["/usr/share/doc/geoos"]),
    "config check": (LOCAL, []),
    "config show": (LOCAL, []),
    "config example": (LOCAL, []),
}

MAY = {
    "root": {READ, USE, ADMIN, ROOT, LOCAL},
    "chief": {READ, USE, ADMIN, LOCAL},
    "member": {READ, USE, LOCAL},
    "geoos-bridge": {READ, USE, LOCAL},
    "stranger": {LOCAL},
}
"""``chief`` is in geoos and geoos-admin, ``member`` in geoos alone, ``geoos-bridge`` is a daemon's
user."""


def leaves(group, prefix=""):
    """The verbs of a click group, those of its groups as ``theme list``."""
    context = None
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        is_group = hasattr(command, "list_commands")
        if not is_group or command.invoke_without_command:
            yield f"{prefix}{name}"
        if is_group:
            yield from leaves(command, f"{prefix}{name} ")
