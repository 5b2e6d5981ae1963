"""Tests of where a relay's accounts are kept."""
