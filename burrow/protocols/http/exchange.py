"""The exchange: one request and its one answer, whoever asks and whoever serves it."""

from __future__ import annotations

from typing import Protocol as Shape

from burrow.http.grammar import Framing
from burrow.http.request import RequestHead
from burrow.http.response import ResponseHead
from burrow.interfaces.stream import IStream
from burrow.interfaces.tunnel import ITunnel
from burrow.protocols.http.pages import Page
from burrow.protocols.join import Leg

#: Methods that may be sent a second time when a kept connection turns out to have ended.
REPEATABLE = frozenset(("GET", "HEAD", "OPTIONS"))


class Exchange:
    """What is known of one request and its answer.

    Attributes:
        head: The request, as it is sent.
        tunnel: Where it goes.
        asker: Who asked.
        asked: The request's last byte has been handed on.
        begun: Bytes of the answer have been handed on.
        answer: The head of the last answer, once it is there.
    """

    __slots__ = ("answer", "asked", "asker", "begun", "head", "tunnel")

    def __init__(self, head: RequestHead, tunnel: ITunnel, asker: Asker) -> None:
        """Start with a request whose body, if any, is still to come."""
        self.head, self.tunnel, self.asker = head, tunnel, asker
        self.asked = self.begun = False
        self.answer: ResponseHead | None = None

    @property
    def keeps_alive(self) -> bool:
        """Whether the connections on both sides can be used for another exchange."""
        return self.asked and self.answer is not None and self.answer.keeps_alive(self.head)

    @property
    def repeatable(self) -> bool:
        """Whether sending it twice does no harm, and nobody would notice."""
        return not self.begun and self.head.method in REPEATABLE and self.head.framing is Framing.NONE


class Asker(Shape):
    """Who asked: takes the answer. Each exchange ends with one of the last five calls."""

    def deliver(self, data: bytes) -> None:
        """Take the next bytes of the answer, framing included."""

    def lane_moves(self) -> None:
        """Look again whether the request's body may be read: the way to the tunnel filled or drained."""

    def complete(self, exchange: Exchange) -> None:
        """The answer has been delivered to its end."""

    def cut(self, exchange: Exchange) -> None:
        """The answer broke off after bytes of it were delivered."""

    def fail(self, exchange: Exchange, page: Page | None, repeat: bool) -> None:
        """No byte of an answer came.

        Args:
            exchange: Which one.
            page: What to answer instead; ``None``: close without an answer.
            repeat: The connection had ended before it could have read the request.
        """

    def switch(self, exchange: Exchange, transport: IStream, data: bytes) -> Leg:
        """The answer is 101: from now on both transports are joined.

        Args:
            exchange: Which one.
            transport: The stream's, without a producer.
            data: The answer, and what came behind it.

        Returns:
            What takes all further events of the stream.
        """
