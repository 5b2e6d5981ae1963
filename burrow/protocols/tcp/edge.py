"""The relay's half of a TCP tunnel: a public port whose visitors are joined to streams."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from zope.interface import implementer

from burrow.interfaces.protocol import IEdge, IPublication
from burrow.protocols.raw import VisitorFactory


@implementer(IEdge)
class TcpEdge:
    """See `IEdge`."""

    def bind(self, publication: IPublication) -> Deferred[None]:
        """Listen at a public port; every connection there is a visitor of the tunnel."""
        listening = publication.listen(VisitorFactory(publication.tunnel, "tcp"), "tcp")
        return listening.addCallback(lambda url: None)
