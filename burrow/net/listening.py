"""The shared port: newcomers are told apart by their first bytes and go to who claims them.

A newcomer that opens with a TLS record is read up to the end of its ClientHello, another one up to
its first bytes. Then the claims are asked, and the one that takes it gets the connection itself:
its protocol replaces the newcomer's on the transport.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Collection

from twisted.internet import tcp
from twisted.internet.interfaces import IAddress, IProtocolFactory
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from burrow.interfaces.listener import Arrival, IListenerClaim
from burrow.interfaces.stream import address_text
from burrow.net.wheel import Timeout, Wheel
from burrow.wire.client_hello import (
    HANDSHAKE,
    INTERNAL_ERROR,
    UNRECOGNIZED_NAME,
    ClientHelloReader,
    HelloError,
    alert,
)

HELLO_TIMEOUT = 10.0  #: seconds from accepting a newcomer to knowing who takes it
RECEIVED_LIMIT = 131_072  #: bytes of one newcomer; a hello in small records is longer than itself
HELD_LIMIT = 33_554_432  #: bytes of all newcomers of one listener
WAITING_LIMIT = 4096  #: newcomers of one listener
SOURCE_LIMIT = 256  #: newcomers of one source; loopback is only bound by the listener's limit

ORDER = ("tls", "session", "https")  #: who is asked first; plugins' own kinds come behind
LAST = "http"  #: takes every newcomer without TLS, so it is asked when nobody else wants one


def _place(claim: IListenerClaim) -> int:
    """Return where a claim stands in the order in which claims are asked."""
    if claim.kind == LAST:
        return len(ORDER) + 1
    return ORDER.index(claim.kind) if claim.kind in ORDER else len(ORDER)


class Claims:
    """Who may take newcomers, in the order in which they are asked (see `IListenerClaim`)."""

    def __init__(self) -> None:
        """Start with nobody."""
        self._claims: dict[bool, list[IListenerClaim]] = {True: [], False: []}

    def add(self, claim: IListenerClaim) -> None:
        """Ask ``claim`` too from now on, behind those of its kind that are there."""
        claims = self._claims[bool(claim.tls)]
        claims.append(claim)
        claims.sort(key=_place)

    def find(self, arrival: Arrival, kinds: Collection[str]) -> IProtocolFactory | None:
        """Return the factory of the first claim of ``kinds`` that takes ``arrival``."""
        for claim in self._claims[arrival.tls]:
            if claim.kind in kinds:
                factory: IProtocolFactory | None = claim.claim(arrival)
                if factory is not None:
                    return factory
        return None


def source_of(address: IAddress | None) -> str:
    """Return what connections of one source have in common; the empty text is never limited.

    It is the IPv4 address, or the first 64 bits of an IPv6 address: who has one has them all.
    """
    try:
        ip = ipaddress.ip_address(str(getattr(address, "host", "")).partition("%")[0])
    except ValueError:
        return ""
    if isinstance(ip, ipaddress.IPv6Address):
        ip = ip.ipv4_mapped or ip
    if ip.is_loopback:
        return ""
    return str(ip) if ip.version == 4 else str(ipaddress.ip_network((ip, 64), strict=False))


class Newcomer(Protocol):
    """One connection at a shared port, until somebody takes it."""

    log = Logger()
    transport: tcp.Connection  # or one that has a settable ``protocol`` like it

    def __init__(self, listener: SharedListener, source: str) -> None:
        """Made by `SharedListener`; ``source`` is what `source_of` said."""
        self._listener, self.source = listener, source
        self._reader = ClientHelloReader()
        self._received = bytearray()
        self._timeout: Timeout | None = None

    def connectionMade(self) -> None:
        """Wait for the first bytes, but not for long."""
        listener = self._listener
        self._timeout = listener.wheel.after(listener.hello_timeout, self._give_up, "nothing to go by")

    def dataReceived(self, data: bytes) -> None:
        """Collect bytes until they tell who takes the connection."""
        if self._timeout is None:
            return  # refused; what still comes is of no interest
        if not self._listener.hold(self, len(data)):
            self._give_up("too many bytes")
            return
        self._received += data
        if self._received[0] != HANDSHAKE:
            self._offer(self._arrival())
            return
        try:
            hello = self._reader.feed(data)
        except HelloError as error:
            self._refuse(str(error), error.alert)
            return
        if hello is not None:
            self._offer(self._arrival(True, hello.server_name, hello.alpn))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Forget the newcomer."""
        self._leave()

    def received(self) -> int:
        """Return how many bytes are held."""
        return len(self._received)

    def abort(self) -> None:
        """Reset the connection: the listener stops."""
        self._give_up("the listener stops")

    def _arrival(self, tls: bool = False, name: str = "", alpn: tuple[bytes, ...] = ()) -> Arrival:
        peer, host = self.transport.getPeer(), self.transport.getHost()
        return Arrival(peer, host, bytes(self._received), tls, name, alpn)

    def _offer(self, arrival: Arrival) -> None:
        try:
            factory = self._listener.claims.find(arrival, self._listener.kinds)
        except Exception:
            self.log.failure("a claim failed on a newcomer from {peer}", peer=address_text(arrival.peer))
            self._refuse("a claim failed", INTERNAL_ERROR if arrival.tls else None)
            return
        if factory is not None:
            self._hand_over(factory, arrival)
        elif arrival.tls:
            self._refuse(f"nobody serves {arrival.server_name!r} {arrival.alpn!r}", UNRECOGNIZED_NAME)
        else:
            self._refuse(f"nobody takes {arrival.received[:16]!r}")

    def _hand_over(self, factory: IProtocolFactory, arrival: Arrival) -> None:
        """Make a protocol of ``factory`` the transport's; all in one go, so no byte comes between."""
        transport = self.transport
        self._leave()
        protocol = factory.buildProtocol(arrival.peer)
        if protocol is None:
            transport.abortConnection()
            return
        transport.protocol = protocol
        protocol.makeConnection(transport)
        if not getattr(transport, "disconnecting", False):
            protocol.dataReceived(arrival.received)

    def _refuse(self, why: str, code: int | None = None) -> None:
        """Close in order, so that an alert arrives."""
        self._dropped(why)
        if code is not None:
            self.transport.write(alert(code))
        self.transport.loseConnection()

    def _give_up(self, why: str) -> None:
        self._dropped(why)
        self.transport.abortConnection()

    def _dropped(self, why: str) -> None:
        self.log.debug("{peer} dropped: {why}", peer=address_text(self.transport.getPeer()), why=why)
        self._leave()

    def _leave(self) -> None:
        if self._timeout is not None:
            self._timeout.cancel()
            self._timeout = None
            self._listener.left(self)
            self._received = bytearray()


class SharedListener(Factory):
    """What a shared port listens with: builds newcomers and bounds how many wait.

    The factories that claims return are not started or stopped (``doStart``) by it.
    """

    log = Logger()
    noisy = False

    def __init__(
        self,
        claims: Claims,
        kinds: Collection[str],
        wheel: Wheel,
        hello_timeout: float = HELLO_TIMEOUT,
        received_limit: int = RECEIVED_LIMIT,
        held_limit: int = HELD_LIMIT,
        waiting_limit: int = WAITING_LIMIT,
        source_limit: int = SOURCE_LIMIT,
    ) -> None:
        """Serve the claims of ``kinds``.

        Args:
            claims: Who may take newcomers; more may be added while it listens.
            kinds: The kinds of claims that are asked here.
            wheel: Times the newcomers out.
            hello_timeout: Seconds until a newcomer that nobody took is reset.
            received_limit: Bytes that one newcomer may send before somebody takes it.
            held_limit: Bytes of all newcomers together; the one that goes over it is reset.
            waiting_limit: Newcomers at once; the newest is closed.
            source_limit: Newcomers at once of one source (`source_of`); the newest is closed.
        """
        self.claims, self.kinds, self.wheel = claims, frozenset(kinds), wheel
        self.hello_timeout = hello_timeout
        self._received_limit, self._held_limit = received_limit, held_limit
        self._waiting_limit, self._source_limit = waiting_limit, source_limit
        self._held = 0
        self._waiting: set[Newcomer] = set()
        self._sources: Counter[str] = Counter()
        self._floods: set[str] = set()  # sources that were told of; the empty one is all together

    def buildProtocol(self, addr: IAddress | None) -> Newcomer | None:
        """Build a newcomer; ``None``, which closes the connection, when too many wait."""
        source = source_of(addr)
        if len(self._waiting) >= self._waiting_limit or self._sources[source] >= self._source_limit:
            self._tell_of_flood(addr, source)
            return None
        newcomer = Newcomer(self, source)
        newcomer.factory = self
        self._waiting.add(newcomer)
        if source:
            self._sources[source] += 1
        return newcomer

    def _tell_of_flood(self, addr: IAddress | None, source: str) -> None:
        """Log the first of many that are refused; a line for each would fill the log instead."""
        which = "" if len(self._waiting) >= self._waiting_limit else source
        if which not in self._floods:
            self._floods.add(which)
            whose = f"of {which} " if which else ""
            self.log.warn(
                "{peer} refused: too many newcomers {whose}wait; it is not said of the next ones",
                peer=address_text(addr),
                whose=whose,
            )

    def hold(self, newcomer: Newcomer, size: int) -> bool:
        """Take note of ``size`` more bytes of a newcomer; tell whether they may be held."""
        self._held += size
        fits = newcomer.received() + size <= self._received_limit and self._held <= self._held_limit
        if not fits:
            self._held -= size
        return fits

    def left(self, newcomer: Newcomer) -> None:
        """Forget a newcomer that somebody took, or that is gone."""
        self._waiting.discard(newcomer)
        self._held -= newcomer.received()
        self._sources[newcomer.source] -= 1
        if self._sources[newcomer.source] <= 0:
            del self._sources[newcomer.source]
            if newcomer.source:
                self._floods.discard(newcomer.source)
        if len(self._waiting) <= self._waiting_limit // 2:
            self._floods.discard("")

    def stopFactory(self) -> None:
        """Reset the newcomers nobody took yet: no port listens any more."""
        for newcomer in tuple(self._waiting):
            newcomer.abort()

    def waiting(self) -> int:
        """Return how many newcomers nobody took yet."""
        return len(self._waiting)
