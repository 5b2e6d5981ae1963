"""A stream: one visitor's connection inside a session, as a Twisted transport."""

from __future__ import annotations

from dataclasses import dataclass

from twisted.internet.interfaces import IAddress, IConsumer, IPushProducer, ITCPTransport
from zope.interface import implementer


class IStream(ITCPTransport, IConsumer, IPushProducer):
    """Bytes both ways between an edge and a forwarder, each way ended on its own.

    A stream never calls its protocol from inside a call by that protocol, with the exception of
    ``pauseProducing`` and ``resumeProducing`` of a registered producer.

    The peer's end arrives as ``readConnectionLost`` at a protocol that provides
    `twisted.internet.interfaces.IHalfCloseableProtocol`, else as ``connectionLost``; the peer's
    refusal to read more arrives as ``writeConnectionLost``. A reset arrives as ``connectionLost``
    with a reason that is not ``ConnectionDone``, and has to be passed on as a reset.

    ``loseConnection`` sends what is queued, then ends both ways; ``abortConnection`` resets.
    """

    def queued() -> int:
        """Return how many bytes were written and have not left for the peer yet."""


@implementer(IAddress)
@dataclass(frozen=True)
class Visitor:
    """Who is connecting to a public address, as the relay saw it.

    It is the address that a forwarder's factory gets in ``buildProtocol``, and ``getPeer`` of the
    client's end of a stream.

    Attributes:
        host: The visitor's numeric address.
        port: The visitor's port.
        scheme: What the visitor speaks at the edge: ``http``, ``https``, ``tls``, ``tcp`` or a
            plugin's own word.
        name: The hostname asked for, canonical, or the public port as text.
    """

    host: str
    port: int
    scheme: str
    name: str = ""

    def __str__(self) -> str:
        """Return ``host:port``, an IPv6 address in brackets."""
        return address_text(self)


def address_text(address: IAddress | None) -> str:
    """Return an address as logs show it: ``host:port``, an IPv6 address in brackets."""
    host, port = getattr(address, "host", None), getattr(address, "port", None)
    if host is None or port is None:
        return str(address)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
