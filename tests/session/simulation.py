"""A client and a relay session over a simulated network: one seed, no sockets, no real time.

Everything that happens comes out of one seeded random source: how bytes are cut and delayed, when
a direction stalls, in which order a turn's work is done, what the programs at both ends write, when
they pause, half-close, close or reset, and, if asked for, when the transport is cut. `Simulation`
checks while it runs that what arrived is a prefix of what was sent and that buffers keep their
limits; `finish` checks the end.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.protocols import amp
from twisted.python.failure import Failure
from zope.interface import implementer

from burrow.interfaces.stream import Visitor
from burrow.session.handshake import Acceptor, Dialler, Offer, Welcome
from burrow.session.mux import Promises
from burrow.session.retained import Retained
from burrow.session.session import Session
from burrow.session.stream import HIGH_WATER, Stream

STEP = 0.004  #: simulated seconds in one step
PATIENCE = 400.0  #: simulated seconds after which a run counts as stuck


class Pipe:
    """One direction of the simulated transport: bytes on their way, in order."""

    def __init__(self, simulation: Simulation, capacity: int) -> None:
        self.simulation, self.capacity = simulation, capacity
        self.pieces: deque[tuple[float, bytes]] = deque()
        self.held = 0
        self.stalled_until = 0.0

    def put(self, data: bytes) -> None:
        due = self.simulation.clock.seconds() + self.simulation.random.random() * self.simulation.delay
        if self.pieces:
            due = max(due, self.pieces[-1][0])
        self.pieces.append((due, data))
        self.held += len(data)

    def get(self, now: float) -> bytes:
        """Return some bytes that are due, cut anywhere."""
        if now < self.stalled_until or not self.pieces or self.pieces[0][0] > now:
            return b""
        due, data = self.pieces.popleft()
        cut = self.simulation.random.randint(1, len(data))
        if cut < len(data) and self.simulation.random.random() < 0.5:
            self.pieces.appendleft((due, data[cut:]))
            data = data[:cut]
        self.held -= len(data)
        return data


class Transport:
    """One end of the simulated connection between client and relay."""

    def __init__(self, outgoing: Pipe, incoming: Pipe) -> None:
        self.outgoing, self.incoming = outgoing, incoming
        self.protocol: Protocol | None = None
        self.producer = None
        self.paused = False
        self.closing = False
        self.peer: Transport | None = None

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", "192.0.2.1", 1)

    getHost = getPeer

    def registerProducer(self, producer: object, streaming: bool) -> None:
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def write(self, data: bytes) -> None:
        if not self.closing:
            self.outgoing.put(data)
            if self.producer is not None and not self.paused and self.outgoing.held > self.outgoing.capacity:
                self.paused = True
                self.producer.pauseProducing()

    def writeSequence(self, pieces: Iterable[bytes]) -> None:
        self.write(b"".join(pieces))

    def loseConnection(self) -> None:
        self.closing = True

    def abortConnection(self) -> None:
        self.outgoing.pieces.clear()
        self.outgoing.held = 0
        self.closing = True

    def step(self, now: float) -> None:
        if self.paused and self.outgoing.held <= self.outgoing.capacity // 2:
            self.paused = False
            if self.producer is not None:
                self.producer.resumeProducing()
        if self.protocol is not None and (data := self.incoming.get(now)):
            self.protocol.dataReceived(data)
        peer_closed = self.peer is not None and self.peer.closing and not self.incoming.pieces
        if peer_closed or (self.closing and not self.outgoing.pieces):
            self.lose(ConnectionDone())

    def lose(self, reason: Exception) -> None:
        self.closing = True
        protocol, self.protocol = self.protocol, None
        if protocol is not None:
            protocol.connectionLost(Failure(reason))


@dataclass
class Way:
    """What one side sends to the other on one stream, and what has arrived."""

    sent: bytearray = field(default_factory=bytearray)
    got: bytearray = field(default_factory=bytearray)
    ended: bool = False  # the sender has ended it in good order
    end_seen: bool = False


@implementer(IHalfCloseableProtocol)
class Program(Protocol):
    """A program at one end of a stream, doing what its random source says."""

    def __init__(self, simulation: Simulation, out: Way, into: Way, size: int) -> None:
        self.simulation, self.random = simulation, simulation.random
        self.out, self.into, self.left = out, into, size
        self.lost: Exception | None = None
        self.paused = self.held_back = self.aborted = self.closed = False
        self.inside = 0

    def connectionMade(self) -> None:
        self.inside += 1
        self.transport.registerProducer(self, True)
        self.produce()
        self.inside -= 1

    def check(self, fine: bool, otherwise: str) -> None:
        """Note a problem; raising it would be a matter between a stream and its protocol."""
        if not fine:
            self.simulation.problems.append(otherwise)

    def dataReceived(self, data: bytes) -> None:
        self.check(not self.inside, "called from inside a call of the protocol's own")
        self.check(not self.paused, "data while paused")
        self.check(not self.aborted and not self.closed, "data after closing")
        self.check(self.lost is None, "data after the loss")
        self.into.got += data
        self.check(self.into.sent.startswith(self.into.got), "what arrived is no prefix of what was sent")
        self.inside += 1
        if self.random.random() < self.simulation.laziness:
            self.paused = True
            self.transport.pauseProducing()
        self.inside -= 1

    def readConnectionLost(self) -> None:
        self.check(not self.inside, "called from inside a call of the protocol's own")
        self.check(not self.paused, "an end while paused")
        self.check(self.into.ended, "an end that was never sent")
        self.check(self.into.got == self.into.sent, "an end in front of data")
        self.check(not self.into.end_seen, "a second end")
        self.into.end_seen = True

    def writeConnectionLost(self) -> None:
        self.check(not self.inside, "called from inside a call of the protocol's own")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.check(not self.inside, "called from inside a call of the protocol's own")
        self.check(self.lost is None, "lost twice")
        self.lost = reason.value

    def pauseProducing(self) -> None:
        self.held_back = True

    def resumeProducing(self) -> None:
        self.held_back = False

    def stopProducing(self) -> None:
        self.left = 0

    def produce(self) -> None:
        """Write some more, then perhaps end."""
        if self.lost is not None or self.out.ended or self.aborted:
            return
        while self.left and not self.held_back and self.random.random() < 0.7:
            piece = self.random.randbytes(min(self.left, self.random.choice((1, 100, 5_000, 70_000))))
            self.left -= len(piece)
            self.out.sent += piece
            self.transport.write(piece)
        if not self.left:
            self.transport.unregisterProducer()
            self.out.ended = True
            self.transport.loseWriteConnection()

    def step(self) -> None:
        """Do what a program does of its own accord."""
        self.inside += 1
        if self.paused and self.random.random() < 0.3:
            self.paused = False
            self.transport.resumeProducing()
        if self.lost is None and self.random.random() < self.simulation.rudeness:
            self.aborted = True
            self.transport.abortConnection()
        elif self.lost is None and self.random.random() < self.simulation.brusqueness:
            self.closed = self.out.ended = True
            self.transport.unregisterProducer()
            self.transport.loseConnection()
        self.produce()
        self.inside -= 1
        stream = self.transport
        if isinstance(stream, Stream):
            self.check(stream.queued() <= HIGH_WATER + 70_000, "more queued than a producer may leave")


class Simulation:
    """One run.

    Attributes:
        problems: What the programs have noticed.
    """

    def __init__(self, seed: int, cut: bool = False, patience: float = PATIENCE) -> None:
        """Prepare a run of at most ``patience`` simulated seconds."""
        self.patience = patience
        self.problems: list[str] = []
        self.random = random.Random(seed)
        self.clock = Clock()
        self.delay = self.random.choice((0.0, 0.01, 0.2))
        self.laziness = self.random.choice((0.0, 0.1, 0.5))
        self.rudeness = self.random.choice((0.0, 0.0, 0.01))
        self.brusqueness = self.random.choice((0.0, 0.0, 0.01))
        self.keeps = self.random.choice((None, None, 65_536))
        self.cut_at = self.random.random() * 3 if cut else None
        self.was_cut = False
        self.turn: list[Callable[[], None]] = []
        self.pairs: list[tuple[Program, Program]] = []
        self.sessions: list[Session] = []
        self.waiting: dict[Session, deque[Program]] = {}  # programs at the end of streams it will take
        self.visits = 1
        self.window = self.random.choice((1_024, 8_192, 131_072))
        self._join()

    def turn_end(self, function: Callable[[], None]) -> None:
        self.turn.append(function)

    def _join(self) -> None:
        capacity = self.random.choice((2_000, 50_000, 1_000_000))
        there, back = Pipe(self, capacity), Pipe(self, capacity)
        self.client, self.relay = Transport(there, back), Transport(back, there)
        self.client.peer, self.relay.peer = self.relay, self.client
        promises = Promises(self.window, 100)
        offer = Offer("simulated", b"i" * 16, "token", "secret", "us", promises)
        dialler = Dialler(offer, self.clock, self.turn_end, amp.CommandLocator())
        dialler.established.addCallbacks(lambda both: self._established(both[0]), lambda failure: None)

        async def admit(offer: Offer, link: object) -> tuple[Welcome, amp.CommandLocator]:
            return Welcome("team", "simulated", "relay.test", "us", 60.0, promises), amp.CommandLocator()

        acceptor = Acceptor(
            self.clock, self.turn_end, admit, lambda session, offer, locator: self._accepted(session)
        )
        for transport, link in ((self.client, dialler.link), (self.relay, acceptor.link)):
            transport.protocol = link
            link.makeConnection(transport)

    def _established(self, session: Session) -> None:
        self.sessions.append(session)
        self.waiting[session] = deque()
        session.mux.listen(7, Factory.forProtocol(self.waiting[session].popleft))
        if self.keeps is not None:  # little, so that it is full now and then
            session._retained = Retained(self.keeps)

    def _accepted(self, session: Session) -> None:
        self._established(session)
        self.visits = self.random.randint(1, 6)
        for _ in range(self.visits):
            self.clock.callLater(self.random.random(), self._visit, session)

    def _visit(self, session: Session) -> None:
        if not session.attached:
            return
        if len(self.sessions) < 2:  # the answer is still on its way to the client
            self.clock.callLater(STEP, self._visit, session)
            return
        session, other_end = self.random.sample(self.sessions, 2)
        if not session.attached:
            return
        one, other = Way(), Way()
        sizes = [self.random.choice((0, 10, 3_000, 200_000)) for _ in "ab"]
        visiting, serving = Program(self, one, other, sizes[0]), Program(self, other, one, sizes[1])
        self.pairs.append((visiting, serving))
        self.waiting[other_end].append(serving)  # streams open in order, so programs join in order
        session.open(7, Visitor("203.0.113.9", 4711, "tcp", "x"), Factory.forProtocol(lambda: visiting))

    def run(self) -> None:
        """Run until nothing is left to do."""
        while self.clock.seconds() < self.patience:
            self.step()
            assert not self.problems, self.problems
            if self.done():
                return
        raise AssertionError(f"stuck after {self.patience} s: {[(p.lost, q.lost) for p, q in self.pairs]}")

    def step(self) -> None:
        """Go on by one step."""
        now = self.clock.seconds()
        for transport in self.random.sample((self.client, self.relay), 2):
            transport.step(now)
            if self.random.random() < 0.005 and now > transport.outgoing.stalled_until + 5:
                transport.outgoing.stalled_until = now + self.random.random() * 2  # links stand 5 s
        for program in [program for pair in self.pairs for program in pair]:
            if program.transport is not None and self.random.random() < 0.5:
                program.step()
        turn, self.turn = self.turn, []
        self.random.shuffle(turn)
        for function in turn:
            function()
        if self.cut_at is not None and now >= self.cut_at and not self.was_cut:
            self.was_cut = True
            for transport in self.random.sample((self.client, self.relay), 2):
                transport.outgoing.pieces.clear()
                transport.lose(ConnectionLost())
        self.clock.advance(STEP)

    def done(self) -> bool:
        """Whether every visit is over at both ends, and its stream forgotten."""
        programs = [program for pair in self.pairs for program in pair]
        if self.was_cut:
            return not self.turn and all(p.lost is not None or p.transport is None for p in programs)
        over = all(program.lost is not None for program in programs)
        return (
            self.clock.seconds() > 1 + 2 * self.delay
            and len(self.pairs) == self.visits
            and over
            and not any(len(session.mux) for session in self.sessions)
            and not self.turn
        )

    def finish(self) -> None:
        """Check how it ended, close, and check that nothing is left."""
        for pair in self.pairs:
            rude = any(program.aborted for program in pair)
            for program in pair:
                self._check_end(program, rude)
        if not self.was_cut:
            self.sessions[0].close()
        for _ in range(100_000):
            if not any(transport.protocol for transport in (self.client, self.relay)):
                break
            self.step()
        self.clock.advance(1)  # visits that come too late
        assert not self.clock.getDelayedCalls(), "a timer is left"
        assert not self.problems, self.problems

    def _check_end(self, program: Program, rude: bool) -> None:
        if program.transport is None:
            assert self.was_cut, "a visit that reached nobody"
        elif self.was_cut:
            assert program.lost is not None, "a stream that outlives its session"
            if isinstance(program.lost, ConnectionDone) and not rude and not program.closed:
                assert program.into.ended, "a clean end of what was not over"
                assert program.into.got == program.into.sent, "a clean end of what was cut"
        elif not rude:
            assert isinstance(program.lost, ConnectionDone), program.lost
            assert program.closed or program.into.got == program.into.sent, "not all has arrived"
