"""A tunnel in a session as a pair of endpoints."""

from __future__ import annotations

from twisted.internet.endpoints import connectProtocol
from twisted.internet.interfaces import IListeningPort, IStreamClientEndpoint, IStreamServerEndpoint
from twisted.internet.protocol import Factory
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from burrow.errors import SessionLost, TunnelRefused
from burrow.interfaces.stream import Visitor
from burrow.session.endpoints import ConnectingEnd, ListeningEnd
from burrow.testing.recorders import Recorder
from burrow.wire import frames
from tests.session.peer import Peer

VISITOR = Visitor("203.0.113.9", 4711, "tcp", "20000")


class ConnectingEndTests(SynchronousTestCase):
    """The relay's end."""

    def test_connect(self) -> None:
        """Whoever knows Twisted's endpoints can connect a protocol to a tunnel."""
        peer = Peer(dialler=False)
        endpoint = ConnectingEnd(peer.session, 7, VISITOR)
        verifyObject(IStreamClientEndpoint, endpoint)
        protocol = self.successResultOf(connectProtocol(endpoint, Recorder()))
        self.assertEqual(protocol.transport.getPeer().port, 7)
        peer.turn()
        self.assertEqual(peer.heard("open"), [("open", 2, 7, 131_072)])

    def test_nobody_wants_it(self) -> None:
        """A factory that builds nothing opens no stream."""

        class Choosy(Factory):
            def buildProtocol(self, addr: object) -> None:
                return None

        connecting = ConnectingEnd(Peer(dialler=False).session, 7, VISITOR).connect(Choosy())
        self.failureResultOf(connecting, TunnelRefused)

    def test_session_over(self) -> None:
        """A session that is over connects nobody."""
        peer = Peer(dialler=False)
        peer.session.close()
        connecting = connectProtocol(ConnectingEnd(peer.session, 7, VISITOR), Recorder())
        self.failureResultOf(connecting, SessionLost)


class ListeningEndTests(SynchronousTestCase):
    """The client's end."""

    def test_listen(self) -> None:
        """The factory gets the visitor of every stream, until the port stops listening."""
        peer = Peer(dialler=True)
        built: list[object] = []

        class Noting(Factory):
            def buildProtocol(self, addr: object) -> Recorder:
                built.append(addr)
                return Recorder()

        endpoint = ListeningEnd(peer.session, 9)
        verifyObject(IStreamServerEndpoint, endpoint)
        port = self.successResultOf(endpoint.listen(Noting()))
        verifyObject(IListeningPort, port)
        self.assertEqual(port.getHost().port, 9)
        facts = frames.visitor_facts(VISITOR.host, VISITOR.port, VISITOR.scheme, VISITOR.name)
        peer.send(frames.open_stream(2, 9, facts, 1000))
        self.assertEqual(built, [VISITOR])
        self.successResultOf(port.stopListening())
        peer.send(frames.open_stream(4, 9, facts, 1000))
        self.assertEqual(built, [VISITOR])
        self.assertEqual(peer.heard("reset"), [("reset", 4, frames.ResetCode.UNKNOWN)])
