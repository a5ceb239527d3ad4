"""Shared by the tests of the InfluxDB store: stores over a double, and what a pipeline does with refusals."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import numpy as np

from sentinel.config.schema import InfluxDB
from sentinel.config.secret import Secret
from sentinel.core.errors import RetryableError
from sentinel.core.ports import StoreWrite
from sentinel.core.refusal import Refusal, RefusedError
from sentinel.observability.metrics import Metrics
from sentinel.storage.influx import InfluxStore
from sentinel.storage.influx_points import EVENTS
from sentinel.testing.fakes import ManualClock
from sentinel.testing.influx_double import InfluxDouble
from sentinel.testing.store_events import SECOND_NS, START_NS, events, write_of

T = TypeVar("T")

TOKEN = "secret-token-of-the-double"
TELEMETRY, ANOMALIES = "telemetry", "anomalies"


def section_of(double: InfluxDouble, **keys: object) -> InfluxDB:
    """The configuration of a store over a double."""
    return InfluxDB.model_validate({"url": double.url, "token": Secret(TOKEN), **keys})


@asynccontextmanager
async def opened(double: InfluxDouble, metrics: Metrics | None = None, **keys: object) -> AsyncIterator[InfluxStore]:
    """An open store over a double."""
    store = InfluxStore(section_of(double, **keys), ManualClock(START_NS), metrics or Metrics())
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def stored(double: InfluxDouble) -> int:
    """Events at the double."""
    return double.rows(TELEMETRY, EVENTS)


async def written(store: InfluxStore, write: StoreWrite, pause_s: float = 0.01) -> tuple[list[Refusal], list[RetryableError]]:
    """Write until it is done, as a pipeline does: again after failures, without the refused events once they are known.

    Returns:
        The refusals and the failures met on the way.
    """
    refusals: list[Refusal] = []
    failures: list[RetryableError] = []
    while True:
        try:
            await store.write([write])
        except RefusedError as error:
            refusals += error.refusals
            write = without(write, error.refusals)
        except RetryableError as error:
            failures.append(error)
            await asyncio.sleep(pause_s)
        else:
            return refusals, failures


async def answered(question: Callable[[], Awaitable[T]], pause_s: float = 0.05) -> T:
    """The answer, once the server can be asked again."""
    while True:
        try:
            return await question()
        except RetryableError:
            await asyncio.sleep(pause_s)


def without(write: StoreWrite, refusals: Sequence[Refusal]) -> StoreWrite:
    """The write without refused events; they have no anomalies here."""
    bad = {(refusal.offset, refusal.sub) for refusal in refusals}
    places = zip(write.batch.offsets.tolist(), write.batch.subs.tolist(), strict=True)
    kept = write.batch.take(np.array([place not in bad for place in places]))
    return StoreWrite(kept, write.anomalies, write.source, write.next_offset)


def plain(count: int = 5_000, first: int = 0) -> StoreWrite:
    """Events at consecutive offsets, a second apart, the same however the log is cut."""
    return write_of(events(count, first=first, start_ns=START_NS + first * SECOND_NS), next_offset=first + count)
