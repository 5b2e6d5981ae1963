"""The ways from a visitor to the local services that are compared."""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import os
import shutil
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from bench.measure import Target
from tests.end_to_end.authority import Authority
from tests.end_to_end.deployment import ESTABLISHED, LISTENING, free_ports, port_of
from tests.end_to_end.processes import PROGRAMS, TOOLS, Program

DOMAIN = "relay.test"
TOKEN = "a-token-for-measurements-only-0123456789"
NGINX = """
daemon off; worker_processes 1; pid {directory}/{name}.pid; error_log stderr crit;
worker_rlimit_nofile 16384;
events {{ worker_connections 8192; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; client_max_body_size 0;
  client_body_temp_path {directory}; proxy_temp_path {directory}; fastcgi_temp_path {directory};
  uwsgi_temp_path {directory}; scgi_temp_path {directory};
  {body}
}}
"""
ORIGIN = 'server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ return 200 "{page}"; }} }}'
PROXY = """
  upstream web {{ server 127.0.0.1:{web}; keepalive 128; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096; proxy_http_version 1.1; proxy_set_header Connection "";
    proxy_request_buffering off; proxy_buffering {buffering}; proxy_max_temp_file_size 0;
    location / {{ proxy_pass http://web; }}
    location /down/ {{ proxy_pass http://127.0.0.1:{bulk}; }}
    location /up {{ proxy_pass http://127.0.0.1:{bulk}; }}
  }}
"""


@dataclass(frozen=True)
class Way:
    """One way to reach both local services.

    Attributes:
        name: What the table calls it.
        web: Where the small page is.
        bulk: Where bulk data is.
        pids: The processes between visitor and service; their descendants count too.
    """

    name: str
    web: Target
    bulk: Target
    pids: tuple[int, ...]


class Bench:
    """The local services, the ways to them, and what has to be stopped at the end."""

    def __init__(self, directory: Path, stack: contextlib.ExitStack) -> None:
        """Start the local services; everything ends with ``stack``."""
        self.directory, self._stack = directory, stack
        self.env = {
            "HOME": str(directory / "home"),
            "XDG_STATE_HOME": str(directory / "state"),
            "PATH": os.pathsep.join((str(PROGRAMS), TOOLS)),
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": os.getcwd(),
        }
        (directory / "home").mkdir()
        self.web = self._nginx("origin", ORIGIN, page="x" * 1024)[0]
        served = self.start(sys.executable, "-m", "bench.bulk", "serve")
        self.bulk = int(served.wait_for(r"^(\d+)$").group(1))

    def start(self, *argv: str | Path) -> Program:
        """Start a program that ends with the bench."""
        program = Program(argv, self.env, Path.cwd())
        self._stack.callback(program.stop)
        return program

    def ways(self) -> list[Way]:
        """Start every way that is installed here; say which are not."""
        makers: list[Callable[[], list[Way]]] = [
            self.direct,
            self.nginx,
            self.portforward,
            self.ssh,
            self.burrow,
        ]
        ways: list[Way] = []
        for make in makers:
            try:
                ways += make()
            except (LookupError, FileNotFoundError, AssertionError) as error:
                print(f"left out: {make.__name__}: {str(error)[-500:]}", file=sys.stderr)
        return ways

    def direct(self) -> list[Way]:
        """No way at all: the services themselves."""
        return [Way("direct", _local(self.web), _local(self.bulk), ())]

    def nginx(self) -> list[Way]:
        """One nginx as a reverse proxy."""
        port, program = self._nginx("proxy", PROXY, web=self.web, bulk=self.bulk, buffering="on")
        return [Way("nginx", _local(port), _local(port), (program.pid,))]

    def portforward(self) -> list[Way]:
        """One process that forwards TCP by Twisted's own portforward."""
        program = self.start(sys.executable, "-m", "bench.portforward", str(self.web), str(self.bulk))
        ports = [int(program.wait_for(rf"^{port} (\d+)$").group(1)) for port in (self.web, self.bulk)]
        return [Way("portforward", _local(ports[0]), _local(ports[1]), (program.pid,))]

    def ssh(self) -> list[Way]:
        """``ssh -R`` through an sshd of our own."""
        sshd, ssh, keygen = (find(name) for name in ("sshd", "ssh", "ssh-keygen"))
        folder = self.directory / "ssh"
        folder.mkdir()
        for name in ("host_key", "user_key"):
            self.start(keygen, "-q", "-t", "ed25519", "-N", "", "-f", folder / name).wait()
        shutil.copy(folder / "user_key.pub", folder / "authorized_keys")
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd insists on it
        first, _ = free_ports(3)
        (folder / "config").write_text(
            f"Port {first}\nListenAddress 127.0.0.1\nHostKey {folder}/host_key\nPidFile none\n"
            f"AuthorizedKeysFile {folder}/authorized_keys\nStrictModes no\nUsePAM no\n"
            "PermitRootLogin prohibit-password\nMaxSessions 100\n"
        )
        server = self.start(sshd, "-D", "-e", "-f", folder / "config")
        server.wait_for("Server listening on")
        forwards = [
            f"127.0.0.1:{first + 1}:127.0.0.1:{self.web}",
            f"127.0.0.1:{first + 2}:127.0.0.1:{self.bulk}",
        ]
        client = self.start(
            ssh, "-v", "-N", "-F", "none", "-i", folder / "user_key", "-p", str(first),
            "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
            "-o", "ExitOnForwardFailure=yes", "-R", forwards[0], "-R", forwards[1],
            f"{getpass.getuser()}@127.0.0.1",
        )  # fmt: skip
        for port in (first + 1, first + 2):
            client.wait_for(rf"remote forward success for: listen \S*{port}")
        return [Way("ssh -R", _local(first + 1), _local(first + 2), (server.pid, client.pid))]

    def burrow(self) -> list[Way]:
        """The relay and the client of burrow: an http tunnel and a tcp tunnel for each service."""
        reactor = ["--reactor", "burrow"]
        relay = self.start(
            find("twistd"), "-n", "--pidfile=", *reactor, "burrow-relay", "-c", self._relay_settings()
        )
        port = int(relay.wait_for(LISTENING).group(2))
        client = self.start(
            find("twistd"), "-n", "--pidfile=", *reactor, "burrow-client", "-c", self._client_settings(port)
        )
        client.wait_for(ESTABLISHED)
        pids = (relay.pid, client.pid)
        urls = {
            name: client.wait_for(rf"tunnel {name}: ((?:http|tcp)://\S+) -> ").group(1)
            for name in ("http-web", "http-bulk", "tcp-web", "tcp-bulk")
        }
        where = {name: Target(port_of(url), url.partition("://")[2]) for name, url in urls.items()}
        return [
            Way(f"burrow {kind}", where[f"{kind}-web"], where[f"{kind}-bulk"], pids)
            for kind in ("http", "tcp")
        ]

    def _relay_settings(self) -> Path:
        certificates = self.directory / "certificates"
        self.authority = Authority(self.directory / "authority")
        self.authority.issue(DOMAIN, f"*.{DOMAIN}", "localhost", directory=certificates)
        first, last = free_ports(10)
        kinds = ["session", "https", "http", "tls"]
        settings = {
            "domain": DOMAIN,
            "region": "us",
            "listen": [{"endpoint": "tcp:0:interface=127.0.0.1:backlog=1024", "kinds": kinds}],
            "tcp_ports": f"{first}-{last}",
            "certificates": str(certificates),
            "state": str(self.directory / "relay-state"),
            "accounts": {"bench": {"tokens": ["sha256:" + hashlib.sha256(TOKEN.encode()).hexdigest()]}},
        }
        return self._write("relay.yml", yaml.safe_dump(settings))

    def _client_settings(self, port: int) -> Path:
        tunnels = {
            f"{kind}-{name}": {"proto": kind, "addr": f"127.0.0.1:{target}"}
            for kind in ("http", "tcp")
            for name, target in (("web", self.web), ("bulk", self.bulk))
        }
        settings = {
            "server_addr": f"localhost:{port}",
            "authtoken": TOKEN,
            "root_cas": str(self.authority.path),
            "tunnels": tunnels,
        }
        return self._write("client.yml", yaml.safe_dump(settings))

    def _write(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.write_text(text, "utf-8")
        return path

    def _nginx(self, name: str, body: str, **values: object) -> tuple[int, Program]:
        port, _ = free_ports(1)
        text = NGINX.format(directory=self.directory, name=name, body=body.format(port=port, **values))
        program = self.start(find("nginx"), "-e", "stderr", "-c", self._write(f"{name}.conf", text))
        _until_open(port)
        return port, program


def find(name: str) -> str:
    """Return the path of an installed program.

    Raises:
        LookupError: It is not installed.
    """
    path = shutil.which(name, path=os.pathsep.join((str(PROGRAMS), TOOLS)))
    if path is None:
        raise LookupError(f"{name} is not installed")
    return path


def _local(port: int) -> Target:
    return Target(port, f"127.0.0.1:{port}")


def _until_open(port: int) -> None:
    for _ in range(200):
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.02)
    raise AssertionError(f"nobody listens on port {port}")
