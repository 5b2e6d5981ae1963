"""Tests of ``burrow.wire``."""
