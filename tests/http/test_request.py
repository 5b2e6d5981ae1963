"""Heads of requests: what is understood, and what is refused."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from burrow.http.grammar import Framing
from tests.http.reading import GET, refusal, request


def with_fields(*lines: bytes, first: bytes = b"POST / HTTP/1.1") -> bytes:
    """Return a request to a.example with more field lines."""
    return b"\r\n".join([first, b"Host: a.example", *lines, b"", b""])


class UnderstoodTests(SynchronousTestCase):
    """What a right head tells."""

    def test_plain_request(self) -> None:
        """A head tells method, target, version and host, and keeps its bytes."""
        head = request(b"GET /a?b HTTP/1.1\r\nhOST:  A.Example.:8080 \r\nX:  y \r\n\r\n")
        self.assertEqual((head.method, head.target, head.minor), ("GET", "/a?b", 1))
        self.assertEqual((head.host, head.port), ("a.example", 8080))
        self.assertEqual((head.framing, head.keep_alive, head.upgrade), (Framing.NONE, True, ()))
        self.assertEqual(head.fields, [(b"hOST", b"A.Example.:8080"), (b"X", b"y")])
        self.assertEqual(head.values(b"x"), [b"y"])

    def test_length(self) -> None:
        """A length frames the body."""
        head = request(with_fields(b"content-length: 12"))
        self.assertEqual((head.framing, head.length), (Framing.LENGTH, 12))

    def test_length_of_nothing(self) -> None:
        """A length of 0 is no body."""
        self.assertEqual(request(with_fields(b"Content-Length: 0")).framing, Framing.NONE)

    def test_chunked(self) -> None:
        """The coding chunked frames the body, in any case."""
        self.assertEqual(request(with_fields(b"Transfer-Encoding: Chunked")).framing, Framing.CHUNKED)

    def test_connection(self) -> None:
        """Who says close, or speaks HTTP/1.0 without keep-alive, sends no second request."""
        old = b"GET / HTTP/1.0"
        self.assertTrue(request(with_fields()).keep_alive)
        self.assertFalse(request(with_fields(b"Connection: x, Close")).keep_alive)
        self.assertFalse(request(with_fields(first=old)).keep_alive)
        self.assertTrue(request(with_fields(b"Connection: keep-alive", first=old)).keep_alive)
        self.assertFalse(request(with_fields(b"Connection: keep-alive", b"connection: close")).keep_alive)

    def test_upgrade(self) -> None:
        """An upgrade counts only if Connection names it, and never in HTTP/1.0."""
        asked = (b"Upgrade: WebSocket", b"Connection: keep-alive, Upgrade")
        self.assertEqual(request(with_fields(*asked)).upgrade, (b"websocket",))
        self.assertEqual(request(with_fields(b"Upgrade: websocket")).upgrade, ())
        self.assertEqual(request(with_fields(*asked, first=b"GET / HTTP/1.0")).upgrade, ())

    def test_expect(self) -> None:
        """A request that waits for 100 says so; HTTP/1.0 has no such thing."""
        self.assertTrue(request(with_fields(b"Expect: 100-Continue")).expects_continue)
        self.assertFalse(
            request(with_fields(b"Expect: 100-continue", first=b"GET / HTTP/1.0")).expects_continue
        )

    def test_absolute_target(self) -> None:
        """A URL as the target is taken if it names the same place as Host."""
        for url in (b"http://A.example/x", b"HTTP://a.example:80", b"http://a.example?q"):
            self.assertEqual(request(with_fields(first=b"GET " + url + b" HTTP/1.1")).host, "a.example")

    def test_old_request_without_host(self) -> None:
        """HTTP/1.0 may leave the host out, or name it in the target."""
        self.assertEqual(request(b"GET / HTTP/1.0\r\n\r\n").host, "")
        self.assertEqual(request(b"GET http://b.example:81/ HTTP/1.0\r\n\r\n").port, 81)

    def test_asterisk(self) -> None:
        """OPTIONS may ask about the whole server."""
        self.assertEqual(request(with_fields(first=b"OPTIONS * HTTP/1.1")).target, "*")

    def test_addresses_as_host(self) -> None:
        """Addresses are hosts, IPv6 in brackets."""
        for text, host in ((b"127.0.0.1:80", "127.0.0.1"), (b"[0:0::1]:80", "::1"), (b"[::1]", "::1")):
            self.assertEqual(request(b"GET / HTTP/1.1\r\nHost: " + text + b"\r\n\r\n").host, host)


class RefusedTests(SynchronousTestCase):
    """What two readers could read differently, or nobody should read."""

    def refused(self, status: int, *requests: bytes) -> None:
        """Every request is refused with that status, and would be without the last byte's cut."""
        for data in requests:
            why = refusal(data)
            self.assertEqual(why.status if why else None, status, data)

    def test_length_and_coding(self) -> None:
        """A length beside a coding is refused, in either order."""
        pair = (b"Content-Length: 5", b"Transfer-Encoding: chunked")
        self.refused(400, with_fields(*pair), with_fields(*reversed(pair)))

    def test_lengths(self) -> None:
        """A length is one plain decimal number, once."""
        wrong = [
            b"+5", b"-5", b"5 5", b"0x5", b"05", b"00", b"", b"5\t", b"\t5", b"5.0", b"1e3",
            b"9223372036854775808", b"99999999999999999999", b"\xb2", b"5\xa0", b"'5'", b"5;", b"5, 5",
            b"5,6", b",5",
        ]  # fmt: skip
        self.refused(400, *(with_fields(b"Content-Length: " + value) for value in wrong))
        self.refused(400, with_fields(b"Content-Length: 5", b"content-length: 5"))
        self.refused(400, with_fields(b"Content_Length: 5"))

    def test_codings(self) -> None:
        """A coding is chunked and nothing like it, once."""
        wrong = [
            b"", b"xchunked", b"chunkedx", b"chunked, chunked", b"chunked, identity", b"chunked,",
            b",chunked", b'"chunked"', b"chunked;q=1", b"\tchunked", b"chunked\t", b"chu nked",
            b"identity", b"gzip", b"chunk", b"'chunked'", b"chunked chunked", b"\xa0chunked", b"cow",
        ]  # fmt: skip
        self.refused(400, *(with_fields(b"Transfer-Encoding: " + value) for value in wrong))
        self.refused(400, with_fields(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"))
        self.refused(400, with_fields(b"Transfer-Encoding: chunked", b"transfer-encoding: identity"))
        self.refused(400, with_fields(b"Transfer_Encoding: chunked"))
        self.refused(400, with_fields(b"Transfer-Encoding: chunked", first=b"POST / HTTP/1.0"))

    def test_unknown_coding(self) -> None:
        """An honest coding that burrow does not know is 501 (RFC 9112 section 6.1)."""
        self.refused(501, with_fields(b"Transfer-Encoding: gzip, chunked"))

    def test_field_lines(self) -> None:
        """Folds, blanks before the colon, lines without one, bad names and control characters are refused."""
        for name in (b"Transfer-Encoding", b"X"):
            for line in (
                b"NAME : chunked", b"NAME\t: chunked", b" NAME: chunked", b"\tNAME: chunked",
                b"NAME\x00: chunked", b"NAME\x0b: chunked", b"NAME: \x0bchunked", b"NAME: chunked\x00",
                b"NAME: a\x7fb", b"NAME chunked", b"NAME\xff: chunked", b"(NAME): chunked", b": chunked",
                b"NAME:\r\n chunked", b"NAME: a\rb", b"NAME: a\nX: b", b"NAME\n: chunked", b"NAME: a\r\r",
                b"NAME:a\x1bb",
            ):  # fmt: skip
                self.refused(400, with_fields(line.replace(b"NAME", name)))
                self.refused(400, with_fields(line.replace(b"NAME", name), b"Content-Length: 5"))

    def test_hosts(self) -> None:
        """HTTP/1.1 needs one Host that is a name or an address."""
        wrong = [
            b"", b" ", b"a b", b"a,b", b"a..b", b".a", b"-a.example", b"*.example", b"a.example/", b"a@b",
            b"a:b", b"a:", b":80", b"a:0", b"a:65536", b"a:080000", b"a:80:80", b"a:-1", b"[::1", b"::1",
            b"[::g]", b"[::1]x", b"[fe80::1%eth0]", b"a%2eb", b"a\tb", b"\xc3\xbc.example", b"a\\b",
            b"a#b", b"a?b", b"<a>", b"a" * 254, b"http://a", b"a.example\t", b"[1.2.3.4]",
        ]  # fmt: skip
        self.refused(400, *(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n" for host in wrong))
        self.refused(400, b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nHosts: a\r\n\r\n")
        self.refused(400, with_fields(b"Host: a.example"), with_fields(b"host: b.example"))
        self.refused(400, with_fields(b"Host: a.example", first=b"GET / HTTP/1.0"))

    def test_targets(self) -> None:
        """A target is a path, a URL of the same host, or * for OPTIONS."""
        wrong = [
            b"a", b"*", b"?x", b"a.example:80", b"http://b.example/", b"http://a.example:81/",
            b"https://a.example:80/", b"http://u@a.example/", b"http:///", b"http://", b"http:/a",
            b"ftp://a.example/", b"//", b"/a#b", b"/\xff", b"/\x00", b"/a b", b"http://a.example\\@b/",
            b"/\x7f",
        ]  # fmt: skip
        wrong.remove(b"//")  # a path, if a strange one
        self.refused(400, *(with_fields(first=b"GET " + target + b" HTTP/1.1") for target in wrong))

    def test_connect(self) -> None:
        """CONNECT is not offered, whatever its target."""
        self.refused(501, with_fields(first=b"CONNECT b.example:443 HTTP/1.1"))
        self.refused(501, b"CONNECT a.example HTTP/1.1\r\nHost: a.example\r\n\r\n", b"CONNECT / HTTP/1.1\r\n")

    def test_versions(self) -> None:
        """Another version is 505; the preface of HTTP/2 is one."""
        self.refused(505, *(b"GET / HTTP/" + v + b"\r\n" for v in (b"1.2", b"2.0", b"0.9", b"3.0", b"9.9")))
        self.refused(505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")

    def test_request_lines(self) -> None:
        """A first line is three words with one blank between, told as soon as it is there."""
        wrong = [
            b"GET /\r\n", b"GET\r\n", b"\r\n", b" GET / HTTP/1.1\r\n", b"GET  / HTTP/1.1\r\n",
            b"GET /  HTTP/1.1\r\n", b"GET\t/ HTTP/1.1\r\n", b"GET / HTTP/1.1 \r\n", b"GET / http/1.1\r\n",
            b"GET / HTTP/1.10\r\n", b"GET / HTTP/11\r\n", b"GET / HTTPS/1.1\r\n", b"G@T / HTTP/1.1\r\n",
            b"GET / HTTP/1,1\r\n", b"GET / \r\n", b"SSH-2.0-x\r\n", b"GET / HTTP/1.1\n", b"\n",
            b"\x16\x03", b"GET /\x00", b"G\rE",
        ]  # fmt: skip
        self.refused(400, *wrong, *(b"\r\n" + GET, b"\n" + GET))

    def test_large_heads(self) -> None:
        """A long target is 414; a head of many bytes or many fields is 431."""
        self.assertIsNone(refusal(with_fields(first=b"GET /" + b"a" * 16_383 + b" HTTP/1.1")))
        self.refused(414, with_fields(first=b"GET /" + b"a" * 16_384 + b" HTTP/1.1"))
        self.refused(414, b"GET /" + b"a" * 16_500, b"GET /" + b"a" * 70_000)
        self.assertIsNone(refusal(with_fields(*[b"X: y"] * 255)))
        self.refused(431, with_fields(*[b"X: y"] * 256))
        room = 65_536 - len(with_fields(b"X: "))
        self.assertIsNone(refusal(with_fields(b"X: " + b"a" * room)))
        self.refused(431, with_fields(b"X: " + b"a" * (room + 1)))

    def test_expectations(self) -> None:
        """An expectation that is not 100-continue is 417."""
        self.refused(417, with_fields(b"Expect: y 100-continue"), with_fields(b"Expect: 200-ok"))

    def test_nominated_frames(self) -> None:
        """Connection may not nominate the fields that frame a message."""
        for name in (b"Content-Length", b"transfer-encoding", b"Host"):
            self.refused(400, with_fields(b"Connection: close, " + name))

    def test_reasons(self) -> None:
        """A refusal says what was found, escaped."""
        why = refusal(with_fields(b"X\x01 : \x1b[31m"))
        assert why is not None
        self.assertIn("stray byte b'\\x01'", why.reason)
        self.assertIn("blanks before the colon", str(refusal(with_fields(b"X : y"))))
