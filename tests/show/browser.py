"""A real browser for tests of the page: chromium without a window, opened and closed by the test."""

import base64
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

MISSING = "chromium and chromedriver are not installed: apt-get install chromium chromium-driver"
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-default-apps"
)


@contextmanager
def opened(page: Path, profile: Path) -> Iterator[Chrome]:
    """Open a page in a browser that has never been used; skip the test where there is none."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip(MISSING)
    options = ChromeOptions()
    options.binary_location = chromium
    for flag in [*FLAGS.split(), f"--user-data-dir={profile}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = Chrome(options=options, service=Service(executable_path=driver))
    try:
        browser.get(page.as_uri())
        yield browser
    finally:
        browser.quit()


def requested(browser: Chrome, page: Path) -> list[str]:
    """Return the addresses that the page, and not the browser's own pages, asked for since this was last asked."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
    return [each["request"]["url"] for each in asked if each["documentURL"] == page.as_uri()]


def resize(browser: Chrome, width: int, height: int = 900) -> None:
    """Make the page as wide as a phone or a screen: a window would be 500 px at least."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def emulate(browser: Chrome, *, media: str = "screen", scheme: str = "light") -> None:
    """Show the page as on paper, or as where the reader prefers dark pages."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})


def pages_on_paper(browser: Chrome) -> int:
    """Print the page as PDF, and return how many sheets of paper that takes."""
    return len(re.findall(rb"/Type\s*/Page\b", base64.b64decode(browser.print_page())))


def photograph(browser: Chrome, path: Path) -> None:
    """Save a picture of the whole page."""
    height = browser.execute_script("return document.documentElement.scrollHeight")
    resize(browser, browser.execute_script("return innerWidth"), height)
    browser.save_screenshot(str(path))
