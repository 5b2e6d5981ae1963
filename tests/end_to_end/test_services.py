"""Well-known services behind a relay and a client that are processes of their own."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
from pathlib import Path

from tests.end_to_end.authority import Authority
from tests.end_to_end.deployment import DOMAIN, DeploymentCase, free_ports, host_of, port_of
from tests.end_to_end.processes import eventually, tool
from tests.end_to_end.services import MIB, Service, WebServer, pattern, read_all


class WebTests(DeploymentCase):
    """A web server behind an http tunnel."""

    def setUp(self) -> None:
        """Start the web server."""
        super().setUp()
        self.web = WebServer("web")
        self.addCleanup(self.web.close)

    def test_http_and_https(self) -> None:
        """Both public URLs reach the web server, with the Host that the visitor sent."""
        https, _, client = self.publish("http", self.web.port)
        for url in (https, self.url(client, "one", "http")):
            answer = self.curl(url + "/path").decode()
            self.assertEqual(answer, f"web {host_of(url)}:{port_of(url)} /path\n")

    def test_requests_of_one_connection_go_to_their_own_tunnels(self) -> None:
        """Two Hosts on one kept-alive connection reach two services (row B11)."""
        other = WebServer("other")
        self.addCleanup(other.close)
        self.start_relay()
        tunnels = {
            name: {"proto": "http", "addr": server.port, "subdomain": name}
            for name, server in (("one", self.web), ("two", other))
        }
        client = self.start_client(tunnels)
        urls = [self.url(client, name, "http") for name in tunnels]
        visitor = self.visit(urls[0])
        received = b""
        for number, url in enumerate((urls[0], urls[1], urls[0])):
            visitor.sendall(f"GET /{number} HTTP/1.1\r\nHost: {host_of(url)}:{port_of(url)}\r\n\r\n".encode())
            while not received.endswith(b"/%d\n" % number):
                piece = visitor.recv(65536)
                self.assertTrue(piece, received)
                received += piece
        bodies = [
            line.split()[0] for line in received.decode().splitlines() if line[-2:] in ("/0", "/1", "/2")
        ]
        self.assertEqual(bodies, ["web", "other", "web"])

    def test_unknown_name(self) -> None:
        """A name without a tunnel gets a 404 that says so (row B12)."""
        url, _, _ = self.publish("http", self.web.port)
        done = self.run_to_end(
            tool("curl", "curl"),
            "-sS",
            "-i",
            "--connect-to",
            "::127.0.0.1:",
            f"http://nobody.{DOMAIN}:{port_of(url)}/",
        )
        self.assertIn(b" 404 ", done.stdout.partition(b"\n")[0])
        self.assertIn(b"nobody." + DOMAIN.encode(), done.stdout)

    def test_local_service_that_is_down(self) -> None:
        """A service that refuses gets the visitor a 502 that names its address (row B12)."""
        self.web.close()
        url, _, _ = self.publish("http", self.web.port)
        done = self.run_to_end(
            tool("curl", "curl"), "-sS", "-i", "--connect-to", "::127.0.0.1:",
            "--cacert", self.authority.path, url + "/",
        )  # fmt: skip
        self.assertIn(b" 502 ", done.stdout.partition(b"\n")[0])
        self.assertIn(b"localhost:%d" % self.web.port, done.stdout)


class TlsServiceTests(DeploymentCase):
    """An HTTPS server behind a tls tunnel."""

    def setUp(self) -> None:
        """Start an HTTPS server whose certificate only its own authority vouches for."""
        super().setUp()
        self.own = Authority(self.directory / "own", "The service's own authority")
        certificate, key = self.own.issue(f"secret.{DOMAIN}")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.web = WebServer("secret", context)
        self.addCleanup(self.web.close)
        self.public, self.relay, self.client = self.publish("tls", self.web.port, subdomain="secret")

    def test_visitor_sees_the_services_own_certificate(self) -> None:
        """The relay passes TLS through: the visitor verifies the service itself (row C1)."""
        url = f"https://secret.{DOMAIN}:{port_of(self.public)}/"
        self.assertIn(b"secret", self.curl(url, cacert=self.own.path))
        refused = self.run_to_end(
            tool("curl", "curl"), "-sS", "--connect-to", "::127.0.0.1:", "--cacert", self.authority.path, url
        )
        self.assertEqual(refused.returncode, 60, refused)  # not the relay's certificate

    def test_openssl_sees_it_too(self) -> None:
        """A TLS client of another make (openssl) shows the service's authority as the issuer."""
        seen = self.succeed(
            tool("openssl", "openssl"), "s_client", "-connect", f"127.0.0.1:{port_of(self.public)}",
            "-servername", f"secret.{DOMAIN}", "-verify_return_error", "-CAfile", self.own.path,
        )  # fmt: skip
        self.assertIn(b"The service's own authority", seen)

    def test_unknown_server_name_gets_an_alert(self) -> None:
        """A server name nobody serves is refused with unrecognized_name (row C6)."""
        connection = socket.create_connection(("127.0.0.1", port_of(self.public)), timeout=20)
        self.addCleanup(connection.close)
        with self.assertRaises(ssl.SSLError) as caught:
            self.own.trust().wrap_socket(connection, server_hostname="nobody.elsewhere.test")
        self.assertIn("UNRECOGNIZED_NAME", str(caught.exception).upper())


class SshTests(DeploymentCase):
    """OpenSSH behind a tcp tunnel."""

    def setUp(self) -> None:
        """Start sshd on a free port, with one key that may log in."""
        super().setUp()
        sshd, keygen = tool("sshd", "openssh-server"), tool("ssh-keygen", "openssh-client")
        for name in ("host_key", "user_key"):
            self.succeed(keygen, "-q", "-t", "ed25519", "-N", "", "-f", self.directory / name)
        shutil.copy(self.directory / "user_key.pub", self.directory / "authorized_keys")
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd insists on it
        self.ssh_port = free_ports(1)[0]
        config = self.directory / "sshd_config"
        config.write_text(
            f"Port {self.ssh_port}\nListenAddress 127.0.0.1\nHostKey {self.directory}/host_key\n"
            f"AuthorizedKeysFile {self.directory}/authorized_keys\nPidFile none\nStrictModes no\nUsePAM no\n"
            "PermitRootLogin prohibit-password\nPasswordAuthentication no\nSubsystem sftp internal-sftp\n"
        )
        server = self.start(sshd, "-D", "-e", "-f", config)
        server.wait_for("Server listening on")
        self.public, self.relay, self.client = self.publish("tcp", self.ssh_port)

    def options(self) -> list[str]:
        """Return what ssh and scp have in common."""
        return [
            "-F", "none", "-i", f"{self.directory}/user_key",
            "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes",
            "-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={self.directory}/known_hosts",
            "-o", f"Port={port_of(self.public)}",
        ]  # fmt: skip

    def test_command(self) -> None:
        """Login by key and a command work through the tunnel."""
        ssh = tool("ssh", "openssh-client")
        said = self.succeed(ssh, *self.options(), f"{getpass.getuser()}@127.0.0.1", "echo", "from $((6 * 7))")
        self.assertEqual(said, b"from 42\n")

    def test_copy(self) -> None:
        """20 MiB copied there and back by scp are the same bytes."""
        scp, there = tool("scp", "openssh-client"), f"{getpass.getuser()}@127.0.0.1:{self.directory}/there"
        source, back = self.directory / "source", self.directory / "back"
        source.write_bytes(b"".join(pattern(20 * MIB)))
        self.succeed(scp, "-q", *self.options(), source, there)
        self.succeed(scp, "-q", *self.options(), there, back)
        self.assertTrue(source.read_bytes() == back.read_bytes(), "the copy differs")


class PostgresTests(DeploymentCase):
    """PostgreSQL behind a tcp tunnel."""

    def setUp(self) -> None:
        """Make a throw-away cluster and start it."""
        super().setUp()
        self.psql = tool("psql", "postgresql-client")
        found = sorted(
            Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[4])
        )
        programs = found[-1].parent if found else Path(tool("initdb", "postgresql")).parent
        self.cluster = Path(tempfile.mkdtemp(prefix="burrow-pg-"))
        self.addCleanup(shutil.rmtree, self.cluster, ignore_errors=True)
        self.as_nobody: list[str] = []
        if os.getuid() == 0:  # PostgreSQL refuses to run as root
            setpriv = tool("setpriv", "util-linux")
            self.as_nobody = [setpriv, "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
            shutil.chown(self.cluster, "nobody")
        self.database_port = free_ports(1)[0]
        self.start_database(programs)

    def start_database(self, programs: Path) -> None:
        """Start the cluster; it is stopped with the test."""
        self.as_server(
            programs / "initdb", "-D", self.cluster / "data", "-U", "burrow", "-A", "trust", "--no-sync",
            "-E", "UTF8", "--no-locale",
        )  # fmt: skip
        options = (
            f"-p {self.database_port} -c listen_addresses=127.0.0.1 "
            f"-c unix_socket_directories={self.cluster} "
            "-c fsync=off -c synchronous_commit=off -c full_page_writes=off"
        )
        control = (programs / "pg_ctl", "-D", self.cluster / "data")
        self.as_server(*control, "-w", "-s", "-l", self.cluster / "log", "start", "-o", options)
        self.addCleanup(self.as_server, *control, "-m", "immediate", "-s", "stop")

    def as_server(self, *argv: str | Path) -> None:
        """Run a program of PostgreSQL's as its own user."""
        command = [*self.as_nobody, *map(str, argv)]
        subprocess.run(
            command,
            cwd=self.cluster,
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            timeout=60,
        )

    def test_query(self) -> None:
        """A query goes through the tunnel, and a large answer comes whole."""
        url, _, _ = self.publish("tcp", self.database_port)
        database = f"postgresql://burrow@127.0.0.1:{port_of(url)}/postgres"
        ask = (
            "select sum(length(x)), count(*) from "
            "(select repeat(n::text, 1000) x from generate_series(1, 2000) n) t"
        )
        self.assertEqual(self.succeed(self.psql, "-X", "-At", "-c", ask, database), b"6893000|2000\n")
        rows = self.succeed(
            self.psql, "-X", "-At", "-c", "select repeat('x', 99) from generate_series(1, 50000)", database
        )
        self.assertEqual(len(rows), 5_000_000)


class ManyAtOnceTests(DeploymentCase):
    """All three kinds of tunnel of one client."""

    def test_a_client_that_is_killed_leaves_no_open_connection(self) -> None:
        """When the client is killed, its visitors are reset or stay; none sees a clean end."""

        def greet(connection: socket.socket) -> None:
            connection.sendall(b"greeting")
            read_all(connection)

        service = Service(greet)
        self.addCleanup(service.close)
        self.relay_settings["grace"] = 1
        url, _, client = self.publish("tcp", service.port)
        visitor = self.visit(url)
        self.assertEqual(visitor.recv(8), b"greeting")
        client.send(signal.SIGKILL)
        with self.assertRaises(ConnectionResetError):
            visitor.recv(1)

    def test_three_kinds(self) -> None:
        """http, tls and tcp tunnels of one client are up together and stop together."""
        web = WebServer()
        self.addCleanup(web.close)
        self.start_relay()
        client = self.start_client(
            {kind: {"proto": kind, "addr": web.port} for kind in ("http", "tls", "tcp")}
        )
        for kind, scheme in (("http", "http"), ("http", "https"), ("tls", "tls"), ("tcp", "tcp")):
            self.url(client, kind, scheme)
        tcp = self.url(client, "tcp", "tcp")
        client.stop()

        def refused() -> bool:
            try:
                socket.create_connection(("127.0.0.1", port_of(tcp)), timeout=5).close()
            except ConnectionRefusedError:
                return True
            return False

        eventually("the public port is closed", refused)
