"""What lies between burrow and the operating system's network: reactor, sockets, TLS, listeners."""
