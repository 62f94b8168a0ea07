"""From what the daemons say to one sentence: what is wrong first, and the command that mends it.

The data path is bridge → compositor → broadcaster (docs/architecture.md), so a daemon that is away
explains what its neighbours complain of: without the compositor the bridge's ingest link and the
broadcaster's feed link are down. Rules are tried in the order of the data path; what a rule
explains is kept among the checks, marked, and loses its own remedy to the root's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from msgspec import Struct, structs

from geoosd.control.core.observation import SLOW, Observation, process
from geoosd.control.core.remedy import Place
from geoosd.wire.canary import HOPS, PATIENCE
from geoosd.wire.reports import SEVERITY, Check, Verdict, worst

START_ORDER: Final = ("compositor", "bridge", "broadcaster", "engine", "control")
"""Whose absence explains the others' trouble first."""

EXPLAINS: Final[dict[str, tuple[tuple[str, tuple[str, ...]], ...]]] = {
    "compositor": (
        ("bridge", ("ingest", "compositor", "outbox", "link", "queues")),
        ("broadcaster", ("feed", "compositor", "link", "canary")),
    ),
    "bridge": (("compositor", ("ingest", "producer")), ("broadcaster", ("canary",))),
    "broadcaster": (("compositor", ("feed",)),),
    "engine": (("bridge", ("upstream", "engine", "model")),),
}
"""An absent daemon, and the words that mark the checks it explains in other daemons."""

SERVES: Final = {"ingest.sock": "compositor", "feed.sock": "compositor"}
"""Who listens on the sockets that links go to."""

_DATA_PATH: Final = (
    ("bridge", ("compositor", "ingest", "outbox", "queues", "link")),
    ("broadcaster", ("feed", "canary", "link")),
)
_MACHINE: Final[dict[str, tuple[tuple[str, tuple[str, ...]], ...]]] = {
    "disk": (("bridge", ("recording",)), ("compositor", ("state",))),
    "sockets": _DATA_PATH,
    "clock": (("broadcaster", ("canary",)),),
}
"""What control finds of the machine, and the words of the checks that it explains."""

_UPSTREAM_WORDS: Final = ("upstream", "model")
_UPSTREAM_REMEDY: Final = "geoosctl models"


class Judgement(Struct, frozen=True):
    """The answer of ``GetHealth``: the worst verdict, its root cause, every check."""

    status: Verdict
    root_cause: str | None
    remedy: str | None
    checks: list[Check]

    def at(self, place: Place, ends: Mapping[str, str]) -> Judgement:
        """With remedies as they have to be typed at *place*; *ends*: see :meth:`Place.command`."""

        def here(remedy: str | None) -> str | None:
            return remedy and place.command(remedy, ends)

        checks = [structs.replace(each, remedy=here(each.remedy)) for each in self.checks]
        return Judgement(self.status, self.root_cause, here(self.remedy), checks)


@dataclass
class _Finding:
    """A check on its way into the judgement. ``daemon`` owns it; ``explained`` names the root."""

    daemon: str
    check: Check
    explained: str | None = None

    def shown(self) -> Check:
        """The check as the answer holds it."""
        check = self.check
        summary, remedy = check.summary, check.remedy
        if self.explained:
            summary, remedy = f"{summary} (because {self.explained})", None
        return Check(f"{self.daemon}: {check.name}", check.status, summary, remedy, check.since)

    @property
    def says(self) -> str:
        return self.check.summary

    @property
    def bad(self) -> bool:
        return self.check.status in ("warning", "critical")


@dataclass
class _Case:
    """Everything known, while the rules look at it."""

    observations: dict[str, Observation]
    now: float = 0.0
    findings: list[_Finding] = field(default_factory=list[_Finding])

    def bad(self, daemon: str, words: Sequence[str]) -> list[_Finding]:
        """The bad checks of *daemon* whose name holds one of *words*."""
        return [
            finding
            for finding in self.findings
            if finding.daemon == daemon
            and finding.bad
            and any(word in finding.check.name.lower() for word in words)
        ]

    def canary(self, daemon: str) -> float:
        """When the last canary passed *daemon*, in seconds since the epoch; 0 if none has."""
        found = self.observations.get(daemon)
        return float(found.status.details.get("canary", 0)) if found and found.status else 0.0


@dataclass(frozen=True)
class _Cause:
    """What a rule found; ``finding`` is the check that stands for it in the list."""

    text: str
    remedy: str | None
    finding: _Finding
    explains: tuple[_Finding, ...] = ()


_Rule: TypeAlias = Callable[[_Case], _Cause | None]
Damp: TypeAlias = Callable[[str, Check], Check]


def judge(
    observations: Sequence[Observation],
    now: float,
    examined: Mapping[str, Sequence[Check]] | None = None,
    damp: Damp = lambda _name, check: check,
) -> Judgement:
    """Health of the whole from its daemons; *now* is seconds since the epoch.

    *examined* are further checks by daemon (:mod:`.examine`); *damp* says how a check counts
    (:meth:`.course.Course.damp`). ``unknown`` without any daemon or any
    check; ``healthy`` only if every daemon says so.
    """
    case = _Case({each.name: each for each in observations}, now)
    for observation in observations:
        case.findings.extend(_findings(observation, now))
    for daemon, checks in (examined or {}).items():
        case.findings.extend(_Finding(daemon, check) for check in checks)
    for finding in case.findings:
        finding.check = damp(f"{finding.daemon}: {finding.check.name}", finding.check)
    cause = next(
        (found for rule in _RULES if (found := rule(case)) and _is_root(case, found)), None
    )
    if cause is not None:
        for finding in cause.explains:
            finding.explained = cause.text.split(":", 1)[0]
    ordered = sorted(case.findings, key=lambda each: _order(each, cause))
    return Judgement(
        status=worst([each.check.status for each in ordered]),
        root_cause=cause.text if cause else None,
        remedy=cause.remedy if cause else None,
        checks=[each.shown() for each in ordered],
    )


def _is_root(case: _Case, cause: _Cause) -> bool:
    """Whether nothing worse is left that *cause* does not explain."""
    return cause.finding.check.status == "critical" or not any(
        each.check.status == "critical" and each not in cause.explains for each in case.findings
    )


def _order(finding: _Finding, cause: _Cause | None) -> tuple[bool, int, bool, str, str]:
    """The root cause first, then by severity; what is explained comes after what is not."""
    is_root = cause is not None and finding is cause.finding
    severity = SEVERITY[finding.check.status]
    return not is_root, -severity, bool(finding.explained), finding.daemon, finding.check.name


def _findings(observation: Observation, now: float) -> list[_Finding]:
    """The checks of one daemon, and what control itself found of its process and its links."""
    name = observation.name
    own = observation.health.checks if observation.health else []
    found = [_Finding(name, check) for check in own]
    found.append(_Finding(name, process(observation, now)))
    links = observation.status.links if observation.status else []
    for link in links:
        if link.state == "down" and not any(
            link.name.lower() in check.name.lower() for check in own
        ):
            check = Check(f"{link.name} link", "warning", f"{link.peer} is down", None, link.since)
            found.append(_Finding(name, check))
    return found


# -- rules, in the order in which they are tried ---------------------------------------------------


def _somebody_is_absent(case: _Case) -> _Cause | None:
    """A daemon that does not answer explains its neighbours' complaints."""
    absent = {
        name: each.absent
        for name, each in case.observations.items()
        if each.absent and not each.absent.stopped
    }
    if not absent:
        return None
    first = min(absent, key=_start_order)
    explained = _complaints_about(case, absent)
    others = sorted((name for name in absent if name != first), key=_start_order)
    also = f", nor {'do' if others[1:] else 'does'} {_these(others)}" if others else ""
    root = absent[first]
    text = f"{_the(first)} does not answer{also}: {root.reason}"
    return _Cause(text, root.remedy, _process_of(case, first), explained)


def _somebody_is_stopped(case: _Case) -> _Cause | None:
    """A daemon that was stopped on purpose: what its neighbours miss is no fault either."""
    absent = {name: each.absent for name, each in case.observations.items() if each.absent}
    stopped = sorted((name for name, each in absent.items() if each.stopped), key=_start_order)
    if not stopped:
        return None
    missed = _complaints_about(case, stopped)
    for finding in missed:
        finding.check = structs.replace(finding.check, status="warning")
    critical = [finding for finding in case.findings if finding.check.status == "critical"]
    if critical:
        return replace(_worst_of(critical), explains=missed)
    root = _process_of(case, stopped[0])
    others = f", and so {'are' if stopped[2:] else 'is'} {_these(stopped[1:])}"
    text = f"{_the(stopped[0])} is {root.check.summary}{others if stopped[1:] else ''}"
    return _Cause(text, root.check.remedy, root, missed)


def _complaints_about(case: _Case, absent: Iterable[str]) -> tuple[_Finding, ...]:
    """What other daemons complain of because of those that are away."""
    return tuple(
        finding
        for name in absent
        for neighbour, words in EXPLAINS.get(name, ())
        for finding in case.bad(neighbour, words)
    )


def _the(name: str) -> str:
    """A daemon in a sentence; control is a name, the others are what they do."""
    return name if name == "control" else f"the {name}"


def _these(names: Iterable[str]) -> str:
    return ", ".join(map(_the, names))


def _start_order(name: str) -> int:
    return START_ORDER.index(name) if name in START_ORDER else len(START_ORDER)


def _process_of(case: _Case, daemon: str) -> _Finding:
    return next(
        each for each in case.findings if each.daemon == daemon and each.check.name == "process"
    )


def _the_machine(case: _Case) -> _Cause | None:
    """The disk, the sockets or the clock explain what several daemons complain of."""
    for name, neighbours in _MACHINE.items():
        for root in case.bad("control", (name,)):
            explained = [
                finding for neighbour, words in neighbours for finding in case.bad(neighbour, words)
            ]
            text = f"{name}: {root.check.summary}"
            cause = _Cause(text, root.check.remedy, root, tuple(explained))
            if _is_root(case, cause):
                return cause
    return None


def _somebody_is_slow(case: _Case) -> _Cause | None:
    """A daemon whose loop is held up; all of them wait for a control that is slow itself."""
    slow = [each.name for each in case.observations.values() if each.took >= SLOW]
    if not slow:
        return None
    name = "control" if "control" in slow else min(slow, key=_start_order)
    root = _process_of(case, name)
    rest = [_process_of(case, each) for each in slow if each != name] if name == "control" else []
    canary = case.bad("broadcaster", ("canary",))
    text = f"{_the(name)} {root.check.summary}"
    return _Cause(text, root.check.remedy, root, (*rest, *canary))


def _the_canary_is_late(case: _Case) -> _Cause | None:
    """Everything comes through, but late: the canary says where it was held up."""
    late = [each for each in case.bad("broadcaster", ("canary",)) if "a canary took" in each.says]
    if not late:
        return None
    return _Cause(f"the data path is slow: {late[0].says}", late[0].check.remedy, late[0])


def _the_canary_is_lost(case: _Case) -> _Cause | None:
    """Every daemon answers, and yet nothing comes through: where it stops coming."""
    lost = [each for each in case.bad("broadcaster", ("canary",)) if "came through" in each.says]
    if not lost:
        return None
    late = [hop for hop in HOPS[:-1] if case.now - case.canary(hop) > PATIENCE]
    stuck = late[0] if late else HOPS[-1]
    if stuck == HOPS[0]:
        text = "the bridge lets no canary go"
    else:
        text = f"canaries leave the {HOPS[HOPS.index(stuck) - 1]}, but do not reach the {stuck}"
    unit = "broadcaster" if stuck == HOPS[-1] else stuck
    remedy = f"geoosctl logs --unit {unit}"
    return _Cause(f"the data path is broken: {text}", remedy, lost[0])


def _a_restart(case: _Case) -> _Cause | None:
    """A daemon that has just come back explains links that are not up again yet.

    If somebody asked for that, and nobody misses anything, it is no cause of trouble.
    """
    fresh = [each for each in case.observations.values() if each.restarted_ago is not None]
    for each in sorted(fresh, key=lambda each: (_start_order(each.name), each.restarted_ago)):
        explained = _complaints_about(case, [each.name])
        root = _process_of(case, each.name)
        if not each.wanted:
            text = f"{_the(each.name)} {root.check.summary}: it ended and was started again"
            return _Cause(text, root.check.remedy, root, explained)
        if explained:
            text = f"{_the(each.name)} restarted {each.restarted_ago:.0f} s ago, as was asked"
            return _Cause(text, None, root, explained)
    return None


def _a_link_is_down(case: _Case) -> _Cause | None:
    """Both ends are there, but a connection between them is not."""
    for name, observation in case.observations.items():
        for link in observation.status.links if observation.status else []:
            server = case.observations.get(SERVES.get(link.peer.rpartition("/")[2], ""))
            found = case.bad(name, (link.name.lower(),)) if link.state == "down" else []
            if server and found and server.restarted_ago is None:
                text = f"the {name} has no connection to the {server.name}: {link.peer} is down"
                remedy = f"geoosctl logs --unit {server.name}"
                return _Cause(text, found[0].check.remedy or remedy, found[0], tuple(found[1:]))
    return None


def _the_engine_fails(case: _Case) -> _Cause | None:
    """The engine answers, and its model server does not: then the bridge misses an upstream."""
    failed = [each for each in case.bad("engine", ("",)) if each.check.status == "critical"]
    if not failed:
        return None
    missed = tuple(case.bad("bridge", _UPSTREAM_WORDS))
    return _Cause(f"engine: {failed[0].says}", failed[0].check.remedy, failed[0], missed)


def _model_loading(case: _Case) -> _Cause | None:
    """The model server is up, but its model is not loaded yet."""
    loading = [
        finding
        for daemon in ("engine", "bridge")
        for finding in case.findings
        if finding.daemon == daemon
        and finding.check.status != "healthy"
        and (_says_loading(finding.check) or _is_starting(case, finding, "engine"))
    ]
    if not loading:
        return None
    root = loading[0]
    explained = [each for each in case.bad("bridge", _UPSTREAM_WORDS) if each is not root]
    summary = root.check.summary.removeprefix("model loading: ").removesuffix(": model loading")
    return _Cause(f"model loading: {summary}", "geoosctl health --watch", root, tuple(explained))


def _says_loading(check: Check) -> bool:
    return "loading" in check.summary.lower()


def _is_starting(case: _Case, finding: _Finding, daemon: str) -> bool:
    status = case.observations[finding.daemon].status
    return finding.daemon == daemon and status is not None and status.state == "starting"


def _no_upstream(case: _Case) -> _Cause | None:
    """No model server answers the bridge, or one of several does not."""
    found = case.bad("bridge", _UPSTREAM_WORDS)
    if not found:
        return None
    root = max(found, key=lambda each: SEVERITY[each.check.status])
    summary = root.check.summary
    one_of_several = summary.startswith("upstream ")
    text = summary if one_of_several else f"no upstream: {summary.removeprefix('no upstream: ')}"
    rest = [] if one_of_several else [each for each in found if each is not root]
    return _Cause(text, root.check.remedy or _UPSTREAM_REMEDY, root, tuple(rest))


def _the_worst_check(case: _Case) -> _Cause | None:
    """Nothing explains anything: then the worst check is where to begin."""
    bad = [finding for finding in case.findings if finding.bad]
    return _worst_of(bad) if bad else None


def _worst_of(bad: Sequence[_Finding]) -> _Cause:
    root = max(bad, key=lambda each: (SEVERITY[each.check.status], -_start_order(each.daemon)))
    text = f"{root.daemon}: {root.check.name}: {root.check.summary}"
    return _Cause(text, root.check.remedy or f"geoosctl logs --unit {root.daemon}", root)


_RULES: Final[tuple[_Rule, ...]] = (
    _somebody_is_absent,
    _somebody_is_stopped,
    _the_machine,
    _a_link_is_down,
    _the_engine_fails,
    _model_loading,
    _no_upstream,
    _a_restart,
    _somebody_is_slow,
    _the_canary_is_lost,
    _the_canary_is_late,
    _the_worst_check,
)
