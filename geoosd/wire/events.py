"""The events worth an alert: each has a MESSAGE_ID that never changes (journalctl(1), ``-x``).

``log.error("cannot save the map", error=..., **events.SAVE_FAILED.fields)`` marks a record; under
systemd ``journalctl MESSAGE_ID=...`` finds it. :func:`catalog` is the text that
``units/catalog/geoos.catalog`` holds (https://systemd.io/CATALOG/).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Event:
    """One kind of event. *meaning* and *remedy* are prose for whoever gets the alert; ``@FIELD@``
    in them is the record's journal field."""

    message_id: str
    name: str
    subject: str
    meaning: str
    remedy: str

    @property
    def fields(self) -> dict[str, str]:
        """What to give to the logger along with the event's own fields."""
        return {"message_id": self.message_id}


READY: Final = Event(
    "7ff8049ef66d4bea99a6c0166b614046",
    "ready",
    "geoos @GEOOS_DAEMON@ is ready",
    "The daemon has opened its sockets and serves.",
    "Nothing to do.",
)
STOPPED: Final = Event(
    "e9e768e7398647bfbdcfe43ea13e57d7",
    "stopped",
    "geoos @GEOOS_DAEMON@ has stopped",
    "The daemon was asked to stop, finished what was in flight and closed its sockets.",
    "Nothing to do. To start it again: geoosctl start @GEOOS_DAEMON@",
)
CANNOT_START: Final = Event(
    "dfb114eddf6945f79f7ea3bd0db08668",
    "cannot start",
    "geoos @GEOOS_DAEMON@ cannot start",
    "The configuration cannot be used, or what the daemon needs, "
    "such as a port, is taken. systemd\n"
    "does not try again, because another try would end the same way.",
    "Do what the message says; verify with: geoosctl config check; then: geoosctl start",
)
CRASHED: Final = Event(
    "ba2417bab0a94aa382336a803e2e7025",
    "crashed",
    "geoos @GEOOS_DAEMON@ crashed",
    "An error that nobody expected ended the daemon. systemd "
    "starts it again; the other daemons go\n"
    "on.",
    "Report it with the field GEOOS_EXCEPTION of this record: journalctl -o verbose",
)
ENDED_BADLY: Final = Event(
    "68f48cc898a44c5b9c8a8ec9d683614b",
    "unclean end",
    "The last run of geoos @GEOOS_DAEMON@ did not end as it should",
    "The daemon was killed, ran out of memory or lost power before it could shut down. It starts\n"
    "from what it had saved.",
    "See why: geoosctl status; journalctl -u geoos-@GEOOS_DAEMON@",
)
HUNG: Final = Event(
    "e2ea3fa31e61453aa17273b64ad69939",
    "no sign of life",
    "A part of geoos @GEOOS_DAEMON@ shows no sign of life: @GEOOS_PART@",
    "The daemon could not prove in time that its loop, its "
    "threads and its data path work. If that\n"
    "goes on, systemd's watchdog ends it, its stacks go to the journal, and it is started again.",
    "If it comes again: is the machine out of memory or CPU? Else report it with the stacks.",
)
BUG: Final = Event(
    "fd830910ab894965a449eb8e15012307",
    "bug",
    "A bug in geoos @GEOOS_DAEMON@ was caught in @GEOOS_WHERE@",
    "One request, connection or message failed by an error that "
    "nobody expected; the rest goes on.\n"
    "After 20 within a minute the daemon ends and is started afresh.",
    "Report it with the field GEOOS_EXCEPTION of this record: journalctl -o verbose",
)
RELOADED: Final = Event(
    "50d66fd02c804ef7ae95a54e04fce8ae",
    "reloaded",
    "geoos @GEOOS_DAEMON@ has read its configuration anew",
    "The new configuration was verified and is in force.",
    "Nothing to do.",
)
RELOAD_REFUSED: Final = Event(
    "4ff6c211a4454e8a9a655ca1ffdc75c6",
    "reload refused",
    "geoos @GEOOS_DAEMON@ refused a new configuration",
    "It cannot be used: @GEOOS_ERROR@\nThe old one stays in force.",
    "Mend the file; verify with: geoosctl config check; then: geoosctl reload",
)
UPSTREAM_LOST: Final = Event(
    "f65b2d40145d48febda4b5cc622054f4",
    "upstream lost",
    "The model server @GEOOS_UPSTREAM@ does not answer",
    "Requests go to other servers that have the model, or are refused: @GEOOS_ERROR@",
    "Start that server or correct [bridge.upstream]; see: geoosctl models; geoosctl health",
)
UPSTREAM_READY: Final = Event(
    "3579a0f3b9a44134a6c509ea40ab3917",
    "upstream ready",
    "The model server @GEOOS_UPSTREAM@ is ready",
    "It answers, and requests go to it.",
    "Nothing to do.",
)
REQUEST_FAILED: Final = Event(
    "cc35d8cc1d9444a2bf6f3bc86eb6b78a",
    "request failed",
    "A request to @GEOOS_UPSTREAM@ failed",
    "The answer of session @GEOOS_SESSION@ broke off or never came: @GEOOS_ERROR@",
    "If it comes again, look at that model server's own log.",
)
DAEMON_LOST: Final = Event(
    "b8711ba627964fe68f39fce1973b6153",
    "daemon lost",
    "A geoos daemon went away: @GEOOS_UNIT@",
    "Its process ended or closed its socket; systemd starts it again.",
    "See why: geoosctl status; geoosctl logs --level error",
)
DAEMON_RESTARTED: Final = Event(
    "b6caa5a641214806be5128f77bae48dd",
    "daemon restarted",
    "A geoos daemon was restarted: @GEOOS_UNIT@",
    "Another process answers in its place; streams and viewers resume.",
    "If nobody asked for it: geoosctl status tells how the last run ended.",
)
SAVE_FAILED: Final = Event(
    "de46967cf90e4c31a361af650284564c",
    "cannot save",
    "geoos cannot save the map",
    "The disk refused it: @GEOOS_ERROR@\nThe map goes on in "
    "memory; a restart would lose what is new.",
    "Make room, or mend the permissions, in /var/lib/geoos; it is tried again by itself.",
)
STATE_SET_ASIDE: Final = Event(
    "3611471e2b494568970a9577dd45560c",
    "state set aside",
    "geoos could not use a file of its own state",
    "The file is damaged. It was kept beside the new one, and the daemon started without it.",
    "Check the disk; restore a backup if you have one.",
)

RECORDING_STOPPED: Final = Event(
    "ab7adf9aae8a49bea93f30a74ba763eb",
    "recording stopped",
    "geoos cannot record sessions",
    "The disk refused it: @GEOOS_ERROR@\nTraffic, map and page go "
    "on; sessions' texts of this while are\nnot kept.",
    "Make room, or mend the permissions, in /var/lib/geoos/bridge; it is tried again by itself.",
)
RECORDING_RESUMED: Final = Event(
    "a6332f4e32854263bdbc66f1cb31285a",
    "recording resumed",
    "geoos records sessions again",
    "The disk takes them again.",
    "Nothing to do.",
)
GPU_FAILED: Final = Event(
    "8a0a126ba45d4e7d93166be2c093cd40",
    "GPU failed",
    "The GPU failed; geoos draws with NumPy",
    "The driver said: @GEOOS_ERROR@\nNo frame and no state was lost; pictures look the same.",
    "geoosctl restart compositor tries the GPU again; docs/gpu.md says what to look at.",
)

ALERT_FIRED: Final = Event(
    "26f28cc715fe4381bf73e3c738bae91d",
    "alert fired",
    "geoos alert: @GEOOS_ALERT@",
    "A quantity is beyond its threshold: @GEOOS_SUMMARY@\n"
    "The rules stand in [control] alerts of geoos.toml.",
    "geoosctl health; docs/alerts.md says of each quantity what it means and what to do.",
)
ALERT_RESOLVED: Final = Event(
    "a285527d65164093a744d91584a61870",
    "alert resolved",
    "geoos alert is over: @GEOOS_ALERT@",
    "The quantity has been within its threshold for half a minute: @GEOOS_SUMMARY@",
    "Nothing to do.",
)
ALERT_NOT_POSTED: Final = Event(
    "f9b216da61e2490fb354b9d3487aeb61",
    "alert not posted",
    "geoos could not post an alert to @GEOOS_HOST@",
    "The address in [control] webhook did not take it: @GEOOS_ERROR@\n"
    "Alerts stay in the journal. It is not tried again.",
    "Correct the address. Under systemd control has no network unless the drop-in webhook.conf\n"
    "gives it one.",
)

EVENTS: Final = (
    READY,
    STOPPED,
    CANNOT_START,
    CRASHED,
    ENDED_BADLY,
    HUNG,
    BUG,
    RELOADED,
    RELOAD_REFUSED,
    UPSTREAM_LOST,
    UPSTREAM_READY,
    REQUEST_FAILED,
    DAEMON_LOST,
    DAEMON_RESTARTED,
    SAVE_FAILED,
    STATE_SET_ASIDE,
    RECORDING_STOPPED,
    RECORDING_RESUMED,
    ALERT_FIRED,
    ALERT_RESOLVED,
    ALERT_NOT_POSTED,
    GPU_FAILED,
)


def catalog() -> str:
    """All events as a message catalog."""
    head = "# Generated from geoosd/wire/events.py; a test holds them equal.\n"
    return head + "".join(_entry(event) for event in EVENTS)


def _entry(event: Event) -> str:
    return (
        f"\n-- {event.message_id}\n"
        f"Subject: {event.subject}\n"
        "Defined-By: geoos\n"
        "Documentation: man:geoosd(8)\n"
        f"\n{event.meaning}\n\n{event.remedy}\n"
    )
