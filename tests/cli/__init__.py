"""Tests of the ``burrow`` command."""
