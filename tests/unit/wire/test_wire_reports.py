"""geoosd.wire.reports: the worst of verdicts; the Structs agree with io.geoos.Daemon."""

import re
from typing import get_args

import msgspec
import pytest

from geoosd.wire import reports, varlink


@pytest.mark.parametrize(
    ("verdicts", "together"),
    [
        ([], "unknown"),
        (["healthy"], "healthy"),
        (["healthy", "unknown"], "unknown"),
        (["unknown", "warning", "healthy"], "warning"),
        (["warning", "critical", "unknown"], "critical"),
    ],
)
def test_the_worst_verdict_is_that_of_all(verdicts, together):
    assert reports.worst(verdicts) == together


def test_every_verdict_has_a_severity_and_every_level_its_order():
    assert set(reports.SEVERITY) == set(get_args(reports.Verdict))
    assert set(reports.LEVELS) == set(get_args(reports.Level))


@pytest.mark.parametrize(
    ("declared", "struct"),
    [
        ("Queue", reports.Queue),
        ("Link", reports.Link),
        ("Request", reports.Request),
        ("Status", reports.DaemonStatus),
        ("Check", reports.Check),
        ("Record", reports.Record),
    ],
)
def test_the_interface_declares_the_fields_of_the_struct(declared, struct):
    description = varlink.interface("io.geoos.Daemon")
    body = re.search(rf"^type {declared} \((.*?)\)$", description, re.MULTILINE | re.DOTALL)
    flat = re.sub(r"\([^()]*\)", "", body[1])
    fields = [part.split(":")[0].strip() for part in flat.split(",")]
    assert fields == list(struct.__struct_encode_fields__)


def test_a_log_query_refuses_what_it_does_not_know():
    assert msgspec.convert({"level": "info"}, reports.LogQuery).lines is None
    with pytest.raises(msgspec.ValidationError, match="levle"):
        msgspec.convert({"levle": "info"}, reports.LogQuery)
