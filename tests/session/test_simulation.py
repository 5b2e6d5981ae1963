"""Two sessions over a simulated network, and what that simulation would notice."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from twisted.trial.unittest import SynchronousTestCase

from burrow.session.mux import Mux
from burrow.session.session import Session
from burrow.session.stream import State, Stream
from burrow.wire import frames
from tests.session.simulation import Simulation

SEEDS = int(os.environ.get("BURROW_SEEDS", "2000"))  #: runs of each kind
MANY_SEEDS = int(os.environ.get("BURROW_SEEDS", "1000000"))  #: runs of each kind before a release
FIRST = int(os.environ.get("BURROW_FIRST_SEED", "0"))  #: the first seed, to go on or to try one again

ENOUGH = 60  #: seeds within which a fault has to show
PATIENCE = 15.0  #: simulated seconds after which a run with a fault counts as stuck


class SimulationTests(SynchronousTestCase):
    """What arrives over any network is what was sent."""

    def _try(self, seeds: int, cut: bool) -> None:
        for seed in range(FIRST, FIRST + seeds):
            try:
                simulation = Simulation(seed, cut)
                simulation.run()
                simulation.finish()
            except BaseException:
                print(f"seed {seed}, cut {cut}")
                raise

    def test_everything_arrives(self) -> None:
        """With delays, cuts of pieces, stalls and turns in any order all bytes arrive, in order."""
        self._try(SEEDS, False)

    def test_cut(self) -> None:
        """When the transport is cut, what arrived is a prefix and every stream ends in a reset."""
        self._try(SEEDS, True)

    @pytest.mark.long
    def test_everything_arrives_a_million_times(self) -> None:
        """The same over as many seeds as `BURROW_SEEDS` says, a million if it says nothing."""
        self._try(MANY_SEEDS, False)

    @pytest.mark.long
    def test_cut_a_million_times(self) -> None:
        """The same with cuts."""
        self._try(MANY_SEEDS, True)

    def test_same_seed(self) -> None:
        """A seed tells all: two runs of it are the same to the last byte and second."""
        for cut in (False, True):
            ends = []
            for _ in range(2):
                simulation = Simulation(11, cut)
                simulation.run()
                sent = [bytes(program.out.sent) for pair in simulation.pairs for program in pair]
                ends.append((simulation.clock.seconds(), sent, simulation.random.random()))
            self.assertEqual(ends[0], ends[1])


class FaultTests(SynchronousTestCase):
    """The simulation notices faults: each is put into the code, and has to show within some seeds."""

    def _notices(self, owner: type, name: str, fault: Callable[..., Any]) -> None:
        """Put a fault in place of a method; ``fault`` gets the method as its first argument."""
        method = getattr(owner, name)
        self.patch(owner, name, lambda *args: fault(method, *args))
        for seed in range(ENOUGH):
            simulation = Simulation(seed, patience=PATIENCE)
            try:
                simulation.run()
                simulation.finish()
            except AssertionError:
                self.flushLoggedErrors()
                return
            self.assertEqual(self.flushLoggedErrors(), [])
        self.fail(f"{ENOUGH} seeds and nothing noticed")

    def test_nothing_without_a_fault(self) -> None:
        """The simulation notices nothing when there is no fault."""
        with self.assertRaises(self.failureException):
            self._notices(Stream, "deliver", lambda deliver, stream, data: deliver(stream, data))

    def test_byte_lost(self) -> None:
        """The simulation notices a byte that is not delivered."""
        self._notices(Stream, "deliver", lambda deliver, stream, data: deliver(stream, data[1:]))

    def test_byte_doubled(self) -> None:
        """The simulation notices a byte that is delivered twice."""
        self._notices(Stream, "deliver", lambda deliver, stream, data: deliver(stream, data + data[-1:]))

    def test_pieces_out_of_order(self) -> None:
        """The simulation notices new data that overtakes what waits for a paused protocol."""

        def overtake(deliver: Any, stream: Stream, data: bytes) -> None:
            stream._arrived._pieces.appendleft(data)
            stream._mux.fresh(stream)

        self._notices(Stream, "deliver", overtake)

    def test_end_before_data(self) -> None:
        """The simulation notices an End that overtakes data."""

        def hurry(end: Any, stream: Stream) -> None:
            if stream._state in (State.OPEN, State.PEER_ENDED):
                stream._send_end()

        self._notices(Stream, "loseWriteConnection", hurry)

    def test_credit_ignored(self) -> None:
        """The simulation notices a sender that ignores its credit."""

        def greedy(take: Any, stream: Stream, most: int, parts: Any) -> Any:
            stream._out.credit = max(stream._out.credit, 1_000_000)
            return take(stream, most, parts)

        self._notices(Stream, "take", greedy)

    def test_delivered_while_paused(self) -> None:
        """The simulation notices data for a protocol that is paused."""
        self._notices(Stream, "pauseProducing", lambda pause, stream: None)

    def test_limit_forgotten(self) -> None:
        """The simulation notices Limits that never leave."""

        def forget(signal: Any, mux: Mux, box: bytes) -> None:
            if not box.startswith(b"\x00\x01l"):
                signal(mux, box)

        self._notices(Mux, "signal", forget)

    def test_end_forgotten(self) -> None:
        """The simulation notices Ends that never leave."""

        def forget(signal: Any, mux: Mux, box: bytes) -> None:
            if not box.startswith(b"\x00\x01f"):
                signal(mux, box)

        self._notices(Mux, "signal", forget)

    def test_reset_not_passed_on(self) -> None:
        """The simulation notices a reset that the peer never hears of."""

        def forget(signal: Any, mux: Mux, box: bytes) -> None:
            if not box.startswith(b"\x00\x01u"):
                signal(mux, box)

        self._notices(Mux, "signal", forget)

    def test_reset_as_end(self) -> None:
        """The simulation notices a reset that looks like a clean end."""

        def soften(reset: Any, stream: Stream, text: str) -> None:
            if stream._state is State.OPEN:
                stream.peer_ended()
            else:
                reset(stream, text)

        self._notices(Stream, "peer_reset", soften)

    def test_acknowledged_too_much(self) -> None:
        """The simulation notices an acknowledgement of what was not received."""

        def boast(segment_of: Any, session: Session, parts: Any) -> Any:
            session._received += 1
            try:
                return segment_of(session, parts)
            finally:
                session._received -= 1

        self._notices(Session, "_segment_of", boast)

    def test_never_acknowledged(self) -> None:
        """The simulation notices a receiver that forgets to acknowledge."""

        def forget(inner: Any, session: Session, data: Any, start: int, end: int) -> None:
            session._received += end - start
            session.mux.feed(data, start, end)

        self._notices(Session, "inner", forget)

    def test_room_not_used(self) -> None:
        """The simulation notices a sender that does not go on when an acknowledgement makes room."""

        def sleep(segment: Any, session: Session, ack: int, offset: int, length: int) -> None:
            before, session._awake = session._awake, True
            segment(session, ack, offset, length)
            session._awake = before

        self._notices(Session, "segment", sleep)

    def test_producer_not_resumed(self) -> None:
        """The simulation notices a producer that stays paused."""
        self._notices(Stream, "_ask_producer", lambda ask, stream: None)

    def test_segment_that_is_not_retained(self) -> None:
        """The simulation notices bytes that are sent and not kept: their acknowledgement is a false claim."""

        def drop(segment_of: Any, session: Session, parts: Any) -> bytes:
            box: bytes = segment_of(session, parts)
            if len(box) > frames.SEGMENT.size + 2:
                session._retained.sent -= 1
            return box

        self._notices(Session, "_segment_of", drop)
