"""The public server: listeners, routing, accounts, certificates."""
