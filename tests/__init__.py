"""The tests, in rooms as in ``burrow``."""
