"""Tests of `burrow.protocols.tcp`."""
