"""The demonstration page in a browser, through an https tunnel."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser.chromium import BrowserCase
from tests.end_to_end.deployment import host_of, port_of
from tests.end_to_end.processes import PROGRAMS


@pytest.mark.browser
class DemoPageTests(BrowserCase):
    """`burrow demo`, opened by somebody who has imported the authority of ``burrow ca``."""

    def setUp(self) -> None:
        """Share the page."""
        super().setUp()
        self.program = self.burrow("demo")
        self.url = self.program.wait_for(r"Forwarding\s+(https://\S+) -> ").group(1)
        self.authority = Path(self.succeed(PROGRAMS / "burrow", "ca").decode().strip())

    def test_opens_without_a_warning(self) -> None:
        """The page opens over https, names its host and keeps ticking."""
        self.trust(self.authority)
        browser = self.browser()
        browser.open(self.url + "/")
        self.assertEqual(browser.text("#host"), f"{host_of(self.url)}:{port_of(self.url)}")
        self.assertIn("through a tunnel", browser.text("h1"))
        self.assertTrue(browser.run("return isSecureContext"))
        self.assertEqual(browser.run("return getComputedStyle(document.body).margin"), "0px")
        self.eventually("a tick", browser, 'document.getElementById("live").textContent.includes(" s, ")')
        self.assertGreater(browser.screenshot("demo").stat().st_size, 10_000)

    def test_refused_without_the_authority(self) -> None:
        """A browser that has not imported the authority refuses the page."""
        browser = self.browser()
        with self.assertRaises(AssertionError) as caught:
            browser.open(self.url + "/")
        self.assertIn("ERR_CERT_AUTHORITY_INVALID", str(caught.exception))
