"""A client whose network goes away and returns."""

from __future__ import annotations

import os
import subprocess
import time
import unittest
from pathlib import Path

from burrow.tokens import JoinToken
from tests.end_to_end.deployment import ESTABLISHED, TOKEN, TUNNEL, DeploymentCase
from tests.end_to_end.processes import PROGRAMS, Program, eventually, tool

SOON = 2.0  #: seconds from the network's return to the session, by the requirement
RELAY_SIDE, CLIENT_SIDE = "10.213.77.1", "10.213.77.2"


class NetworkReturnTests(DeploymentCase):
    """A client in a network namespace whose one cable is pulled and plugged in again."""

    def setUp(self) -> None:
        """Make the namespace and the cable to it, and a relay at our end of it."""
        super().setUp()
        self.ip = tool("ip", "iproute2")
        self.namespace = f"burrow{os.getpid()}"
        self.link = f"bw{os.getpid() % 100_000}"
        self.make_namespace()
        self.relay_settings["listen"][0]["endpoint"] = f"tcp:0:interface={RELAY_SIDE}"
        relay = self.start_relay()
        self.fingerprint = relay.wait_for(r"has the key (sha256:\S+)").group(1)

    def make_namespace(self) -> None:
        """Make it, or skip by name where that is refused."""
        made = self.run_ip("netns", "add", self.namespace)
        if made.returncode != 0:
            raise unittest.SkipTest(f"needs network namespaces: ip netns: {made.stderr.decode().strip()}")
        self.addCleanup(self.run_ip, "netns", "delete", self.namespace)
        inside = f"{self.link}c"
        for words in (
            f"link add {self.link} type veth peer name {inside} netns {self.namespace}",
            f"addr add {RELAY_SIDE}/30 dev {self.link}",
            f"link set {self.link} up",
            f"-n {self.namespace} addr add {CLIENT_SIDE}/30 dev {inside}",
            f"-n {self.namespace} link set {inside} up",
            f"-n {self.namespace} link set lo up",
        ):
            done = self.run_ip(*words.split())
            if done.returncode != 0:
                raise unittest.SkipTest(f"needs a veth pair: ip {words}: {done.stderr.decode().strip()}")
        self.addCleanup(self.run_ip, "link", "delete", self.link)

    def run_ip(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        """Run ``ip`` with words."""
        return subprocess.run([self.ip, *words], capture_output=True, timeout=20, check=False)

    def plug(self, state: str) -> None:
        """Pull the cable (``down``) or plug it in (``up``), at the client's end."""
        done = self.run_ip("-n", self.namespace, "link", "set", f"{self.link}c", state)
        self.assertEqual(done.returncode, 0, done.stderr)

    def start_inside(self) -> Program:
        """Start a client in the namespace and wait for its session."""
        token = JoinToken(f"{RELAY_SIDE}:{self.port}", self.fingerprint, TOKEN).encode()
        settings = {"authtoken": token, "tunnels": {"one": {"proto": "http", "addr": "localhost:9"}}}
        path: Path = self.write_yaml("client.yml", settings)
        client = self.start(
            self.ip, "netns", "exec", self.namespace,
            PROGRAMS / "twistd", "-n", "--pidfile=", "--reactor", "burrow", "burrow-client", "-c", path,
        )  # fmt: skip
        client.wait_for(ESTABLISHED)
        client.wait_for(TUNNEL)
        return client

    def listening(self, program: Program) -> None:
        """Wait until a program has opened its socket of rtnetlink."""

        def opened() -> bool:
            table = Path(f"/proc/{program.pid}/net/netlink").read_text("ascii").splitlines()[1:]
            return any(int(line.split()[3], 16) for line in table)

        eventually("a netlink socket with groups", opened)

    def test_a_session_soon_after_the_link_is_up(self) -> None:
        """It connects when the cable is plugged in, whatever its next try was scheduled for."""
        client = self.start_inside()
        self.listening(client)
        self.plug("down")
        client.wait_for("session lost")
        time.sleep(8)  # so many failures that the next try may be ten seconds away
        since, seen = time.monotonic(), len(client.lines)
        self.plug("up")
        client.wait_for(ESTABLISHED, seen)
        self.assertLess(time.monotonic() - since, SOON, client.output)
        client.wait_for(TUNNEL, seen)
