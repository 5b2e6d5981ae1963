"""Twisted's own port forwarding as a program: the cheapest hop that Python makes without us.

    python -m bench.portforward TARGET_PORT ...

prints one line ``TARGET_PORT LISTENING_PORT`` for each target, all on 127.0.0.1, and forwards until
it is killed. It turns a half-close into a close (a limit of `twisted.protocols.portforward`).
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet import reactor as installed
from twisted.protocols.portforward import ProxyFactory


def main() -> None:
    """Forward to each port named on the command line."""
    reactor: Any = installed
    for target in map(int, sys.argv[1:]):
        listening = reactor.listenTCP(0, ProxyFactory("127.0.0.1", target), 1024, "127.0.0.1")
        print(target, listening.getHost().port, flush=True)
    reactor.run()


if __name__ == "__main__":
    main()
