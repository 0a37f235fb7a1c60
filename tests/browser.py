"""A headless Chromium that opens the pages which the project writes.

It and its driver are Debian's packages `chromium` and `chromium-driver`; without them the tests
that need a browser are skipped.
"""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
HEIGHT = 900


class Browser:
    """One window of Chromium."""

    def __init__(self, chromium: str, driver: str, profile: Path) -> None:
        from selenium import webdriver

        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options, webdriver.ChromeService(driver))

    def open(self, page: Path, width: int = 1400, scheme: str = "light") -> None:
        """Open the file `page` in a window of `width` pixels, for who prefers `scheme`."""
        self._command(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False},
        )
        preference = {"name": "prefers-color-scheme", "value": scheme}
        self._command("Emulation.setEmulatedMedia", {"features": [preference]})
        self.driver.get_log("browser")  # what the page before has said
        self.driver.get(page.resolve().as_uri())

    def run(self, script: str, *arguments: object) -> Any:
        """What the JavaScript returns; `arguments` are its `arguments`."""
        return self.driver.execute_script(script, *arguments)

    def texts(self, selector: str) -> list[str]:
        """The texts of the elements that match `selector` and are shown, in the page's order."""
        return self.run(
            "return [...document.querySelectorAll(arguments[0])]"
            ".filter((e) => e.checkVisibility()).map((e) => e.innerText.trim())",
            selector,
        )

    def overflow(self) -> int:
        """By how many pixels the page is wider than its window."""
        return self.run(
            "const root = document.documentElement; return root.scrollWidth - root.clientWidth"
        )

    def complaints(self) -> list[str]:
        """What the console holds since the page was opened."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def point_at(self, selector: str) -> None:
        """Move the pointer onto the first element that matches `selector`."""
        from selenium.webdriver.common.action_chains import ActionChains
        from selenium.webdriver.common.by import By

        element = self.driver.find_element(By.CSS_SELECTOR, selector)
        ActionChains(self.driver).scroll_to_element(element).move_to_element(element).perform()

    def picture(self, path: Path) -> None:
        """Write the whole page to a PNG file, for who wants to look at it."""
        drawn = self._command("Page.captureScreenshot", {"captureBeyondViewport": True})
        path.write_bytes(base64.b64decode(drawn["data"]))

    def _command(self, name: str, parameters: dict[str, object]) -> dict[str, Any]:
        return self.driver.execute_cdp_cmd(name, parameters)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser for all tests of a session."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("no Chromium: apt-get install chromium chromium-driver")
    window = Browser(chromium, driver, tmp_path_factory.mktemp("chromium"))
    yield window
    window.driver.quit()
