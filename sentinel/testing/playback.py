"""Sending simulated traffic: paced by a clock or as fast as it goes, until enough was sent or someone says stop."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from sentinel.testing.faults import NS, Fault
from sentinel.testing.simulator import Block, Simulator, head_of
from sentinel.testing.targets import Target

SLICE_NS: Final = NS // 10
LONGEST_SLICE_NS: Final = NS
LONGEST_SLICE_EVENTS: Final = 65_536


@dataclass(slots=True)
class Sent:
    """What was sent so far: how many events, and the event time of the last one in nanoseconds (None before the first)."""

    events: int = 0
    last_ns: int | None = None

    def began(self, faults: tuple[Fault, ...]) -> list[Fault]:
        """The faults that had started by then."""
        return [fault for fault in faults if self.last_ns is not None and fault.start_ns <= self.last_ns]


async def paced(
    simulator: Simulator, start_ns: int, length_ns: int | None, elapsed_s: Callable[[], float], pause: Callable[[float], Awaitable[object]]
) -> AsyncGenerator[Block, None]:
    """The simulator's traffic from `start_ns` on, each tenth of a second of it no earlier than it is due.

    Who takes longer than that gets larger slices, up to a second or `LONGEST_SLICE_EVENTS` each, until the clock is reached again.

    Args:
        simulator: gives the rate.
        start_ns: event time of the start.
        length_ns: how much event time to play; None: without end.
        elapsed_s: seconds since the start, by a clock that never goes back.
        pause: waits for so many seconds, or less.
    """
    longest_ns = max(1, min(LONGEST_SLICE_NS, int(LONGEST_SLICE_EVENTS / simulator.rate * NS)))
    slice_ns = min(SLICE_NS, longest_ns)
    done_ns = 0
    while length_ns is None or done_ns < length_ns:
        end_ns = done_ns + slice_ns if length_ns is None else min(done_ns + slice_ns, length_ns)
        due_ns = int(elapsed_s() * NS)
        if due_ns < end_ns:
            await pause((end_ns - due_ns) / NS)
            due_ns = min(max(int(elapsed_s() * NS), done_ns), end_ns)  # a pause cut short makes a shorter slice
        else:
            due_ns = min(due_ns, done_ns + longest_ns, due_ns if length_ns is None else length_ns)
        yield simulator.keyed_block(start_ns + done_ns, start_ns + due_ns)
        done_ns = due_ns


async def unpaced(
    simulator: Simulator, events: int | None, start_ns: int, spacing_ns: int, over: Callable[[], bool]
) -> AsyncGenerator[Block, None]:
    """The simulator's load stream as fast as it is taken, until `over` says so; other tasks get their turn between two blocks."""
    for block in simulator.keyed_events(events, start_ns, spacing_ns):
        if over():
            return
        yield block
        await asyncio.sleep(0)


async def play(
    blocks: AsyncGenerator[Block, None], target: Target, events: int | None, stopped: Callable[[], bool], progress: Callable[[int], None]
) -> Sent:
    """Send blocks to an open target until they end, `events` were sent or `stopped` says so; what was sent is whole either way.

    Args:
        blocks: where events come from.
        target: takes them; its errors pass through.
        events: at most so many; None: no limit.
        stopped: asked before each block.
        progress: told the number of events of each block after it was sent.
    """
    sent = Sent()
    async with aclosing(blocks):
        async for block in blocks:
            if stopped():
                break
            due = block if events is None else head_of(block, events - sent.events)
            if due.records:
                await target.send(due)
                sent.events += len(due.records)
                sent.last_ns = int(due.ts_ns[-1])
                progress(len(due.records))
            if sent.events == events:
                break
    return sent
