"""The program beside the local service: connecting to the relay, tunnels, upstreams."""
