"""Somebody sets the wall clock of the machines by an hour, back and forth, while everything else goes wrong too."""

import os

from simulated_world import World
from structlog.testing import capture_logs

HOUR_S = 3_600.0
SEEDS = int(os.environ.get("SIMULATION_CLOCK_SEEDS", "5"))
STEPS = ([(3.0, HOUR_S)], [(3.0, -HOUR_S)], [(2.0, HOUR_S), (6.0, -2 * HOUR_S), (11.0, HOUR_S)])


def ran(seed: int, steps: list[tuple[float, float]]) -> World:
    """The world of a seed, after everything has happened."""
    world = World(seed, clock_steps=steps)
    with capture_logs():
        world.run()
    return world


def test_steps_of_the_wall_clock_change_no_alert() -> None:
    """Points, anomalies, alerts and messages have the same ids with and without them, and every promise of the simulation holds."""
    for seed in range(1, SEEDS + 1):
        plain = ran(seed, [])
        assert plain.database.notifications(), f"seed {seed} has no alert that could change"
        for steps in STEPS:
            stepped = ran(seed, steps)
            assert stepped.wrong == [], f"seed {seed}, {steps}"
            assert stepped.store.anomalies == plain.store.anomalies
            assert stepped.database.alerts() == plain.database.alerts()
            assert stepped.database.notifications() == plain.database.notifications()
