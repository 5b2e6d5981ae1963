"""The name of ``twistd burrow-client``, nothing more."""

from twisted.application.service import ServiceMaker

burrow_client = ServiceMaker(
    "burrow-client",
    "burrow.client.tap",
    "The private half of burrow: keeps a session with a relay and serves its tunnels.",
    "burrow-client",
)
