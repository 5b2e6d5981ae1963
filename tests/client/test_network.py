"""What tells a client that the network is back."""

from __future__ import annotations

import errno
import os
import socket
import time
from typing import Any
from unittest import SkipTest

from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from burrow.client.network import LOOK, QUIET, READS, SLEPT, Netlink, NetworkWatch, asleep, netlink_socket
from tests.net.reactors import ReactorCase


class Base(SynchronousTestCase):
    """A watch whose socket is one end of a pair, and a machine that sleeps when it is told."""

    def setUp(self) -> None:
        """Start watching."""
        self.reactor: Any = MemoryReactorClock()
        self.ours, self.kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.ours.setblocking(False)
        self.addCleanup(self.kernel.close)
        self.slept = 100.0
        self.calls: list[float] = []
        self.watch = NetworkWatch(self.reactor, lambda: self.ours, lambda: self.slept)
        self.watch.start(lambda: self.calls.append(self.reactor.seconds()))
        self.addCleanup(self.watch.stop)

    def change(self) -> None:
        """Let the kernel say something, and the reactor hear it."""
        self.kernel.send(b"something")
        for reader in self.reactor.getReaders():
            reader.doRead()


class ChangeTests(Base):
    """Something changes in the network."""

    def test_interface(self) -> None:
        """The reactor can read it."""
        self.assertTrue(verifyObject(IReadDescriptor, self.reactor.getReaders()[0]))

    def test_told_at_once(self) -> None:
        """A change is told without delay."""
        self.change()
        self.assertEqual(self.calls, [0.0])

    def test_told_at_most_once_a_second(self) -> None:
        """A storm of changes is told at its beginning, and once more when the time has passed."""
        for _ in range(50):
            self.change()
            self.reactor.advance(QUIET / 64)
        self.assertEqual(self.calls, [0.0])
        self.reactor.advance(QUIET * 14 / 64)
        self.assertEqual(self.calls, [0.0, QUIET])

    def test_reads_are_bounded(self) -> None:
        """However much the kernel says, a turn reads a bounded part of it, and tells once."""

        class Endless:
            reads = 0

            def recv(self, size: int) -> bytes:
                self.reads += 1
                return b"x" * size

        talker, told = Endless(), list[str]()
        Netlink(talker, lambda: told.append("changed"), lambda: told.append("lost")).doRead()  # type: ignore[arg-type]
        self.assertEqual((talker.reads, told), (READS, ["changed"]))

    def test_an_overrun_is_a_change(self) -> None:
        """A socket that could not keep up has missed something: that is told, and reading goes on."""

        class Overrun:
            errors = [errno.ENOBUFS, errno.EAGAIN]

            def recv(self, size: int) -> bytes:
                number = self.errors.pop(0)
                raise OSError(number, os.strerror(number))

        told: list[str] = []
        Netlink(Overrun(), lambda: told.append("changed"), lambda: told.append("lost")).doRead()  # type: ignore[arg-type]
        self.assertEqual(told, ["changed"])

    def test_a_broken_socket_is_let_go(self) -> None:
        """A socket that cannot be read is closed, and nothing is called for it."""
        self.ours.close()
        reader = self.reactor.getReaders()[0]
        reader.doRead()
        self.assertEqual((self.reactor.getReaders(), self.calls), ([], []))

    def test_stop(self) -> None:
        """A watch that is stopped has closed its socket, and calls nobody, not even late."""
        self.change()
        self.change()
        self.watch.stop()
        self.reactor.advance(100)
        self.assertEqual((self.calls, self.reactor.getReaders(), self.ours.fileno()), ([0.0], [], -1))
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.watch.stop()


class SleepTests(Base):
    """The machine sleeps."""

    def test_told_after_waking(self) -> None:
        """A machine that has slept is found out within seconds."""
        self.slept += 3600
        self.reactor.advance(LOOK)
        self.assertEqual(self.calls, [LOOK])

    def test_not_told_twice(self) -> None:
        """One sleep is told once."""
        self.slept += 3600
        self.reactor.pump([LOOK] * 5)
        self.assertEqual(self.calls, [LOOK])

    def test_small_differences_are_nothing(self) -> None:
        """Clocks that are read one after the other differ a little."""
        for _ in range(10):
            self.slept += SLEPT / 20
            self.reactor.advance(LOOK)
        self.assertEqual(self.calls, [])


class AbsentTests(SynchronousTestCase):
    """A system that does not tell."""

    def test_no_socket(self) -> None:
        """Where the socket cannot be made the clocks are still looked at, and nobody is bothered."""

        def refuse() -> socket.socket:
            raise OSError(errno.EPERM, "not allowed")

        reactor: Any = MemoryReactorClock()
        slept, calls = [0.0], list[str]()
        watch = NetworkWatch(reactor, refuse, lambda: slept[0])
        watch.start(lambda: calls.append("changed"))
        self.assertEqual(reactor.getReaders(), [])
        slept[0] = 60.0
        reactor.advance(LOOK)
        self.assertEqual(calls, ["changed"])
        watch.stop()
        self.assertEqual(reactor.getDelayedCalls(), [])

    def test_a_system_without_netlink(self) -> None:
        """A system that has no such sockets says so as one that does not allow them."""
        self.patch(socket, "AF_NETLINK", None)
        del socket.AF_NETLINK  # type: ignore[attr-defined,unused-ignore]
        self.assertRaises(OSError, netlink_socket)

    def test_a_system_without_the_clock(self) -> None:
        """A system that does not count its sleep is taken for one that never sleeps."""
        self.patch(time, "CLOCK_BOOTTIME", None)
        del time.CLOCK_BOOTTIME
        self.assertEqual(asleep(), 0.0)


class RealTests(ReactorCase):
    """The real socket and the real clocks."""

    def test_socket(self) -> None:
        """It can be opened, read by a reactor and closed."""
        try:
            netlink_socket().close()
        except OSError as error:
            raise SkipTest(f"no rtnetlink here: {error}") from None
        watch = NetworkWatch(self.reactor)  # type: ignore[arg-type]
        watch.start(lambda: None)
        self.assertEqual(len([r for r in self.reactor.getReaders() if isinstance(r, Netlink)]), 1)
        watch.stop()
        self.assertEqual([r for r in self.reactor.getReaders() if isinstance(r, Netlink)], [])

    def test_clock(self) -> None:
        """The time asleep does not grow while nobody sleeps."""
        before = asleep()
        self.assertLess(abs(asleep() - before), 1.0)
