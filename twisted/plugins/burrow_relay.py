"""The name of ``twistd burrow-relay``, nothing more."""

from twisted.application.service import ServiceMaker

burrow_relay = ServiceMaker(
    "burrow-relay",
    "burrow.relay.tap",
    "The public half of burrow: accepts clients and gives their services public names.",
    "burrow-relay",
)
