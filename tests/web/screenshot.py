"""Take a picture of the running page: ``python tests/web/screenshot.py URL OUTPUT``.

With ``--prompt TEXT`` it types a prompt first; the picture is taken ``--after`` seconds later, so
that the map and the stream show a real answer. Needs Chromium (``--chromium PATH``).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from playwright.sync_api import sync_playwright

CHROMIUM = "/usr/bin/chromium"
CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("output", type=Path)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=720)
    parser.add_argument("--scale", type=float, default=1.0, help="device pixels per CSS pixel")
    parser.add_argument("--prompt", help="type this prompt first")
    parser.add_argument("--after", type=float, default=4.0, help="seconds to wait")
    parser.add_argument("--chromium", default=CHROMIUM)
    options = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=options.chromium, args=CHROMIUM_ARGUMENTS
        )
        page = browser.new_page(
            viewport={"width": options.width, "height": options.height},
            device_scale_factor=options.scale,
        )
        page.goto(options.url)
        page.wait_for_selector('body[data-connection="live"]')
        if options.prompt:
            page.fill("#prompt-text", options.prompt)
            page.press("#prompt-text", "Enter")
            page.wait_for_selector("#stream .t")
        page.wait_for_timeout(options.after * 1000)
        options.output.parent.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=options.output)
        browser.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
