"""The name of ``twistd --reactor burrow``, nothing more."""

from twisted.application.reactors import Reactor

burrow_reactor = Reactor(
    "burrow",
    "burrow.net.reactor",
    "epoll with a monotonic clock and sockets that send at once.",
)
