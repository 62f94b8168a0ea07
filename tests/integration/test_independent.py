"""Independent clients under load, among neighbours that reset, stall, ping and close: their text is
identical and in order, nothing is missing, nothing is left behind. `make soak` does it for minutes.
"""

import threading

import pytest

from .crowd import Load, crowd
from .independent import CHROMIUM, Churn, held, missing, watching
from .stack import Stack, until

pytestmark = pytest.mark.slow
CROWD = 20


def together(stack, browser, rate, seconds):
    """All of them for so long; what the broadcaster held before and after, and who was there."""
    with crowd(stack.broadcaster, CROWD) as many, watching(stack, browser) as viewers:
        for name, each in viewers.items():
            until(lambda v=each: v.seen()["snapshots"], 20, f"{name}: a snapshot")
        with Churn(stack.broadcaster) as churn:  # a first round, so that buffers have grown
            threading.Event().wait(3.0)
        good = CROWD + len(viewers)
        until(lambda: held(stack).viewers == good, 20, "the end of the others")
        before = held(stack)
        ingest = stack.directory / "run" / "ingest.sock"
        with Churn(stack.broadcaster) as churn, Load(ingest, rate) as load:
            threading.Event().wait(seconds)
            load.stop()
            until(lambda: many.ask().tokens >= load.sent, 20, "the last token")
            text = "".join(f" {number}" for number in range(load.sent))
            for name, each in viewers.items():
                until(
                    lambda v=each: len(v.seen()["text"]) >= len(text), 20, f"{name}: the last token"
                )
        for name, each in viewers.items():
            seen = each.seen()
            assert seen.pop("text") == text, name
            assert (seen["gaps"], seen["outOfOrder"], seen["snapshots"]) == (0, 0, 1), name
        report = many.ask()
        assert (report.gaps, report.out_of_order, report.snapshots) == (0, 0, CROWD)
        assert list(report.texts.values()) == [CROWD]
        assert all(churn.made.values()), churn.made
        until(lambda: held(stack).viewers == good, 20, "the end of the others")
        until(lambda: held(stack).descriptors <= before.descriptors, 20, "their descriptors")
        after = held(stack)
    assert after.threads <= before.threads + 1
    return before, after, list(viewers)


@pytest.fixture(scope="module")
def chromium():
    if missing()["Chromium"]:
        yield None
        return
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def kinds(tmp_path_factory, chromium):
    """The kinds of viewers who have all seen the same, among bad neighbours."""
    stack = Stack(tmp_path_factory.mktemp("stack"), engine=False)
    try:
        stack.start()
        yield together(stack, chromium, rate=200, seconds=3.0)[2]
    finally:
        stack.kill()


@pytest.mark.parametrize("kind", missing())
def test_it_sees_what_all_see_among_bad_neighbours(kinds, kind):
    if lacking := missing()[kind]:
        pytest.skip(lacking)
    assert kind in kinds
