"""RFC 6455 at the broadcaster's port, with the cases of the Autobahn suite (autobahn_cases.py)."""

from itertools import groupby

import pytest
import trio
from autobahn_cases import ANSWER, CASES, COUNTS, MORE_CASES
from broadcaster_wire import PONG, close, raw_viewer
from test_broadcaster_viewers import standing


def part_of(name):
    return name.rpartition(".")[0]


def test_no_case_of_the_suite_is_left_out():
    found = {part: str(len(list(names))) for part, names in groupby(CASES, part_of)}
    assert found == COUNTS
    assert len(CASES) == 247


async def go_through(tmp_path, cases):
    """Each on a connection of its own, one after the other."""
    async with standing(tmp_path) as stand:
        for name, case in cases.items():
            with trio.fail_after(10):
                seen, code = await outcome(stand.port, case)
            assert code == case.code, (name, seen)
            assert all(opcode == PONG or b'"Error"' in payload for opcode, payload in seen), name
            answers = [payload if opcode == PONG else ANSWER for opcode, payload in seen]
            assert answers == case.answers, name
            assert stand.service.port.errors == 0, name
        await stand.until(lambda: not stand.service.hub.viewers)


async def outcome(port, case):
    """What was answered, and the close code."""
    async with raw_viewer(port) as viewer:
        data = case.sent + (close(1000) if case.code == 1000 else b"")
        try:
            await viewer.send(data, case.chunk)
        except trio.BrokenResourceError:
            assert case.code != 1000
        return await viewer.until_close()


@pytest.mark.parametrize("part", COUNTS)
async def test_a_part_of_the_suite(tmp_path, part):
    await go_through(tmp_path, {name: CASES[name] for name in CASES if part_of(name) == part})


async def test_cases_beyond_the_suite(tmp_path):
    await go_through(tmp_path, MORE_CASES)
