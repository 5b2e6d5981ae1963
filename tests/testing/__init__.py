"""Tests of `burrow.testing`."""
