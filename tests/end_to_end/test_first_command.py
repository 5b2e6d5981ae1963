"""The first command on a fresh machine: everything by the embedded relay."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from tests.end_to_end.deployment import FORWARDING, host_of, port_of
from tests.end_to_end.processes import PROGRAMS, ProcessCase, Program, tool
from tests.end_to_end.services import Service, WebServer, read_all


class FirstCommandTests(ProcessCase):
    """`burrow http PORT` with an empty home and nothing configured (rows A1, A5)."""

    def setUp(self) -> None:
        """Start something to share."""
        super().setUp()
        self.web = WebServer()
        self.addCleanup(self.web.close)

    def authority(self) -> str:
        """Return what ``burrow ca`` prints."""
        return self.succeed(PROGRAMS / "burrow", "ca").decode().strip()

    def forwarding(self, program: Program, scheme: str) -> str:
        """Return the public URL of a scheme that the program printed."""
        return program.wait_for(rf"Forwarding\s+({scheme}://\S+) -> ").group(1)

    def curl(self, url: str) -> bytes:
        """Return what curl gets, as a user would call it: never with ``-k``."""
        return self.succeed(
            tool("curl", "curl"), "-sS", "--fail", "--max-time", "20", "--cacert", self.authority(), url
        )

    def test_both_urls_open_in_curl(self) -> None:
        """The http and the https URL that it prints open at once, verified by the authority."""
        program = self.burrow("http", str(self.web.port))
        for scheme in ("http", "https"):
            url = self.forwarding(program, scheme)
            self.assertRegex(url, rf"^{scheme}://[0-9a-f]{{8,}}\.localhost:\d+$")
            answer = self.curl(url + "/x?y=1").decode()
            self.assertEqual(answer, f"hello {host_of(url)}:{port_of(url)} /x?y=1\n")

    def test_says_where_it_forwards_to(self) -> None:
        """Each URL is printed with the local address behind it."""
        program = self.burrow("http", str(self.web.port))
        found = program.wait_for(FORWARDING)
        self.assertEqual(found.group(2), f"http://localhost:{self.web.port}")

    def test_subdomain(self) -> None:
        """`-subdomain NAME` gives that name (row B1)."""
        program = self.burrow("http", "-subdomain", "shop", str(self.web.port))
        self.assertEqual(host_of(self.forwarding(program, "https")), "shop.localhost")

    def test_only_one_scheme(self) -> None:
        """`-bind-tls=false` gives the http URL alone (row B8)."""
        program = self.burrow("http", "-bind-tls=false", str(self.web.port))
        self.assertIn(b"hello", self.curl(self.forwarding(program, "http") + "/"))
        self.assertNotIn("https://", program.output)

    def test_second_one_takes_the_next_port(self) -> None:
        """Two of them run beside each other, each with a relay of its own."""
        first, second = (self.burrow("http", str(self.web.port)) for _ in range(2))
        urls = [self.forwarding(program, "https") for program in (first, second)]
        self.assertNotEqual(port_of(urls[0]), port_of(urls[1]))
        for url in urls:
            self.assertIn(b"hello", self.curl(url + "/"))

    def test_demo(self) -> None:
        """`burrow demo` shares a page that says by which name it was reached."""
        program = self.burrow("demo")
        url = self.forwarding(program, "https")
        self.assertIn(f"{host_of(url)}:{port_of(url)}", self.curl(url + "/").decode())
        self.assertEqual(self.curl(url + "/hello"), b"hello from the other end of the tunnel\n")

    def test_tcp(self) -> None:
        """`burrow tcp PORT` shares any service, and half-close works (rows D1, D3)."""

        def reverse(connection: socket.socket) -> None:
            connection.sendall(read_all(connection)[::-1])
            connection.close()

        service = Service(reverse)
        self.addCleanup(service.close)
        program = self.burrow("tcp", str(service.port))
        url = self.forwarding(program, "tcp")
        with socket.create_connection(("127.0.0.1", port_of(url)), timeout=20) as visitor:
            visitor.sendall(b"stressed")
            visitor.shutdown(socket.SHUT_WR)
            self.assertEqual(read_all(visitor), b"desserts")

    def test_nothing_of_the_authority_is_readable_by_others(self) -> None:
        """What is kept under the state directory is for its owner alone."""
        authority = Path(self.authority())
        self.assertTrue(authority.is_relative_to(self.env["XDG_STATE_HOME"]), authority)
        for folder, _, files in os.walk(Path(self.env["XDG_STATE_HOME"]) / "burrow"):
            for name in files:
                path = Path(folder, name)
                if b"PRIVATE" in path.read_bytes():
                    self.assertEqual(path.stat().st_mode & 0o077, 0, path)

    def test_stops_at_once(self) -> None:
        """SIGTERM ends it within two seconds, with status 0."""
        program = self.burrow("http", str(self.web.port))
        self.forwarding(program, "https")
        self.assertEqual(program.stop(patience=2.0), 0)


class CommandLineErrorTests(ProcessCase):
    """What a user reads when the command line is wrong."""

    def refused(self, *arguments: str) -> str:
        """Run ``burrow``, expect status 1 and no traceback; return what it says."""
        done = self.run_to_end(PROGRAMS / "burrow", *arguments, patience=20)
        self.assertEqual(done.returncode, 1, done)
        text = done.stderr.decode()
        self.assertNotIn("Traceback", text)
        return text

    def test_no_address(self) -> None:
        """`burrow http` without an address is an error."""
        self.assertIn("address", self.refused("http"))

    def test_bad_address(self) -> None:
        """An address that is none is named (contract 1.6)."""
        text = self.refused("http", "zzz")
        self.assertIn("Tunnel 'command_line' specifies invalid address 'zzz'", text)

    def test_unknown_command(self) -> None:
        """A command that does not exist is named."""
        self.assertIn("frob", self.refused("frob"))

    def test_unknown_flag(self) -> None:
        """A flag that does not exist is named (contract 1.6)."""
        self.assertIn("flag provided but not defined: -frob", self.refused("http", "-frob", "80"))

    def test_version(self) -> None:
        """`burrow version` prints one line (contract 1.2)."""
        self.assertRegex(
            self.succeed(PROGRAMS / "burrow", "version").decode(), r"^burrow version \d+\.\d+\.\d+\n$"
        )
