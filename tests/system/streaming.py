"""A real stream through the bridge, somebody who watches it, and what arrived at both ends.

The model says w0 w1 w2 ... (:mod:`scripted_model`), so that every loss, repeat and change of order
is seen.
"""

import json
from pathlib import Path

from conftest import until
from scripted_model import body, text

HERE = Path(__file__).parent
VIEW = "/var/tmp/view.jsonl"
ANSWER = "/var/tmp/answer"
HEAD = "/var/tmp/answer.head"
URL = "http://127.0.0.1:1235/v1/chat/completions"


class Stream:
    """One answer of *tokens* words on its way: ``session`` is its id."""

    def __init__(self, machine, tokens):
        self.machine, self.tokens = machine, tokens
        machine.call("systemctl", "stop", "client")
        machine.run("rm", "-f", ANSWER, HEAD)
        request = '{"model": "scripted", "stream": true, "messages": []}'
        command = f'exec curl -sN -D {HEAD} -d "$1" {URL} >{ANSWER}'
        machine.background("client", "sh", "-c", command, "sh", request)
        self.session = until(self._session, "the answer begins")
        until(lambda: self.seen(5), "the viewer sees words")

    def _session(self):
        for line in self.machine.call("cat", HEAD).stdout.splitlines():
            name, _, value = line.partition(":")
            if name.lower() == "x-geoos-session":
                return value.strip()
        return None

    def received(self):
        """What the client has got so far."""
        return self.machine.run("cat", ANSWER)

    def words(self):
        """What the viewer has seen of this answer, by position."""
        return words(self.machine, self.session)

    def seen(self, count):
        return len(self.words()) >= count

    def must_be_whole(self, seconds=30.0):
        """The client got every byte, the viewer every word in its place, and no gap was told."""
        expected = body(self.tokens).decode()
        until(lambda: len(self.received()) >= len(expected), "the client's end", seconds)
        assert self.received() == expected
        # Behind the end there is no word: what is missing then stays missing.
        until(self.ended, "the session's end", seconds)
        gaps = [each for each in viewed(self.machine) if each["message_type"] == "Gap"]
        found = self.words()
        assert ("".join(found[n] for n in sorted(found)), gaps) == (text(self.tokens), [])

    def ended(self):
        """The last word on this session that the viewer got, or None; after a new epoch it may be
        a snapshot that tells that it has ended."""
        last = None
        for each in viewed(self.machine):
            payload = each["payload"]
            mine = [payload] if each["message_type"] == "SessionEnded" else []
            if each["message_type"] == "Snapshot":
                mine = [view for view in payload["sessions"] if view["phase"] == "ended"]
            last = next((one for one in mine if one["session"] == self.session), last)
        return last


def watch(machine):
    """Have somebody watch, from now on."""
    machine.call("systemctl", "stop", "viewer")
    machine.run("rm", "-f", VIEW)
    script = str(HERE / "steady_viewer.py")
    machine.background("viewer", "/usr/bin/env", "/opt/geoos/bin/python", script, VIEW)
    until(lambda: machine.call("grep", "-q", "Hello", VIEW).returncode == 0, "the viewer is in")


def viewed(machine):
    """All messages that the viewer got."""
    lines = machine.call("cat", VIEW).stdout.splitlines()
    return [json.loads(line) for line in lines if line.endswith("}")]


def words(machine, session):
    """The words of *session* by position: one by one, or in the snapshot of a new epoch."""
    seen = {}
    for each in viewed(machine):
        payload = each["payload"]
        tokens = {"TokenVisualizationUpdate": [payload], "Snapshot": payload.get("tokens")}
        for token in tokens.get(each["message_type"]) or []:
            if token["session"] == session:
                seen[token["sequence_position"]] = token["current_token"]
    return seen
