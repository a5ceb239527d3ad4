"""The real pipeline in a world where everything goes wrong, once for each seed: nothing is lost, nothing is doubled.

SIMULATION_SEEDS and SIMULATION_FIRST say how many seeds and from which on; SIMULATION_TRACE=1 prints what happened.
"""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from simulated_weather import EVENTS, KINDS
from simulated_world import World
from structlog.testing import capture_logs

SEEDS, FIRST = int(os.environ.get("SIMULATION_SEEDS", "300")), int(os.environ.get("SIMULATION_FIRST", "1"))
BLOCK = 25
BLOCKS = [range(start, min(start + BLOCK, FIRST + SEEDS)) for start in range(FIRST, FIRST + SEEDS, BLOCK)]
ENOUGH = 100
"""So many seeds must reach every kind of fault."""

struck: Counter[str] = Counter()
ran: set[int] = set()


def simulated(seed: int, *, verbose: bool = False) -> World:
    """The world of a seed, after everything has happened."""
    world = World(seed, verbose=verbose)
    with capture_logs():
        world.run()
    return world


def again(seed: int) -> str:
    """The command that repeats a seed."""
    test = f"{Path(__file__).relative_to(Path.cwd())} -k promise" if Path(__file__).is_relative_to(Path.cwd()) else __file__
    return f"SIMULATION_FIRST={seed} SIMULATION_SEEDS=1 SIMULATION_TRACE=1 {sys.executable} -m pytest -q -s {test}"


@pytest.mark.parametrize("seeds", BLOCKS, ids=lambda seeds: f"{seeds[0]}-{seeds[-1]}")
def test_every_promise_is_kept(seeds: range) -> None:
    """Points, dead letters, anomalies, alerts, windows, offsets and the ledger are what the log says, whatever went wrong."""
    broken = []
    for seed in seeds:
        world = simulated(seed, verbose="SIMULATION_TRACE" in os.environ)
        struck.update(world.weather.struck)
        ran.add(seed)
        if world.weather.verbose:
            print(*world.weather.lines, sep="\n")  # noqa: T201  asked for
        if world.wrong:
            broken += [f"seed {seed}; again with: {again(seed)}", *(f"  {wrong}" for wrong in world.wrong[:8])]
    assert not broken, "\n".join(broken)


def test_every_kind_of_fault_was_reached() -> None:
    """A fault that no seed has met proves nothing: each kind has had an effect."""
    if len(ran) < ENOUGH:
        pytest.skip(f"only {len(ran)} seeds were run")
    assert {kind: struck[kind] for kind in (*KINDS, *EVENTS) if not struck[kind]} == {}
    print(dict(struck.most_common()))  # noqa: T201  shown with -s


@pytest.mark.parametrize("seed", [3, 8])
def test_a_seed_repeats_itself_to_the_bit(seed: int) -> None:
    """The same seed gives the same trace, in this process and in another one whose hashes differ."""
    first, second = simulated(seed), simulated(seed)
    assert first.weather.trace.hexdigest() == second.weather.trace.hexdigest()
    program = f"from test_simulation import simulated; print(simulated({seed}).weather.trace.hexdigest())"
    folder = Path(__file__).parent
    paths = os.pathsep.join([str(folder), str(folder.parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONHASHSEED": "7"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == first.weather.trace.hexdigest()


def test_two_seeds_are_two_stories() -> None:
    """Another seed gives another trace."""
    assert simulated(3).weather.trace.hexdigest() != simulated(4).weather.trace.hexdigest()
