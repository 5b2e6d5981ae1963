"""Handing a transport over: from a protocol that is done with it to a leg of a join."""

from __future__ import annotations

from twisted.internet.protocol import Protocol

from burrow.protocols.join import Leg

EVENTS = ("dataReceived", "readConnectionLost", "writeConnectionLost", "connectionLost")


def hand_over(protocol: Protocol, leg: Leg) -> None:
    """Let ``leg`` get every further event of the transport that ``protocol`` is connected to."""
    for event in EVENTS:
        setattr(protocol, event, getattr(leg, event))
