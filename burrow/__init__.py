"""A service on a private machine, reachable from the internet."""

__version__ = "0.1.0"
