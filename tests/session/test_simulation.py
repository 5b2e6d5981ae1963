"""Two sessions over a simulated network."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from tests.session.simulation import Simulation

SEEDS = int(os.environ.get("BURROW_SEEDS", "2000"))  #: runs of each kind, half as many with cuts
FIRST = int(os.environ.get("BURROW_FIRST_SEED", "0"))


class SimulationTests(SynchronousTestCase):
    """What arrives over any network is what was sent."""

    def _try(self, seed: int, cut: bool) -> None:
        simulation = Simulation(seed, cut)
        try:
            simulation.run()
            simulation.finish()
        except BaseException:
            print(f"seed {seed}, cut {cut}")
            raise

    def test_everything_arrives(self) -> None:
        """With delays, cuts of pieces, stalls and turns in any order all bytes arrive, in order."""
        for seed in range(FIRST, FIRST + SEEDS):
            self._try(seed, False)

    def test_cut(self) -> None:
        """When the transport is cut, what arrived is a prefix and every stream ends in a reset."""
        for seed in range(FIRST, FIRST + SEEDS):
            self._try(seed, True)
