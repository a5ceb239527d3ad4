"""Where the pipeline writes, in memory: it outlives every process, and fails as the weather wants it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import NamedTuple

import numpy as np
from simulated_weather import Weather

from sentinel.core.anomaly import DETECTORS
from sentinel.core.batch import PartitionId, SeriesKey
from sentinel.core.errors import RetryableError
from sentinel.core.ports import StoredMetrics, StoreWrite
from sentinel.core.reject import DeadLetter

Crash = Callable[[], Awaitable[None]]
"""Called behind every lasting effect: may kill the process that had it, and then never returns."""


class Row(NamedTuple):
    """One stored event."""

    event_id: str | None
    name: SeriesKey
    metrics: tuple[float, ...]
    flags: int
    ts_ns: int


class SimulatedStore:
    """A `Store` that several processes share.

    Args:
        weather: its faults.
        crash: see `Crash`.
        atomic: rows and position are one transaction; otherwise the position is a point of its own, written last, and rows that lie
            beyond it are written again.

    Attributes:
        rows: by partition, offset and sub.
        anomalies: by id, offset and detector.
        wrong: promises that were broken.
    """

    def __init__(self, weather: Weather, crash: Crash, *, atomic: bool) -> None:
        self._weather = weather
        self._crash = crash
        self._atomic = atomic
        self.rows: dict[PartitionId, dict[tuple[int, int], Row]] = {}
        self.anomalies: dict[str, tuple[int, str]] = {}
        self.positions: dict[PartitionId, int] = {}
        self.wrong: list[str] = []

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    async def write(self, items: Sequence[StoreWrite]) -> None:
        """Rows, anomalies and positions, as far as the weather lets them through."""
        weather = self._weather
        await weather.delay(slow="store slow")
        if weather.strikes("store down"):
            raise RetryableError("the store is down")
        if weather.strikes("store refuses credentials"):
            raise RetryableError("the store answered 401: see its token")
        if not self._atomic:
            half = weather.strikes("store takes half")
            for item in items:
                self._put_rows(item, share=0.5 if half else 1.0)
            await self._crash()
            if half:
                raise RetryableError("the store took some of it")
            await weather.delay()
        for item in items:
            self._put(item)
        await self._crash()
        if weather.strikes("store loses replies"):
            raise RetryableError("no answer of the store")

    def _put(self, item: StoreWrite) -> None:
        position = self.positions.get(item.source, 0)
        self._put_rows(item)
        if item.next_offset >= position:
            self.anomalies.update({anomaly.id: (anomaly.offset, str(anomaly.detector)) for anomaly in item.tick_anomalies})
        self.positions[item.source] = max(position, item.next_offset)
        self._weather.note(f"stored {item.source} {position} {item.next_offset} {len(item.batch)} {len(item.anomalies)}")

    def _put_rows(self, item: StoreWrite, share: float = 1.0) -> None:
        batch, found, position = item.batch, item.anomalies, self.positions.get(item.source, 0)
        table = self.rows.setdefault(item.source, {})
        for i in range(round(len(batch) * share)):
            offset = int(batch.offsets[i])
            if offset < position:
                continue
            name, ts_ns = batch.names[batch.series[i]], int(batch.ts_ns[i])
            row = Row(batch.event_ids[i], name, tuple(batch.metrics[i].tolist()), int(batch.flags[i]), ts_ns)
            if repr(table.setdefault((offset, int(batch.subs[i])), row)) != repr(row):  # NaN is not equal to itself
                self.wrong.append(f"{item.source} {offset} was stored as two different events")
        for anomaly_id, event, detector in zip(found.ids, found.event.tolist(), found.detector.tolist(), strict=True):
            offset = int(batch.offsets[event])
            if offset >= position:
                self.anomalies[anomaly_id] = (offset, str(DETECTORS[detector]))

    async def position(self, source: PartitionId) -> int | None:
        """The offset after the last stored one."""
        await self._weather.delay()
        if self._weather.strikes("store cannot read"):
            raise RetryableError("the store does not answer")
        position = self.positions.get(source)
        await self._weather.delay(slow="store slow")  # old by the time it arrives
        return position

    async def replay(self, source: PartitionId, from_offset: int) -> AsyncIterator[StoredMetrics]:
        """Rows of one log, in blocks of a few."""
        after = (from_offset, -1)
        while True:
            await self._weather.delay()
            if self._weather.strikes("store breaks off while reading", 0.3):
                raise RetryableError("the store broke off")
            block = sorted(place for place in self.rows.get(source, {}) if place > after)[:40]
            if not block:
                return
            after = block[-1]
            yield self._block(source, block)

    def _block(self, source: PartitionId, places: Sequence[tuple[int, int]]) -> StoredMetrics:
        rows = [self.rows[source][place] for place in places]
        names = list(dict.fromkeys(row.name for row in rows))
        return StoredMetrics(
            offsets=np.array([offset for offset, _ in places], np.int64),
            names=tuple(names),
            series=np.array([names.index(row.name) for row in rows], np.int32),
            metrics=np.array([row.metrics for row in rows]),
            flags=np.array([row.flags for row in rows], np.int32),
            ts_ns=np.array([row.ts_ns for row in rows], np.int64),
            event_ids=[row.event_id for row in rows],
        )


class SimulatedDeadLetters:
    """A sink for dead letters.

    Attributes:
        written: partition, offset, sub and code of each, in order, repeats too.
    """

    def __init__(self, weather: Weather, crash: Crash) -> None:
        self._weather = weather
        self._crash = crash
        self.written: list[tuple[PartitionId, int, int, str]] = []
        self.places: set[tuple[PartitionId, int]] = set()

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    async def write(self, items: Sequence[DeadLetter]) -> None:
        """Keep them."""
        await self._weather.delay()
        if self._weather.strikes("dead letters down"):
            raise RetryableError("the topic of dead letters is away")
        self.written += [(letter.source, letter.offset, letter.sub, letter.code.value) for letter in items]
        self.places.update((letter.source, letter.offset) for letter in items)
        self._weather.note(f"buried {[(str(letter.source), letter.offset) for letter in items]}")
        await self._crash()
        if self._weather.strikes("dead letters lose replies"):
            raise RetryableError("no answer of the topic of dead letters")


_LENGTH_AT, _PREFIX_BYTES = 10, 14
"""Where a checkpoint says how long its header is, and where that begins."""


class SimulatedCheckpoints:
    """A `CheckpointStore` whose disk is not to be trusted."""

    def __init__(self, weather: Weather) -> None:
        self._weather = weather
        self.blobs: dict[str, bytes] = {}

    def put(self, key: str, blob: bytes) -> None:
        """Keep a blob; what the disk makes of it is another matter."""
        weather = self._weather
        weather.arrive()
        if weather.strikes("checkpoints cannot be written"):
            raise RetryableError("no space left on device")
        if weather.strikes("checkpoints are torn"):
            blob = blob[: weather.random.randrange(len(blob))]
        if blob and weather.strikes("checkpoints rot"):
            blob = _rotten(weather, blob)
        others = sorted(other for other in self.blobs if other.split("/")[2] != key.split("/")[2])
        if others and weather.strikes("checkpoints are swapped"):
            blob = self.blobs[weather.random.choice(others)]
        self.blobs[key] = blob
        weather.note(f"saved {key} {len(blob)}")

    def get(self, key: str) -> bytes | None:
        """The blob."""
        self._weather.arrive()
        if self._weather.strikes("checkpoints cannot be read"):
            raise RetryableError("input/output error")
        return self.blobs.get(key)

    def list(self, prefix: str) -> Sequence[str]:
        """Keys with a prefix."""
        self._weather.arrive()
        return sorted(key for key in self.blobs if key.startswith(prefix))

    def delete(self, key: str) -> None:
        """Remove."""
        self._weather.arrive()
        self.blobs.pop(key, None)


def _rotten(weather: Weather, blob: bytes) -> bytes:
    """A few bits are not what they were: among the ids, which come first, or among the windows behind them."""
    spoiled = bytearray(blob)
    windows = _PREFIX_BYTES + int.from_bytes(blob[_LENGTH_AT:_PREFIX_BYTES], "little")
    start, reach = weather.random.choice(((0, windows), (windows, 512)))
    for _ in range(3):
        at = min(start + weather.random.randrange(reach), len(spoiled) - 1)
        spoiled[at] ^= 1 << weather.random.randrange(8)
    return bytes(spoiled)


async def never() -> None:
    """What becomes of a process that is about to be killed."""
    await asyncio.Event().wait()
