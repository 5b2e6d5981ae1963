"""Bytes to values and back: boxes, ClientHello. No Twisted, no socket, no clock."""
