"""The demo's traffic: the past in one go, then the present as it comes, over HTTP as any producer would."""

import asyncio
import sys
from typing import Final

from sentinel.app.daemon import Daemon
from sentinel.app.serve import Beside
from sentinel.testing.faults import FaultKind, fault_plan
from sentinel.testing.playback import paced, play
from sentinel.testing.profiles import make_fleet
from sentinel.testing.simulator import Simulator
from sentinel.testing.targets import HttpTarget

NS: Final = 1_000_000_000
PAST_NS: Final = 45 * 60 * NS
"""Traffic of the past is filled in first, so that there is something to see and baselines to judge by."""
FAULT_EVERY_NS: Final = 90 * NS
AHEAD_NS: Final = 24 * 3_600 * NS
KINDS: Final = tuple(kind for kind in FaultKind if kind is not FaultKind.TRAFFIC_DROP)


def traffic(rate: float, seed: int) -> Beside:
    """What runs beside the daemon: `rate` events per second with a fault every ninety seconds, the same for the same seed."""

    async def run(daemon: Daemon) -> None:
        url = f"http://127.0.0.1:{daemon.server.port}"
        clock, now_ns, began = daemon.clock, daemon.clock.now_ns(), daemon.clock.monotonic()
        simulator = _simulator(rate, seed, now_ns)
        target = HttpTarget(url, asyncio.Event())
        await target.open()
        try:
            await target.send(simulator.keyed_block(now_ns - PAST_NS, now_ns))
            sys.stderr.write(f"sentinel demo: status page on {url}  (API documentation: {url}/docs; stop with Ctrl-C)\n")
            blocks = paced(simulator, now_ns, None, lambda: clock.monotonic() - began, clock.sleep)
            await play(blocks, target, None, lambda: daemon.context.stopping, lambda _count: None)
        finally:
            await target.close()

    return run


def _simulator(rate: float, seed: int, now_ns: int) -> Simulator:
    fleet = make_fleet()
    past = fault_plan(seed, now_ns - PAST_NS, now_ns, fleet.series, every_ns=PAST_NS // (len(KINDS) + 1), kinds=KINDS)
    coming = fault_plan(seed + 1, now_ns - FAULT_EVERY_NS, now_ns + AHEAD_NS, fleet.series, every_ns=FAULT_EVERY_NS, kinds=KINDS)
    return Simulator(seed, fleet=fleet, rate=rate, faults=[*past, *coming], text_share=0.1, malformed_share=0.001)
