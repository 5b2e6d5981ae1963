"""Tests of the HTTP reader and writer."""
