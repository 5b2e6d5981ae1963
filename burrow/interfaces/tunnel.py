"""A tunnel as the relay sees it: somewhere to connect a visitor to."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol, IProtocolFactory
from zope.interface import Attribute, Interface

from burrow.interfaces.stream import Visitor


class ITunnel(Interface):
    """A public name or port with one owner, whoever serves it at the moment."""

    account: str = Attribute("The name of the account that owns it.")
    protocol: str = Attribute("The name of its `ITunnelProtocol`.")
    name: str = Attribute("What the client calls it.")
    settings: dict[str, object] = Attribute("Values of the protocol's edge settings, typed.")

    def connect(factory: IProtocolFactory, visitor: Visitor, deadline: float) -> Deferred[IProtocol]:
        """Join a protocol to a new stream that ends at the tunnel's upstream.

        The access policy is asked first: nothing reaches the client for a visitor that it does
        not admit. May be called while earlier calls are outstanding. Cancelling withdraws the
        request; a stream that opens after that is reset, not leaked.

        Args:
            factory: Builds the protocol that gets the stream as its transport. ``connectionMade``
                is called before the Deferred fires.
            visitor: Who is connecting.
            deadline: Seconds from now by which somebody has to serve the tunnel.

        Raises:
            VisitorRefused: The access policy does not admit the visitor: close without an answer.
            TunnelOffline: Nobody served it by the deadline.
        """
