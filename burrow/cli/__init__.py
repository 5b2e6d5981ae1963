"""The ``burrow`` command."""
