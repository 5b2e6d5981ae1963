"""What goes wrong is said in one line, and stays with whom it went wrong for."""

from __future__ import annotations

import random
import socket
import ssl
from pathlib import Path

from tests.end_to_end.authority import Authority
from tests.end_to_end.deployment import ESTABLISHED, DeploymentCase
from tests.end_to_end.processes import PROGRAMS
from tests.end_to_end.services import WebServer


class StartErrorTests(DeploymentCase):
    """A daemon that cannot start."""

    def refused(self, program: str, path: Path) -> str:
        """Run a daemon, expect status 1 and no traceback; return the last line it says."""
        done = self.run_to_end(PROGRAMS / "twistd", "-n", "--pidfile=", program, "-c", path, patience=30)
        text = (done.stdout + done.stderr).decode()
        self.assertEqual(done.returncode, 1, text)
        self.assertNotIn("Traceback", text)
        return text

    def test_port_in_use(self) -> None:
        """A port that is taken is named."""
        taken = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(taken.close)
        port = taken.getsockname()[1]
        self.relay_settings["listen"][0]["endpoint"] = f"tcp:{port}:interface=127.0.0.1"
        text = self.refused("burrow-relay", self.write_yaml("relay.yml", self.relay_settings))
        self.assertIn(str(port), text)
        self.assertRegex(text, "(?i)in use")

    def test_unknown_key(self) -> None:
        """A key that does not exist is named with file and line."""
        self.relay_settings["domane"] = "x"
        path = self.write_yaml("relay.yml", self.relay_settings)
        line = path.read_text().splitlines().index("domane: x") + 1
        text = self.refused("burrow-relay", path)
        self.assertIn(f"relay.yml:{line}", text)
        self.assertIn("domane", text)

    def test_unknown_key_of_a_client(self) -> None:
        """A client's file is held to the same rule."""
        path = self.directory / "client.yml"
        path.write_text("server_addr: localhost:1\ntunnels:\n  web:\n    proto: http\n    adr: 80\n")
        text = self.refused("burrow-client", path)
        self.assertIn("client.yml:5", text)
        self.assertIn("adr", text)

    def test_unreadable_certificate(self) -> None:
        """A certificate that is none is named."""
        folder = Path(self.relay_settings["certificates"])
        (folder / "broken.test.crt").write_text("not a certificate")
        (folder / "broken.test.key").write_text("not a key")
        text = self.refused("burrow-relay", self.write_yaml("relay.yml", self.relay_settings))
        self.assertIn("broken.test", text)

    def test_missing_file(self) -> None:
        """A configuration file that is not there is named."""
        self.assertIn("nowhere.yml", self.refused("burrow-relay", self.directory / "nowhere.yml"))


class WrongTokenTests(DeploymentCase):
    """A client whose token the relay does not know."""

    def test_one_line_and_status_1(self) -> None:
        """It ends with status 1 and one line that says why; the token is nowhere in it."""
        relay = self.start_relay()
        settings = self.client_settings(
            {"one": {"proto": "tcp", "addr": 9}}, authtoken="wrong-token-0123456789"
        )
        client = self.twistd("burrow-client", "-c", str(self.write_yaml("client.yml", settings)))
        self.assertEqual(client.wait(), 1, client.output)
        self.assertRegex(client.output, "(?i)authtoken|token")
        for program in (relay, client):
            self.assertNotIn("Traceback", program.output)
            self.assertNotIn("wrong-token-0123456789", program.output)


class HostileNewcomerTests(DeploymentCase):
    """Whoever connects to the public port without being a client."""

    def setUp(self) -> None:
        """Publish a web server."""
        super().setUp()
        self.web = WebServer()
        self.addCleanup(self.web.close)
        self.public, self.relay, self.client = self.publish("http", self.web.port)

    def send(self, data: bytes, tls: bool) -> None:
        """Send ``data`` to the public port, over TLS as a session would; read until it is closed."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        if tls:
            context = self.authority.trust()
            context.set_alpn_protocols(["burrow/1"])
            connection = context.wrap_socket(connection, server_hostname="localhost")
        with connection:
            try:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass
            except (ConnectionError, ssl.SSLError, TimeoutError):
                return

    def test_garbage_disturbs_nobody(self) -> None:
        """Garbage, before TLS and inside a session, ends that connection and no other."""
        chance = random.Random(7)
        before = self.relay.resident()
        for size in (1, 100, 20_000, 300_000):
            for tls in (False, True):
                self.send(chance.randbytes(size), tls)
        self.send(b"\x00\x04_ask\x00\x011\x00\x08_command\x00\x05Frobn\x00\x00" * 3, tls=True)
        self.assertIn(b"hello", self.curl(self.public + "/"))
        self.assertEqual(sum("established" in line for line in self.client.lines), 1, self.client.output)
        self.assertNotIn("Traceback", self.relay.output)
        self.assertLess(self.relay.resident() - before, 16 * 1024 * 1024)

    def test_many_silent_ones(self) -> None:
        """200 connections that say nothing keep nobody out."""
        for _ in range(200):
            silent = socket.create_connection(("127.0.0.1", self.port), timeout=20)
            self.addCleanup(silent.close)
        self.assertIn(b"hello", self.curl(self.public + "/"))

    def test_escapes_in_a_name_do_not_reach_the_log(self) -> None:
        """Control characters that a visitor sends are never printed raw."""
        self.send(b"GET / HTTP/1.1\r\nHost: \x1b[31mred.relay.test\r\n\r\n", tls=False)
        self.send(b"GET /\x1b[31m HTTP/1.1\r\nHost: x\r\n\r\n", tls=False)
        self.assertIn(b"hello", self.curl(self.public + "/"))
        self.assertNotIn("\x1b[31m", self.relay.output)


class UnverifiedRelayTests(DeploymentCase):
    """A client that reaches somebody else's relay."""

    def test_certificate_of_another_authority(self) -> None:
        """It says that the certificate cannot be verified and sends no token."""
        self.start_relay()
        other = Authority(self.directory / "other")
        settings = self.client_settings({"one": {"proto": "tcp", "addr": 9}}, root_cas=str(other.path))
        client = self.twistd("burrow-client", "-c", str(self.write_yaml("client.yml", settings)))
        client.wait_for("(?i)certificate")
        self.assertNotRegex(client.output, ESTABLISHED)
        self.assertNotIn("Traceback", client.output)
