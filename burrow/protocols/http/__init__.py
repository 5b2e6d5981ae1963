"""The tunnel protocol ``http``: web servers under public names (rows B1 to B13)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.interfaces import IProtocolFactory
from twisted.plugin import IPlugin
from zope.interface import implementer

from burrow.interfaces.protocol import IEdge, IEdgeHost, IForwarderHost, ITunnelProtocol
from burrow.interfaces.upstream import IUpstream
from burrow.settings import TEXT, Kind, Schema, Setting, choice

__all__ = ["protocol"]


def _credentials(value: Any) -> str:
    text = str(value)
    user, colon, _ = text.partition(":")
    if not user or not colon:
        # The value is a secret: it stays out of the message.
        raise ValueError("wanted user:password, got a value that is not of that form")
    return text


SUBDOMAIN = Setting("subdomain", TEXT, "name under the relay's domain", edge=True, example="demo")
HOSTNAME = Setting(
    "hostname", TEXT, "whole public name, reserved beforehand", edge=True, example="dev.example.com"
)
BIND_TLS = Setting(
    "bind_tls",
    choice("true", "false", "both"),
    "publish the https address, the http one (false), or both",
    default="both",
    edge=True,
    example="both",
)
AUTH = Setting(
    "auth",
    Kind("user:password", _credentials, metavar="USER:PASSWORD"),
    "ask every visitor for this user and password",
    edge=True,
    secret=True,
    example="user:password",
)


@implementer(ITunnelProtocol, IPlugin)
class HttpProtocol:
    """See `ITunnelProtocol`."""

    name = "http"
    summary = "share a web server under a public name"
    settings = Schema((SUBDOMAIN, HOSTNAME, BIND_TLS, AUTH))
    schemes: tuple[str, ...] = ("http",)

    def edge(self, host: IEdgeHost) -> IEdge:
        """See `ITunnelProtocol.edge`."""
        from burrow.protocols.http.edge import HttpEdge

        return HttpEdge(host)

    def forwarder(
        self, upstream: IUpstream, settings: Mapping[str, Any], host: IForwarderHost
    ) -> IProtocolFactory:
        """See `ITunnelProtocol.forwarder`."""
        from burrow.protocols.http.forwarder import ForwarderFactory

        return ForwarderFactory(upstream, host)


protocol = HttpProtocol()
