"""R21: a daemon with nothing meets a topic with a lot in it."""

import asyncio
import re
import time
from pathlib import Path
from typing import Any

import pytest
from chaos_oracle import by_the_product
from chaos_report import by_request, count, report
from chaos_topic import cluster_of, dump
from chaos_traffic import FLEET
from chaos_world import World
from fault_traffic import until

from sentinel.config.loader import load
from sentinel.testing.playback import play, unpaced
from sentinel.testing.simulator import Simulator
from sentinel.testing.targets import KafkaTarget

pytestmark = [pytest.mark.slow, by_request]

BACKLOG = count("BACKLOG", 500_000, 2_000_000)
SPACING_NS = 1_000_000
MOST_MB = 400.0
"""A container with 512 MB has room for that."""


async def test_a_large_backlog(worlds: Any) -> None:
    """R21: all of it is stored once and in order, as the windows show to the bit, within 400 MB."""
    async with worlds(seed=21, replicas=1) as world:
        (replica,) = world.replicas
        saved = {"persistence_path": str(world.servers.directory / "checkpoints")}
        replica.configure(world.settings | {"detection": {"baseline": saved}})  # all detectors, as shipped
        await _fill(world)
        await world.start()
        ready_mb = _peak_mb(replica.pid)
        began = time.monotonic()
        await until(lambda: sum(world.commits.latest.values()) >= BACKLOG, "everything is committed", 900.0)
        took_s = time.monotonic() - began
        await world.drained()
        peak_mb = _peak_mb(replica.pid)
        assert await world.stop() == [0], replica.log()
        stored = await asyncio.to_thread(world.points.sums)
        wrong = await _other_states(world)
    reached = "reached" if peak_mb <= MOST_MB else "MISSED"
    report(
        "R21",
        f"{BACKLOG:,} events at the start: peak {peak_mb:.0f} MiB, {ready_mb:.0f} of them when ready (aim <= {MOST_MB:g}: {reached}), "
        f"{BACKLOG / took_s:,.0f} events/s, "
        f"{stored['ids']:,} stored once, {len(world.commits.regressions)} commits went back, windows of {len(wrong)} partitions differ",
    )
    assert stored["events"] == stored["ids"] == BACKLOG
    assert not world.commits.regressions
    assert not wrong


async def _fill(world: World) -> None:
    """The backlog."""
    start_ns = time.time_ns() - BACKLOG * SPACING_NS
    target = KafkaTarget([world.direct], world.servers.topic)
    await target.open()
    try:
        await play(
            unpaced(Simulator(world.seed, fleet=FLEET), BACKLOG, start_ns, SPACING_NS, lambda: False),
            target,
            None,
            lambda: False,
            lambda _: None,
        )
    finally:
        await target.close()


async def _other_states(world: World) -> list[int]:
    """Partitions whose saved state is not what one thread makes of their log."""
    log, cluster = await dump(world.direct, world.servers.topic), await cluster_of(world.direct)
    config = load(world.replicas[0].file, {}).config
    ends = {partition: messages[-1].offset + 1 if messages else 0 for partition, messages in log.items()}
    found = await asyncio.to_thread(world.states, cluster, ends, config)
    wrong = []
    for partition, messages in log.items():
        if messages:
            expected = await asyncio.to_thread(by_the_product, cluster, world.servers.topic, {partition: messages}, config)
            if found.get(partition) != expected.states[partition]:
                wrong.append(partition)
    return wrong


def _peak_mb(pid: int) -> float:
    """The most memory a process ever had, in MiB."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1024
