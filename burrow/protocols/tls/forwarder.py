"""The client's half of a TLS tunnel: streams are joined to the upstream, bytes as they are."""

from burrow.protocols.raw import ForwarderFactory

__all__ = ["ForwarderFactory"]
