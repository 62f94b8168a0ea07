"""Chromium, and pages that may not complain."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_broadcaster import FakeBroadcaster
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright
from screenshot import CHROMIUM, CHROMIUM_ARGUMENTS

# Five seconds are not enough for a first page on a machine with ten times its cores' work.
expect.set_options(timeout=20_000)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if not Path(CHROMIUM).exists():
        pytest.skip(f"needs Chromium at {CHROMIUM}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=CHROMIUM_ARGUMENTS, headless=True
        )
        yield browser
        browser.close()


@pytest.fixture
def broadcaster() -> Iterator[FakeBroadcaster]:
    with FakeBroadcaster() as fake:
        yield fake


@pytest.fixture
def complaints() -> list[str]:
    """What the page's console said above "info"; a test that expects something clears it."""
    return []


@pytest.fixture
def page(browser: Browser, complaints: list[str]) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1000, "height": 640})
    page.set_default_timeout(20_000)

    def on_console(message: ConsoleMessage) -> None:
        # SwiftShader tells that reading pixels is slow; that is about the test, not the page.
        if message.type in ("error", "warning") and "GPU stall" not in message.text:
            complaints.append(message.text)

    page.on("console", on_console)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    page.close()
    assert complaints == []
