"""Tests of the http tunnel protocol."""
