"""HTTP/1.1 read strictly and kept byte for byte. No Twisted, no socket, no clock."""
