"""The local service behind a client."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol, IProtocolFactory
from zope.interface import Attribute, Interface


class IUpstream(Interface):
    """Where a forwarder connects to."""

    address: str = Attribute("As people read it, with a scheme for http: ``http://localhost:80``.")

    def connect(factory: IProtocolFactory) -> Deferred[IProtocol]:
        """Open a connection of its own for one visitor.

        Returns:
            Fires with the protocol after its ``connectionMade``. Its transport half-closes and
            aborts (RST). Cancelling ends the attempt.

        Raises:
            ConnectError: Nothing answers there; the text names the reason.
        """
