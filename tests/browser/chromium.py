"""A headless Chromium that trusts one authority, driven by the WebDriver protocol."""

from __future__ import annotations

import base64
import http.client
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.end_to_end.deployment import free_ports
from tests.end_to_end.processes import ProcessCase, eventually, tool

#: Nothing here makes it accept a certificate that it cannot verify.
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=900,1150",
]
SCREENSHOTS = Path(tempfile.gettempdir()) / f"burrow-screenshots-{os.getuid()}"


class Browser:
    """One window; every call waits for its answer.

    WebDriver is JSON over HTTP (W3C WebDriver, section 6); this is as much of it as tests need.
    """

    def __init__(self, port: int, options: Mapping[str, Any]) -> None:
        """Open a window by the driver that listens on ``port`` of loopback."""
        self._port = port
        self._session = ""
        wanted = {"acceptInsecureCerts": False, "goog:chromeOptions": options}
        answer = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._session = f"/session/{answer['sessionId']}"

    def open(self, url: str) -> None:
        """Go to a page and wait until it is loaded.

        Raises:
            AssertionError: It cannot be; the text is the browser's, e.g. ERR_CERT_AUTHORITY_INVALID.
        """
        self._call("POST", self._session + "/url", {"url": url})
        if self.run("return location.protocol") == "chrome-error:":
            raise AssertionError(f"{url}: {self.run('return document.body.textContent')!r}")

    def run(self, script: str) -> Any:
        """Return what a script's ``return`` gives."""
        return self._call("POST", self._session + "/execute/sync", {"script": script, "args": []})

    def text(self, selector: str) -> str:
        """Return the text of the first element that a CSS selector finds."""
        return str(self.run(f"return document.querySelector({json.dumps(selector)}).innerText"))

    def screenshot(self, name: str) -> Path:
        """Write the window as a PNG to `SCREENSHOTS` and return its path."""
        SCREENSHOTS.mkdir(exist_ok=True)
        path = SCREENSHOTS / f"{name}.png"
        path.write_bytes(base64.b64decode(self._call("GET", self._session + "/screenshot")))
        print(f"screenshot: {path}")
        return path

    def close(self) -> None:
        """Close the window."""
        self._call("DELETE", self._session)

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        connection.request(method, path, None if body is None else json.dumps(body))
        value = json.loads(connection.getresponse().read())["value"]
        connection.close()
        if isinstance(value, dict) and "error" in value:
            raise AssertionError(f"{path}: {value['message'].splitlines()[0]}")
        return value


class BrowserCase(ProcessCase):
    """A test with a browser whose home, and so whose list of authorities, is the test's own."""

    def trust(self, authority: Path) -> None:
        """Make the browser trust an authority, as a user does by importing it."""
        certutil = tool("certutil", "libnss3-tools")
        database = Path(self.env["HOME"]) / ".pki/nssdb"
        database.mkdir(parents=True)
        store = ("-d", f"sql:{database}")
        self.succeed(certutil, *store, "-N", "--empty-password")
        self.succeed(certutil, *store, "-A", "-t", "C,,", "-n", "burrow", "-i", authority)

    def browser(self) -> Browser:
        """Open a browser; it is closed with the test."""
        binary, driver = tool("chromium", "chromium"), tool("chromedriver", "chromium-driver")
        port, _ = free_ports(1)
        process = self.start(driver, f"--port={port}")
        process.wait_for("started successfully")
        profile = f"--user-data-dir={self.directory / 'profile'}"
        browser = Browser(port, {"binary": binary, "args": [*FLAGS, profile]})
        self.addCleanup(browser.close)
        return browser

    def eventually(self, what: str, browser: Browser, condition: str) -> None:
        """Wait until a script expression is true in the page."""
        eventually(what, lambda: bool(browser.run(f"return {condition}")))
