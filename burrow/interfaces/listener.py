"""The shared public port: what a newcomer's first bytes tell, and who claims it."""

from __future__ import annotations

from dataclasses import dataclass

from twisted.internet.interfaces import IAddress, IProtocolFactory
from zope.interface import Attribute, Interface


@dataclass(frozen=True)
class Arrival:
    """A newcomer at a shared listener, once enough is known to claim it.

    Attributes:
        peer: Where it comes from.
        host: The address it connected to.
        received: All bytes it sent so far; whoever claims it gets them first.
        tls: It opened with a TLS ClientHello, which is whole.
        server_name: The canonical server name of the ClientHello, or the empty text.
        alpn: The application protocols that the ClientHello offers.
    """

    peer: IAddress
    host: IAddress
    received: bytes
    tls: bool = False
    server_name: str = ""
    alpn: tuple[bytes, ...] = ()


class IListenerClaim(Interface):
    """Somebody who may take newcomers of one kind at shared listeners."""

    kind: str = Attribute(
        "``session``, ``https``, ``tls``, ``http`` or a plugin's name: a listener serves the kinds that "
        "its configuration lists. TLS newcomers are offered to ``tls``, ``session``, ``https``, then to "
        "plugins' own kinds; others to plugins' own kinds, then to ``http``, which takes all that is left."
    )
    tls: bool = Attribute("Whether it wants newcomers that open with a ClientHello, or the others.")

    def claim(arrival: Arrival) -> IProtocolFactory | None:
        """Return the factory whose protocol takes the connection over, or ``None`` to pass.

        The protocol gets ``connectionMade`` and then the received bytes as ``dataReceived``.
        """
