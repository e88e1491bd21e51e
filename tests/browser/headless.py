"""A headless Chromium that opens a page from a file, and tells what it logged, asked for and drew."""

from __future__ import annotations

import base64
import io
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.remote.webelement import WebElement

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")

_FLAGS = (
    "--headless=new",
    "--no-sandbox",  # CI runs as root in a container
    "--disable-dev-shm-usage",
    "--use-gl=angle",
    "--use-angle=swiftshader",  # WebGL without a graphics card
    "--enable-unsafe-swiftshader",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-device-scale-factor=1",
)

#: Schemes that a page may load from without a network.
_LOCAL = ("file:", "data:", "blob:", "about:")


class Page:
    """A page that was opened."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def resize(self, width: int, height: int) -> None:
        """Give the page a viewport of this size, as a phone or a projector has it."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        time.sleep(0.5)

    def open(self, path: Path) -> None:
        """Open a file and wait until the page's script has run to its end."""
        self.driver.get(path.resolve().as_uri())
        deadline = time.monotonic() + 90.0
        while not self.run("return document.documentElement.dataset.ready === 'yes'"):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{path}: the page's script did not end; logged: {self.logged()}")
            time.sleep(0.1)
        time.sleep(0.3)

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a script in the page."""
        return self.driver.execute_script(script, *arguments)

    def logged(self) -> list[str]:
        """Warnings and errors of the console since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requested(self) -> list[str]:
        """Addresses beyond this machine that the page asked for since the last call."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        addresses = [
            event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"
        ]
        addresses += [event["params"]["url"] for event in events if event["method"] == "Network.webSocketCreated"]
        return [address for address in addresses if not address.startswith(_LOCAL)]

    def element(self, selector: str) -> WebElement:
        """The first element of a CSS selector."""
        return self.driver.find_element("css selector", selector)

    def picture(self, selector: str) -> np.ndarray:
        """What is to be seen of an element, shape (height, width, 3)."""
        return np.asarray(Image.open(io.BytesIO(self.png(selector))).convert("RGB")).astype(int)

    def png(self, selector: str = "html") -> bytes:
        """What is to be seen of an element, also of what lies outside the window."""
        x, y, width, height = self.run(
            "const r = document.querySelector(arguments[0]).getBoundingClientRect();"
            "return [r.x + scrollX, r.y + scrollY, r.width, r.height];",
            selector,
        )
        clip = {"x": x, "y": y, "width": width, "height": height, "scale": 1}
        options = {"format": "png", "captureBeyondViewport": True, "clip": clip}
        return base64.b64decode(self.driver.execute_cdp_cmd("Page.captureScreenshot", options)["data"])

    def set(self, selector: str, value: Any) -> None:
        """Move a slider, tick a box or choose a button, as a hand would: with its events."""
        self.run(
            "const e = document.querySelector(arguments[0]);"
            "if (e.type === 'range' || e.tagName === 'SELECT') e.value = arguments[1]; else e.checked = arguments[1];"
            "e.dispatchEvent(new Event('input', {bubbles: true}));"
            "e.dispatchEvent(new Event('change', {bubbles: true}));",
            selector,
            value,
        )
        time.sleep(0.6)


@contextmanager
def browser(profile: Path) -> Iterator[Page]:
    """Start Chromium with an empty profile, and end it."""
    options = Options()
    options.binary_location = CHROMIUM or ""
    for flag in (*_FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(executable_path=DRIVER))
    try:
        driver.set_page_load_timeout(120)
        driver.set_script_timeout(120)
        page = Page(driver)
        page.driver.get("about:blank")
        page.requested()  # of the browser's own first page
        yield page
    finally:
        driver.quit()
