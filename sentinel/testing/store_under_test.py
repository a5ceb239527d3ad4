"""A store as its checks see it: both of its sides, opened for a while, and its events over all pages."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol

from sentinel.core.ports import Query, Store
from sentinel.core.query import SeriesFilter, TelemetryQuery, TimeRange
from sentinel.testing.store_events import START_NS

ALL_TIME: Final = TimeRange(0, START_NS + 10**18)
ANY: Final = SeriesFilter()


class StoreUnderTest(Store, Query, Protocol):
    """Both sides of a store."""


StoreFactory = Callable[[], StoreUnderTest]
Check = Callable[[StoreFactory], Awaitable[None]]


@asynccontextmanager
async def opened(make: StoreFactory) -> AsyncIterator[StoreUnderTest]:
    """An open store, closed afterwards."""
    store = make()
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def stored_events(
    store: StoreUnderTest, *, span: TimeRange = ALL_TIME, series: SeriesFilter = ANY, limit: int = 1_000
) -> list[dict[str, Any]]:
    """All stored events that match, over all pages of `limit`."""
    found: list[dict[str, Any]] = []
    cursor = None
    while True:
        page = await store.telemetry(TelemetryQuery(range=span, series=series, limit=limit, cursor=cursor))
        found += page.items
        cursor = page.next_cursor
        if cursor is None:
            return found


async def stored_offsets(store: StoreUnderTest, *, span: TimeRange = ALL_TIME, series: SeriesFilter = ANY, limit: int = 1_000) -> list[int]:
    """Offsets of all stored events that match, in the store's order."""
    return [event["offset"] for event in await stored_events(store, span=span, series=series, limit=limit)]


async def expect_refused(question: Awaitable[object], what: str) -> None:
    """Raise AssertionError unless the question raises ValueError with some words."""
    try:
        await question
    except ValueError as error:
        if not str(error):
            raise AssertionError(f"{what}: refused without a word") from error
        return
    raise AssertionError(f"{what}: not refused")
