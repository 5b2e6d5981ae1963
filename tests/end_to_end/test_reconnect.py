"""A client outlives its relay."""

from __future__ import annotations

import signal

from tests.end_to_end.deployment import ESTABLISHED, DeploymentCase
from tests.end_to_end.processes import Program
from tests.end_to_end.services import WebServer


class RelayRestartTests(DeploymentCase):
    """A relay that goes away and comes back where it was."""

    def setUp(self) -> None:
        """Publish a web server under a name of its own."""
        super().setUp()
        self.web = WebServer()
        self.addCleanup(self.web.close)
        self.public, self.relay, self.client = self.publish("http", self.web.port, subdomain="kept")

    def back(self, seen: int) -> None:
        """The client has a new session after line ``seen``, and the same URL works."""
        self.client.wait_for(ESTABLISHED, seen)
        self.assertEqual(self.url(self.client, "one", "https", seen), self.public)
        self.assertIn(b"hello", self.curl(self.public + "/"))

    def restart(self, relay: Program) -> int:
        """Start the relay again; return how many lines the client had printed before."""
        relay.wait()
        seen = len(self.client.lines)
        self.start_relay()
        return seen

    def test_stopped(self) -> None:
        """After a clean stop the client connects again and takes its names again."""
        self.relay.stop()
        self.back(self.restart(self.relay))

    def test_killed(self) -> None:
        """After a kill as well."""
        self.relay.send(signal.SIGKILL)
        self.back(self.restart(self.relay))


class ClientRestartTests(DeploymentCase):
    """A client that is killed and started again."""

    def test_takes_its_name_back_at_once(self) -> None:
        """The same account has its name again without waiting for the grace period."""
        web = WebServer()
        self.addCleanup(web.close)
        public, _, client = self.publish("http", web.port, subdomain="mine")
        client.send(signal.SIGKILL)
        client.wait()
        again = self.start_client({"one": {"proto": "http", "addr": web.port, "subdomain": "mine"}})
        self.assertEqual(self.url(again, "one", "https"), public)
        self.assertIn(b"hello", self.curl(public + "/"))
