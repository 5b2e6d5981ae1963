"""Bulk data over HTTP: a source and sink, and the visitor that drives it.

    python -m bench.bulk serve               prints the port it listens on
    python -m bench.bulk down PORT HOST STREAMS BYTES      prints seconds
    python -m bench.bulk up PORT HOST STREAMS BYTES        prints seconds

Plain blocking sockets with 1 MiB buffers, so that what is measured is what lies between.
"""

from __future__ import annotations

import re
import socket
import sys
import threading
import time

MIB = 1024 * 1024
_ZEROS = memoryview(bytes(MIB))
Connection = socket.socket


def read_head(connection: Connection) -> tuple[bytes, int]:
    """Return a message's head and how many bytes of its body came with it."""
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(65536)
        if not piece:
            raise ConnectionError(f"ended in a head: {received!r}")
        received += piece
    head, _, rest = received.partition(b"\r\n\r\n")
    return head, len(rest)


def discard(connection: Connection, size: int) -> None:
    """Read ``size`` bytes."""
    buffer = memoryview(bytearray(MIB))
    while size > 0:
        got = connection.recv_into(buffer[: min(size, MIB)])
        if not got:
            raise ConnectionError(f"ended {size} bytes early")
        size -= got


def produce(connection: Connection, size: int) -> None:
    """Write ``size`` bytes."""
    while size > 0:
        connection.sendall(_ZEROS[: min(size, MIB)])
        size -= MIB


def answer(connection: Connection) -> None:
    """Serve one visitor: ``/down/N`` gives N bytes, a POST takes what it says it has."""
    try:
        with connection:
            head, came = read_head(connection)
            if found := re.match(rb"GET /down/(\d+) ", head):
                size = int(found.group(1))
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
                produce(connection, size)
            else:
                length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
                discard(connection, int(length.group(1) if length else b"0") - came)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            connection.recv(1)  # the visitor closes first
    except OSError:
        return  # it left early


def serve() -> None:
    """Answer visitors until killed."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    print(listener.getsockname()[1], flush=True)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=answer, args=(connection,), daemon=True).start()


def visit(way: str, port: int, host: str, size: int) -> None:
    """Move ``size`` bytes ``down`` or ``up`` over one connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=120) as connection:
        request = b"GET /down/%d HTTP/1.1\r\n" % size if way == "down" else b"POST /up HTTP/1.1\r\n"
        length = b"" if way == "down" else b"Content-Length: %d\r\n" % size
        connection.sendall(request + b"Host: %b\r\n%b\r\n" % (host.encode(), length))
        if way == "up":
            produce(connection, size)
        head, came = read_head(connection)
        if b" 200 " not in head:
            raise ConnectionError(repr(head))
        discard(connection, (size if way == "down" else 2) - came)


def load(way: str, port: int, host: str, streams: int, size: int) -> float:
    """Move ``size`` bytes in all over ``streams`` connections at once; return the seconds."""
    failed: list[BaseException] = []

    def one() -> None:
        try:
            visit(way, port, host, size // streams)
        except OSError as error:
            failed.append(error)

    threads = [threading.Thread(target=one, daemon=True) for _ in range(streams)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return time.monotonic() - started


def main(arguments: list[str]) -> None:
    """Do what the command line says; see the module's text."""
    if arguments == ["serve"]:
        serve()
    else:
        way, port, host, streams, size = arguments
        print(load(way, int(port), host, int(streams), int(size)))


if __name__ == "__main__":
    main(sys.argv[1:])
