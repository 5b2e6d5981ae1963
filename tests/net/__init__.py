"""Tests of ``burrow.net``."""
