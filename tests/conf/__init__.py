"""Tests of the configuration files as installed."""
