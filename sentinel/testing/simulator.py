"""Simulated LLM traffic: any slice of time of an endless, reproducible stream of events, with faults whose labels are known."""

from collections.abc import Iterator, Sequence
from itertools import compress
from typing import Final, NamedTuple

import numpy as np

from sentinel.core.batch import Int64
from sentinel.testing.faults import NS, ActiveFaults, Fault
from sentinel.testing.malformed import spoil
from sentinel.testing.profiles import Fleet, make_fleet
from sentinel.testing.texts import POOL, plant, text_pool
from sentinel.testing.traffic import observe, render

CELL_EVENTS: Final = 8_192
"""Events drawn at a time: enough for numpy to pay, few enough for the processor's cache."""
LONGEST_CELL_NS: Final = 60 * NS
DAY_NS: Final = 86_400 * NS
BUSIEST_NS: Final = 14 * 3_600 * NS

TIMED: Final = 1
LOAD: Final = 2


class Block(NamedTuple):
    """Some events in order of time, side by side: records in the flat dialect, their partition keys, int64[n] times."""

    records: list[bytes]
    keys: list[bytes]
    ts_ns: Int64


class Simulator:
    """LLM traffic of a fleet of services and models: a pure function of the arguments and of the time asked for.

    Traffic of a given time is the same however time is cut into slices: `block(a, b) + block(b, c) == block(a, c)`. So the past can be
    filled in big slices and the present followed in small ones. Not for use by two threads at once (it remembers the last cell drawn).

    Args:
        seed: >= 0. The same seed, settings and times give the same bytes.
        fleet: services and models; four services with three models each by default.
        rate: events per second, as the mean over a day; > 0.
        daily_swing: how far the rate goes above and below that mean in a day (busiest at 14:00 UTC), 0 to 1.
        faults: what goes wrong and when; also the labels. Events that no fault hits stay the same as without faults.
        error_rate: share of requests that fail.
        text_share: share of events that carry prompt and response texts of `text_length` characters.
        planted_share: share of those texts that hold a made-up e-mail address, key, phone or card number.
        malformed_share: share of records that are spoiled and cannot be events.

    >>> simulator = Simulator(seed=1, rate=100.0)
    >>> records = simulator.block(0, 1_000_000_000)
    >>> records[0][:40]
    b'{"event_id":"1-0-0","timestamp":"1970-01'
    """

    def __init__(
        self,
        seed: int,
        *,
        fleet: Fleet | None = None,
        rate: float = 50.0,
        daily_swing: float = 0.2,
        faults: Sequence[Fault] = (),
        error_rate: float = 0.01,
        text_share: float = 0.0,
        text_length: int = 400,
        planted_share: float = 0.02,
        malformed_share: float = 0.0,
    ) -> None:
        if seed < 0 or not 0 < rate < 1e9 or text_length < 0:
            raise ValueError("seed and text_length must not be negative, and rate must lie between 0 and 1e9")
        if not all(0 <= share <= 1 for share in (daily_swing, error_rate, text_share, planted_share, malformed_share)):
            raise ValueError("shares must lie between 0 and 1")
        self.seed = seed
        self.fleet = fleet or make_fleet()
        self.rate = rate
        self.faults = tuple(faults)
        self._daily_swing = daily_swing
        self._error_rate = error_rate
        self._text_share = text_share
        self._text_length = text_length
        self._planted_share = planted_share
        self._malformed_share = malformed_share
        self._cell_ns = max(1_000_000, min(LONGEST_CELL_NS, int(CELL_EVENTS / rate * 1_000) * 1_000_000))
        self._last_cell: tuple[int, Block] | None = None

    def block(self, start_ns: int, end_ns: int) -> list[bytes]:
        """The records of the events from `start_ns` on and before `end_ns`, in order of time; all are held in memory at once."""
        return self.keyed_block(start_ns, end_ns).records

    def keyed_block(self, start_ns: int, end_ns: int) -> Block:
        """As `block`, with partition keys and times. Raises ValueError for times before 1970."""
        if start_ns < 0:
            raise ValueError("simulated time starts in 1970")
        parts = [self._cell(index) for index in range(start_ns // self._cell_ns, -(-end_ns // self._cell_ns))] if end_ns > start_ns else []
        return _join([_between(part, start_ns, end_ns) for part in parts])

    def events(self, n: int, start_ns: int, spacing_ns: int) -> Iterator[list[bytes]]:
        """The records of exactly `n` events, in lists of some thousands, as fast as they can be made: see `keyed_events`."""
        return (block.records for block in self.keyed_events(n, start_ns, spacing_ns))

    def keyed_events(self, n: int | None, start_ns: int, spacing_ns: int) -> Iterator[Block]:
        """Exactly `n` events (None: without end), the first at `start_ns`, one every `spacing_ns` whatever the rate.

        Events that a traffic drop takes away leave their places empty; the stream goes on until `n` have come.
        """
        left = n
        index = 0
        while left is None or left > 0:
            first = start_ns + index * CELL_EVENTS * spacing_ns
            ts_ns = first + np.arange(CELL_EVENTS, dtype=np.int64) * spacing_ns
            block = self._draw(self._rng(LOAD, index), ts_ns, f"{self.seed:x}-{start_ns:x}-{index:x}")
            index += 1
            if left is not None:
                block = head_of(block, left)
                left -= len(block.records)
            yield block

    def _cell(self, index: int) -> Block:
        """All events of one cell of the time grid; the last one is remembered for those who follow time in small slices."""
        if self._last_cell is not None and self._last_cell[0] == index:
            return self._last_cell[1]
        rng = self._rng(TIMED, index)
        start_ns = index * self._cell_ns
        phase = 2 * np.pi * ((start_ns + self._cell_ns // 2 - BUSIEST_NS) % DAY_NS) / DAY_NS
        expected = self.rate * self._cell_ns / NS * (1 + self._daily_swing * np.cos(phase))
        ts_ns = start_ns + np.sort(rng.integers(self._cell_ns, size=rng.poisson(expected)))
        block = self._draw(rng, ts_ns, f"{self.seed:x}-{start_ns // 1_000_000:x}")
        self._last_cell = (index, block)
        return block

    def _rng(self, stream: int, index: int) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence([self.seed, stream, index])))

    def _draw(self, rng: np.random.Generator, ts_ns: Int64, id_prefix: str) -> Block:
        """One event at each of the times, less those that a fault silences."""
        n = len(ts_ns)
        fleet = self.fleet
        which, texts, planted, spoiled = rng.random((4, n))
        prompt_noise, completion_noise = rng.standard_normal((2, n))
        series = np.searchsorted(fleet.cumulative, which, side="right").astype(np.int64)
        prompt = fleet.prompt_tokens[series] * np.exp(0.5 * prompt_noise)
        completion = fleet.completion_tokens[series] * np.exp(0.45 * completion_noise)
        faults = ActiveFaults(self.faults, fleet.series, ts_ns, series)
        requests = observe(fleet, ts_ns, series, prompt, completion, faults, rng, self._error_rate)

        lines = render(requests, fleet.heads, rng, id_prefix)
        with_text = np.flatnonzero((texts < self._text_share) | requests.leaking)
        with_plant = (planted < self._planted_share) | requests.leaking
        for i in with_text.tolist():
            lines[i] = self._add_texts(lines[i], int(which[i] * 1e9), plant_it=bool(with_plant[i]))
        records = "\n".join(lines).encode().split(b"\n") if n else []
        for i in np.flatnonzero(spoiled < self._malformed_share).tolist():
            records[i] = spoil(records[i], int(which[i] * 1e9))

        keys = list(map(fleet.keys.__getitem__, series.tolist()))
        if requests.silenced.any():
            arrived = ~requests.silenced
            return Block(list(compress(records, arrived)), list(compress(keys, arrived)), ts_ns[arrived])
        return Block(records, keys, ts_ns)

    def _add_texts(self, line: str, choice: int, *, plant_it: bool) -> str:
        """The line with texts from the pools; what is planted depends on the event's own number, so no stream of draws is disturbed."""
        prompt = text_pool(self.seed, self._text_length, 0)[choice % POOL]
        response = text_pool(self.seed, self._text_length, 1)[choice // POOL % POOL]
        if plant_it:
            response = plant(response, np.random.Generator(np.random.PCG64(choice)))
        return f'{line[:-1]},"prompt_text":"{prompt}","response_text":"{response}"}}'


def head_of(block: Block, n: int) -> Block:
    """The first `n` events of a block, or all when there are fewer."""
    return block if n >= len(block.records) else Block(block.records[:n], block.keys[:n], block.ts_ns[:n])


def _between(block: Block, start_ns: int, end_ns: int) -> Block:
    first, last = np.searchsorted(block.ts_ns, (start_ns, end_ns)).tolist()
    return (
        block if last - first == len(block.records) else Block(block.records[first:last], block.keys[first:last], block.ts_ns[first:last])
    )


def _join(blocks: Sequence[Block]) -> Block:
    """One block of all, in order; copies so that a remembered cell cannot be changed by who receives it."""
    return Block(
        [record for block in blocks for record in block.records],
        [key for block in blocks for key in block.keys],
        np.concatenate([block.ts_ns for block in blocks]) if blocks else np.zeros(0, np.int64),
    )
