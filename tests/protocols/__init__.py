"""Tests of the tunnel protocols."""
