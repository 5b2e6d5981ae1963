"""Black-box tests: the installed programs as real processes, real sockets, real services."""
