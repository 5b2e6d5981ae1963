"""TCP connections that send at once, and the ports and connectors that make them.

Twisted's own transports queue every write and send it in the next turn, after two ``epoll_ctl``
calls. These try ``send`` inside ``write`` while nothing is queued; only what the kernel does not
take goes the usual way. Everything else is Twisted's: order, half-close, close and abort. An error
of such an early ``send`` is left for the reactor to find, so that ``connectionLost`` never comes
from inside ``write``.

The Twisted internals relied on are listed in ``INTERNALS``, which a test holds against the Twisted
that is installed.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable
from typing import Any

from twisted.internet import tcp
from twisted.internet.abstract import FileDescriptor
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST

#: Bytes asked for in one read. From 128 KiB up, the C library maps and unmaps every buffer; and what
#: one read brings should fill the Segments that carry it on, boxes and all, without a small one more.
READ_SIZE = 122_800

#: Bytes not sent yet at which the kernel takes no more of one connection. It bounds what a slow
#: reader can hold in the kernel, and makes a full queue known early.
NOTSENT_LOWAT = 131_072

#: What these classes use of Twisted beyond its public interfaces, by class.
INTERNALS: dict[type, tuple[str, ...]] = {
    FileDescriptor: (
        "dataBuffer",
        "offset",
        "_writeDisconnected",
        "_isSendBufferFull",
        "_maybePauseProducer",
    ),
    tcp.Connection: ("TLS", "_aborting", "doRead", "writeSequence"),
    tcp.Client: ("createInternetSocket",),
    tcp.Port: ("transport", "_fromListeningDescriptor"),
    tcp.Server: ("_fromConnectedSocket",),
    tcp.Connector: ("_makeTransport",),
}


def tune(skt: socket.socket) -> None:
    """Set the options that every connection of burrow has; a socket that is gone already is let be."""
    try:
        skt.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        skt.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, NOTSENT_LOWAT)
    except OSError:
        return  # the next read or write tells the reactor


class EagerConnection(tcp.Connection):
    """A connection that sends in ``write``, and pauses its producer while anything is queued."""

    bufferSize = READ_SIZE
    _broken = False  # an early send failed and took the socket's pending error with it

    def write(self, data: bytes) -> None:
        """Send as much as the kernel takes now, queue the rest; see `ITransport.write`."""
        if not isinstance(data, bytes):
            raise TypeError(f"wanted bytes to write, got {type(data).__name__}")
        if not self._may_send():
            super().write(data)
        elif data:
            sent = self._send(data)
            if sent != len(data):
                super().write(data[sent:] if sent else data)

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """Write the pieces as one; see `ITransport.writeSequence`."""
        self.write(b"".join(iovec))

    def doRead(self) -> Any:
        """Read once; an end that follows a failed send is the reset that it was."""
        try:
            data = self.socket.recv(self.bufferSize)
        except BlockingIOError:
            return None
        except OSError:
            return CONNECTION_LOST
        if data:
            self.protocol.dataReceived(data)
            return None
        return CONNECTION_LOST if self._broken else CONNECTION_DONE

    def _may_send(self) -> bool:
        """Tell whether bytes may overtake the reactor: nothing is queued, and nothing is over.

        A pull producer lives on the turn that a queued write takes, so it keeps it.
        """
        return bool(
            self.connected
            and not self.dataBuffer
            and not self._tempDataLen
            and not self._writeDisconnected
            and not self.TLS
            and not self._aborting
            and (self.producer is None or self.streamingProducer)
        )

    def _send(self, data: bytes) -> int:
        """Return how many bytes the kernel took; none after an error, which the reactor will meet."""
        try:
            return self.socket.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            self._broken = error.errno != errno.ENOBUFS
            return 0

    def _isSendBufferFull(self) -> bool:
        queued = len(self.dataBuffer) - self.offset + self._tempDataLen
        return queued > (self.bufferSize if self.TLS else 0)


class EagerServer(EagerConnection, tcp.Server):
    """An accepted connection."""

    def __init__(
        self, sock: socket.socket, protocol: Any, client: Any, server: Any, sessionno: int, reactor: Any
    ) -> None:
        """Take over an accepted socket; the arguments are those of `tcp.Server`."""
        tune(sock)
        super().__init__(sock, protocol, client, server, sessionno, reactor)


class EagerClient(EagerConnection, tcp.Client):
    """A connection that we open."""

    _commonConnection = EagerConnection

    def createInternetSocket(self) -> socket.socket:
        """Make the socket to connect with."""
        skt: socket.socket = super().createInternetSocket()
        tune(skt)
        return skt


class EagerPort(tcp.Port):
    """A listening port whose connections send at once."""

    transport = EagerServer


class EagerConnector(tcp.Connector):
    """A connector whose connection sends at once."""

    def _makeTransport(self) -> EagerClient:
        return EagerClient(self.host, self.port, self.bindAddress, self, self.reactor)
