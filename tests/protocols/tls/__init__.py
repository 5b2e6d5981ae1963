"""Tests of `burrow.protocols.tls`."""
