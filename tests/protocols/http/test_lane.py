"""Lanes at the edge: what a local service may do wrong, and changes of protocol."""

from __future__ import annotations

from twisted.internet.error import ConnectionLost

from burrow.testing.recorders import Recorder
from tests.protocols.http.edge_case import OK, EdgeCase, get

POST = b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 4\r\n\r\n"


class UpstreamTests(EdgeCase):
    """What a local service may do wrong."""

    def asked(self, request: bytes = get()) -> Recorder:
        """Let a new visitor ask."""
        visitor = self.visit()
        self.ask(visitor, request)
        return visitor

    def test_nonsense(self) -> None:
        """An answer that is none becomes a 502, its stream is reset, the connection stays."""
        for answer in (
            b"SSH-2.0-x\r\n",
            OK.replace(b"\r\n\r\n", b"\r\nContent-Length: 3\r\n\r\n"),
            OK + b"x",
            OK + OK,
            b"HTTP/1.1 204 x\r\n\r\nbody",
            b"HTTP/1.1 101 x\r\nUpgrade: y\r\n\r\n",
            b"HTTP/1.1 200 x\r\nA : b\r\n\r\n",
        ):
            visitor = self.asked()
            self.say(self.stream(), answer)
            self.assertTrue(visitor.received.startswith(b"HTTP/1.1 502 Bad Gateway\r\n"), answer)
            self.assertEqual(self.stream().happened, [ConnectionLost])
            self.assertEqual(visitor.happened, [])
            self.ask(visitor, get())
            self.say(self.stream(), OK)
            self.assertEqual(visitor.received, OK)

    def test_bytes_behind_the_answer(self) -> None:
        """Bytes that come later reset the stream, and never answer another request."""
        visitor = self.asked()
        self.say(self.stream(), OK)
        self.say(self.stream(), OK.replace(b"ok", b"no"))
        self.assertEqual(self.stream().happened, [ConnectionLost])
        self.ask(visitor, get())
        self.assertEqual(len(self.far["a.example"]), 2)
        self.say(self.stream(), OK)
        self.assertEqual(visitor.received, OK)

    def test_cut_answer(self) -> None:
        """An answer that stops before its end is visibly cut."""
        for begin in (OK[:-1], b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"):
            visitor = self.asked()
            self.say(self.stream(), begin)
            self.stream().transport.loseConnection()
            self.flush()
            self.assertEqual(visitor.received, begin)
            self.assertEqual(visitor.happened, [ConnectionLost])

    def test_bad_chunk(self) -> None:
        """An answer that turns bad is visibly cut."""
        visitor = self.asked()
        self.say(self.stream(), b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
        self.say(self.stream(), b"zz\r\n")
        self.assertEqual(visitor.happened, [ConnectionLost])

    def test_reset_until_close(self) -> None:
        """An answer that ends with the stream is not whole if the stream is reset."""
        visitor = self.asked()
        self.say(self.stream(), b"HTTP/1.1 200 x\r\n\r\nabc")
        self.stream().transport.abortConnection()
        self.flush()
        self.assertEqual(visitor.happened, [ConnectionLost])

    def test_no_answer(self) -> None:
        """A stream that ends without an answer is a 502; a POST is not sent twice."""
        visitor = self.asked(POST + b"body")
        self.stream().transport.loseConnection()
        self.flush()
        self.assertIn(b" 502 ", visitor.received)
        self.assertEqual(len(self.far["a.example"]), 1)

    def test_early_answer(self) -> None:
        """An answer before the request's end is passed on; then both connections end."""
        visitor = self.asked(POST + b"bo")
        self.say(self.stream(), OK)
        self.assertEqual(visitor.received, OK)
        self.assertEqual(visitor.happened, ["read lost"])
        self.assertEqual(self.stream().happened, [ConnectionLost])
        self.say(visitor, b"dy" + get())
        self.assertEqual(visitor.received, OK)

    def test_stream_ended_between_requests(self) -> None:
        """A kept stream that the local service ended is replaced."""
        visitor = self.asked()
        self.say(self.stream(), OK)
        self.stream().transport.loseConnection()
        self.flush()
        self.ask(visitor, get())
        self.say(self.stream(), OK)
        self.assertEqual(visitor.received, OK)
        self.assertEqual(len(self.far["a.example"]), 2)

    def race(self, request: bytes) -> Recorder:
        """Let the local service end a kept stream just when another request comes."""
        visitor = self.asked()
        self.say(self.stream(), OK)
        self.stream().transport.loseConnection()
        visitor.events.clear()
        visitor.transport.write(request)
        self.wires[-1].turn()
        self.flush()
        return visitor

    def test_race_with_the_end(self) -> None:
        """A GET that meets the end of a kept stream is sent again; a POST is a 502."""
        visitor = self.race(get())
        self.assertEqual(self.stream().received, get())
        self.say(self.stream(), OK)
        self.assertEqual(visitor.received, OK)
        count = len(self.far["a.example"])
        self.assertIn(b" 502 ", self.race(POST + b"body").received)
        self.assertEqual(len(self.far["a.example"]), count + 1)


class UpgradeTests(EdgeCase):
    """Changes of protocol."""

    ASKING = get("a.example", "Connection: Upgrade", "Upgrade: websocket")
    SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"

    def test_switch(self) -> None:
        """After 101 bytes pass as they are, both ways, and each way ends on its own."""
        visitor = self.visit()
        self.ask(visitor, self.ASKING, b"early")
        self.assertEqual(self.stream().received, self.ASKING)
        self.say(self.stream(), self.SWITCH + b"\x81")
        self.assertEqual(visitor.received, self.SWITCH + b"\x81")
        self.assertEqual(self.stream().received, self.ASKING + b"early")
        self.say(visitor, get())
        self.assertTrue(self.stream().received.endswith(b"early" + get()))
        visitor.transport.loseWriteConnection()
        self.flush()
        self.assertEqual(self.stream().happened, ["read lost"])
        self.say(self.stream(), b"last")
        self.assertTrue(visitor.received.endswith(b"last"))
        self.stream().transport.loseConnection()
        self.flush()
        self.assertIn("read lost", visitor.happened)

    def test_reset(self) -> None:
        """After 101 a reset is a reset."""
        visitor = self.visit()
        self.ask(visitor, self.ASKING)
        self.say(self.stream(), self.SWITCH)
        self.stream().transport.abortConnection()
        self.flush()
        self.assertEqual(visitor.happened, [ConnectionLost])

    def test_end_over_tls(self) -> None:
        """Over TLS the end of either side ends both, flushed."""
        visitor = self.visit("a.example")
        self.ask(visitor, self.ASKING)
        self.say(self.stream(), self.SWITCH)
        self.stream().transport.write(b"last")
        self.stream().transport.loseWriteConnection()
        self.flush()
        self.assertTrue(visitor.received.endswith(b"last"))
        self.assertFalse(self.edge_socket().connected)

    def test_refused(self) -> None:
        """A refused upgrade stays HTTP: what follows is read as a request."""
        visitor = self.visit()
        self.ask(visitor, self.ASKING, get("x.example"))
        self.say(self.stream(), OK)
        self.assertTrue(visitor.received.startswith(OK + b"HTTP/1.1 404"))
        self.assertEqual(self.stream().received, self.ASKING)

    def test_before_the_body(self) -> None:
        """A switch before the request's end is a 502."""
        visitor = self.visit()
        self.ask(visitor, POST[:-2] + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\nbo")
        self.say(self.stream(), self.SWITCH)
        self.assertIn(b" 502 ", visitor.received)
