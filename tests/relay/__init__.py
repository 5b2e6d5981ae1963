"""Tests of ``burrow.relay``."""
