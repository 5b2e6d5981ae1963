"""In-memory streams and sockets that half-close and push back, for tests of any protocol."""
