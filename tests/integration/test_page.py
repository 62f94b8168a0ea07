"""The page in a real Chromium, before a real model: type a prompt, watch it think."""

import os
import shutil
import signal

import pytest

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]

pytestmark = [
    pytest.mark.engine,
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt install chromium"),
]


@pytest.fixture
def page():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        yield page
        browser.close()


LIT = """() => {
    const map = document.getElementById('map');
    const copy = document.createElement('canvas');
    copy.width = 320; copy.height = 180;
    const context = copy.getContext('2d');
    context.drawImage(map, 0, 0, 320, 180);
    const pixels = context.getImageData(0, 0, 320, 180).data;
    return pixels.reduce((sum, value, at) => at % 4 === 3 || value < 150 ? sum : sum + value, 0);
}"""
"""Sum of the map's bright colours in this frame: how much of it is lit, apart from the curve."""


def brightness(page):
    """How much of the map is lit in the next frame, when it is on the canvas."""
    return page.evaluate(
        f"() => new Promise((done) => requestAnimationFrame(() => done(({LIT})())))"
    )


def wait_for_brightness(page, least):
    """Wait for a frame that is lit so much: on software GL they are few."""
    page.wait_for_function(f"(least) => ({LIT})() > least", arg=least, polling="raf")


def test_a_prompt_typed_in_the_page_streams_and_lights_the_map(shared_stack, page):
    problems = []
    page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(shared_stack.page)
    page.wait_for_selector("body[data-connection=live]", timeout=20_000)
    dark = brightness(page)
    page.fill("#prompt-text", "The geometry of thought is")
    with page.expect_response("**/api/prompt") as posted:
        page.press("#prompt-text", "Enter")
    assert posted.value.status == 202
    session = posted.value.json()["sessions"][0]
    assert session
    page.wait_for_selector("#stream span >> nth=20", timeout=60_000)
    page.screenshot(path=str(shared_stack.directory / "page.png"))
    wait_for_brightness(page, dark + 2000)
    assert problems == []


def test_the_page_comes_back_after_the_broadcaster_died(light_stack, page):
    page.goto(light_stack.page)
    page.wait_for_selector("body[data-connection=live]", timeout=20_000)
    os.kill(light_stack.pids()["broadcaster"], signal.SIGKILL)
    page.wait_for_selector("body:not([data-connection=live])", timeout=20_000)
    page.wait_for_selector("body[data-connection=live]", timeout=20_000)
    page.fill("#prompt-text", "Hello")
    with page.expect_response("**/api/prompt") as posted:
        page.press("#prompt-text", "Enter")
    assert posted.value.status == 202
    page.wait_for_selector("#stream span >> nth=5", timeout=30_000)
