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
    "--disable-gpu-compositing",  # frames of the page itself need no WebGL
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
        self.wait_until("return document.documentElement.dataset.ready === 'yes'")
        time.sleep(0.3)

    def wait_until(self, script: str, seconds: float = 90.0) -> None:
        """Wait until a script returns true."""
        deadline = time.monotonic() + seconds
        while not self.run(script):
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {seconds:g} s: {script}; logged: {self.logged()}")
            time.sleep(0.1)

    def run(self, script: str, *arguments: Any) -> Any:
        """Run a script in the page."""
        return self.driver.execute_script(script, *arguments)

    def logged(self) -> list[str]:
        """Warnings and errors of the console since the last call."""
        messages = [entry["message"] for entry in self.driver.get_log("browser")]
        # What the software that stands for a graphics card says of its own speed is not of the page.
        return [message for message in messages if "GL Driver Message" not in message]

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
        """What is to be seen of an element that fits into the window, shape (height, width, 3)."""
        left, top, right, bottom = self.run(
            "const e = document.querySelector(arguments[0]); e.scrollIntoView({block: 'center', behavior: 'instant'});"
            "const r = e.getBoundingClientRect(); return [r.left, r.top, r.right, r.bottom].map(Math.round);",
            selector,
        )
        time.sleep(0.2)
        window = np.asarray(Image.open(io.BytesIO(self.png())).convert("RGB")).astype(int)
        return window[top:bottom, left:right]

    def png(self, *, whole: bool = False) -> bytes:
        """What is to be seen in the window, or of the whole page."""
        options: dict[str, Any] = {"format": "png", "captureBeyondViewport": whole}
        if whole:
            size = self.driver.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
            options["clip"] = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
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
