"""The relation between a client and its relay: link, mux, streams and the endpoints they make."""
