"""Tests of `burrow.client`."""
