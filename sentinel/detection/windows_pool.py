"""Memory for windows in tiers: a window lies in a block that is at most about twice as large as what it holds, and moves on when it grows.

A tier hands out blocks of one size from slabs, which never move: growing copies one window, never all of them. Blocks that come back are
handed out again first. When a tier has more of them than `squeeze` allows, its live blocks move together and whole slabs go back to the
operating system. Which block a window gets has no influence on what is computed with it.
"""

import ctypes
import mmap
from typing import Final

import numpy as np
import numpy.typing as npt

from sentinel.core.jit import leaf
from sentinel.core.memory import VALUE_BYTES, load, store

Records = npt.NDArray[np.void]

SMALLEST: Final = 16
"""Samples that the smallest block has room for: enough for a series to be judged, little enough for a hundred thousand of them."""

LINE: Final = 8
"""Samples in a cache line: blocks begin and end with one."""

MIN_SLAB_BYTES, MAX_SLAB_BYTES = 64 * 1024, 16 * 1024 * 1024
HUGE_PAGES_FROM_BYTES: Final = 8 * 1024 * 1024
"""Slabs from this size on may lie in huge pages: most of the processor's look-ups of addresses are saved, and memory becomes resident in
steps of 2 MB, which is little beside so large a tier."""

SLACK_BYTES: Final = 1024 * 1024
"""Returned blocks that are kept in any case."""

TIER = np.dtype([("capacity", "i8"), ("returned", "i8"), ("fresh", "i8"), ("end", "i8"), ("spare", "i8"), ("used", "i8")])
"""A tier: samples a block has room for; address of the block returned last, each of which holds the address of the next, 0 = none; what of
the newest slab was never handed out; blocks that were returned; blocks in use."""


@leaf
def block_bytes(capacity: int) -> int:
    """A block holds a window's samples twice, in arrival order and sorted."""
    return 2 * VALUE_BYTES * capacity


@leaf
def tier_for(tiers: Records, samples: int) -> int:
    """The smallest tier whose blocks have room for so many samples, at most a full window."""
    tier = 0
    while tiers[tier]["capacity"] < samples:
        tier += 1
    return tier


@leaf
def take(tiers: Records, tier: int) -> int:
    """The address of a free block, 0 when the tier has none left and has to be extended."""
    chosen = tiers[tier]
    at = chosen["returned"]
    if at != 0:
        chosen["returned"] = int(load(at, 0))  # an address has at most 53 bits, so a float64 holds it exactly
        chosen["spare"] -= 1
    elif chosen["fresh"] < chosen["end"]:
        at = chosen["fresh"]
        chosen["fresh"] += block_bytes(chosen["capacity"])
    else:
        return 0
    chosen["used"] += 1
    return int(at)


@leaf
def give(tiers: Records, capacity: int, at: int) -> None:
    """Take a block back."""
    chosen = tiers[tier_for(tiers, capacity)]
    store(at, 0, float(chosen["returned"]))
    chosen["returned"] = at
    chosen["spare"] += 1
    chosen["used"] -= 1


class Slab:
    """Blocks side by side in memory of their own, which the operating system gives when it is first written to."""

    __slots__ = ("_memory", "blocks", "start")

    def __init__(self, blocks: int, each_bytes: int) -> None:
        size = blocks * each_bytes
        self._memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if size >= HUGE_PAGES_FROM_BYTES and hasattr(mmap, "MADV_HUGEPAGE"):
            self._memory.madvise(mmap.MADV_HUGEPAGE)
        self.blocks = blocks
        self.start = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))


class Pool:
    """The blocks of all windows of one size.

    Args:
        size: samples in a full window.

    >>> Pool(1000).tiers["capacity"].tolist()
    [16, 32, 64, 128, 256, 504, 1000]
    """

    __slots__ = ("_slabs", "tiers")

    def __init__(self, size: int) -> None:
        capacities = _capacities(size)
        self.tiers = np.zeros(len(capacities), TIER)
        self.tiers["capacity"] = capacities
        self._slabs: list[list[Slab]] = [[] for _ in capacities]

    def extend(self, tier: int) -> None:
        """Make room in a tier that has none: as much again as it has, within bounds."""
        each = block_bytes(int(self.tiers["capacity"][tier]))
        there = sum(slab.blocks for slab in self._slabs[tier]) * each
        slab = Slab(max(4, min(max(there, MIN_SLAB_BYTES), MAX_SLAB_BYTES) // each), each)
        self._slabs[tier].append(slab)
        self.tiers["fresh"][tier], self.tiers["end"][tier] = slab.start, slab.start + slab.blocks * each

    def allocated(self, samples: int) -> tuple[int, int]:
        """Address and capacity of a block for so many samples."""
        tier = tier_for(self.tiers, samples)
        at = take(self.tiers, tier)
        if not at:
            self.extend(tier)
            at = take(self.tiers, tier)
        return at, int(self.tiers["capacity"][tier])

    def squeeze(self, owners: Records) -> None:
        """Give memory back where a tier has more returned blocks than half of its live ones, and some.

        Args:
            owners: the records that have the blocks, with `at` and `capacity`; what moves is noted there.
        """
        each = block_bytes(1) * self.tiers["capacity"]
        for tier in np.flatnonzero(each * (self.tiers["spare"] - self.tiers["used"] // 2) > SLACK_BYTES).tolist():
            self._compact(tier, int(each[tier]), owners)

    @property
    def held_bytes(self) -> int:
        """Memory of all slabs; what of it was never written to is not resident."""
        sizes = self.tiers["capacity"].tolist()
        return sum(slab.blocks * block_bytes(size) for size, slabs in zip(sizes, self._slabs, strict=True) for slab in slabs)

    def _compact(self, tier: int, each: int, owners: Records) -> None:
        """Let the live blocks of a tier be the first of its smallest slabs, and drop the slabs that are left over.

        As slabs double, what is kept is at most about twice what is needed.
        """
        chosen = self.tiers[tier]
        used = int(chosen["used"])
        slabs = sorted(self._slabs[tier], key=lambda slab: slab.blocks)
        needed = int(np.searchsorted(np.cumsum([slab.blocks for slab in slabs]), used)) + 1 if used else 0
        kept = self._slabs[tier] = slabs[:needed]
        places = [slab.start + each * np.arange(slab.blocks) for slab in kept]
        first = np.concatenate((*places, np.empty(0, np.int64)))[:used]
        live = np.flatnonzero(owners["capacity"] == chosen["capacity"])
        moving = live[~np.isin(owners["at"][live], first)]
        holes = np.setdiff1d(first, owners["at"][live])
        for origin, target in zip(owners["at"][moving].tolist(), holes.tolist(), strict=True):
            ctypes.memmove(target, origin, each)
        owners["at"][moving] = holes
        chosen["returned"], chosen["spare"] = 0, 0
        chosen["fresh"], chosen["end"] = (int(places[-1][0]) + each * kept[-1].blocks,) * 2 if kept else (0, 0)
        chosen["fresh"] -= each * (sum(slab.blocks for slab in kept) - used)


def _capacities(size: int) -> list[int]:
    """Room for a full window, and halves of it in whole cache lines as long as they are worth a block."""
    found = [-(-size // LINE) * LINE]
    while SMALLEST <= (half := -(-found[-1] // (2 * LINE)) * LINE) < found[-1]:
        found.append(half)
    return sorted(found)
