"""For the tests in a real browser: which one to use, and how smoothly the player runs in it."""

import os
from pathlib import Path
import shutil

import pytest

SHOTS = Path(__file__).parent.parent / "build" / "screenshots"  # not kept in git
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

if CHROMIUM is None and not os.environ.get("DREAMER_BROWSER"):  # CI sets it: there a missing browser is a failure
    pytest.skip("no chromium on this machine", allow_module_level=True)


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    SHOTS.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


def frames_per_second(page, player):
    """How often the player draws, over two seconds. player: where it lives, the page itself or a frame in it."""
    before = player.evaluate("player.frames")
    page.wait_for_timeout(2000)
    return (player.evaluate("player.frames") - before) / 2
