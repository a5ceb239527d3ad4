"""What the embedded store promises beyond the conformance suite: its file, its failures, its limits and its retention."""

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sentinel.config.schema import Embedded
from sentinel.core.anomaly import DetectorName
from sentinel.core.batch import Dimensions, SeriesKey
from sentinel.core.errors import PermanentError, RetryableError, StartupError
from sentinel.core.metrics import LATENCY
from sentinel.core.query import AnomalyQuery, SeriesFilter, SeriesQuery, TelemetryQuery
from sentinel.storage import database, reader, schema
from sentinel.storage.database import ReadTimeLimitError
from sentinel.storage.embedded import EmbeddedStore
from sentinel.testing.store_events import CHAT, LOG, SEARCH, SECOND_NS, START_NS, anomalies, events, write_of
from sentinel.testing.store_under_test import ALL_TIME, opened, stored_events, stored_offsets

HOUR_NS = 3_600 * SECOND_NS


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database goes; its directory does not exist yet."""
    return tmp_path / "state" / "sentinel.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[EmbeddedStore]:
    """An open store."""
    opened_store = EmbeddedStore(Embedded(), path)
    await opened_store.open()
    yield opened_store
    await opened_store.close()


def test_constructor_does_nothing(path: Path) -> None:
    """Nothing exists and nothing runs before open."""
    EmbeddedStore(Embedded(), path)
    assert not path.parent.exists()


async def test_failed_background_fold_is_told_and_tried_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rollups that cannot be written now follow later; nothing runs on after close."""
    store = EmbeddedStore(Embedded(rollup_interval_secs=0.001), path)
    await store.open()
    tried = asyncio.Event()

    def refuse() -> None:
        asyncio_loop.call_soon_threadsafe(tried.set)
        raise RetryableError("the disk is full")

    asyncio_loop = asyncio.get_running_loop()
    with monkeypatch.context() as patch:
        patch.setattr(store._writer, "fold", refuse)
        await store.write([write_of(events(3))])
        await tried.wait()
        tried.clear()
        await tried.wait()
    await store.close()
    assert store._fold_timer is None
    async with opened(lambda: EmbeddedStore(Embedded(), path)) as again:
        (traffic,) = await again.timeseries(SeriesQuery(range=ALL_TIME))
        assert sum(point.requests for point in traffic.points) == 3


async def test_use_before_open_says_so(path: Path) -> None:
    """A closed store answers with a sentence, not with an attribute error."""
    store = EmbeddedStore(Embedded(), path)
    with pytest.raises(RuntimeError, match="is not open"):
        await store.write([])
    with pytest.raises(RuntimeError, match="is not open"):
        await store.counts()


# ---------------------------------------------------------------------------------------------------------------- the file


async def test_nobody_else_may_read_the_files(store: EmbeddedStore, path: Path) -> None:
    """Directory and files are the daemon's user's alone, the write-ahead log included."""
    await store.write([write_of(events(3))])
    assert path.parent.stat().st_mode & 0o077 == 0
    for file in path.parent.iterdir():
        assert file.stat().st_mode & 0o077 == 0, file.name


async def test_two_daemons_cannot_share_a_file(store: EmbeddedStore, path: Path) -> None:
    """A second opener is refused with the holder's process id, in this process and in another."""
    with pytest.raises(StartupError, match=rf"{path} is in use by process {os.getpid()}; stop that daemon"):
        await EmbeddedStore(Embedded(), path).open()
    code = (
        "import asyncio, sys; from pathlib import Path; from sentinel.config.schema import Embedded\n"
        "from sentinel.storage.embedded import EmbeddedStore; from sentinel.core.errors import StartupError\n"
        "try: asyncio.run(EmbeddedStore(Embedded(), Path(sys.argv[1])).open())\n"
        "except StartupError: sys.exit(7)"
    )
    other = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", code, str(path)], check=False)
    assert other.returncode == 7
    await store.write([write_of(events(1))])


async def test_lock_is_given_back(path: Path) -> None:
    """After close, and after a failed open, the file can be opened again."""
    for _ in range(2):
        async with opened(lambda: EmbeddedStore(Embedded(), path)):
            pass
    await asyncio.to_thread(path.write_bytes, b"garbage" * 1_000)
    for _ in range(2):
        with pytest.raises(StartupError, match="not a database"):
            await EmbeddedStore(Embedded(), path).open()


async def test_newer_format_is_refused(path: Path) -> None:
    """A file of a newer version is left alone, with the cure."""
    async with opened(lambda: EmbeddedStore(Embedded(), path)):
        pass
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {schema.FORMAT + 1}")
    connection.close()
    with pytest.raises(StartupError, match=rf"has format {schema.FORMAT + 1}, this version knows formats up to {schema.FORMAT}; start the"):
        await EmbeddedStore(Embedded(), path).open()


async def test_foreign_database_is_refused(path: Path) -> None:
    """Another program's database is not written into."""
    path.parent.mkdir()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE accounts (id)")
    connection.close()
    with pytest.raises(StartupError, match="database of another program"):
        await EmbeddedStore(Embedded(), path).open()


async def test_unusable_places_are_named(tmp_path: Path) -> None:
    """A directory in the place of the file and a file in the place of the directory are startup errors."""
    (tmp_path / "sentinel.db").mkdir()
    with pytest.raises(StartupError, match=r"cannot open .*sentinel.db: .*; "):
        await EmbeddedStore(Embedded(), tmp_path / "sentinel.db").open()
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StartupError, match=r"cannot open .*give the daemon's user write access"):
        await EmbeddedStore(Embedded(), tmp_path / "file" / "sentinel.db").open()


def _overwrite(path: Path, from_byte: int) -> None:
    """Put random bytes in the place of everything behind the file's header."""
    with path.open("r+b") as file:
        file.seek(from_byte)
        file.write(os.urandom(path.stat().st_size - from_byte))


async def test_damage_is_never_an_empty_store(path: Path) -> None:
    """A file whose pages were overwritten is refused or retryable, and no event is given up for it."""
    async with opened(lambda: EmbeddedStore(Embedded(), path)) as store:
        await store.write([write_of(events(2_000))])
    await asyncio.to_thread(_overwrite, path, 100)
    with pytest.raises(StartupError, match="damaged"):
        await EmbeddedStore(Embedded(), path).open()


# ------------------------------------------------------------------------------------------------------------ failed writes


async def test_full_disk_is_retryable_and_stores_nothing(store: EmbeddedStore) -> None:
    """A full disk stores nothing of a write, names the cure, and the same write succeeds once there is room."""
    await store.write([write_of(events(10))])
    connection = store._writer._open_connection()
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 5}")
    large = [write_of(events(5_000, first=10))]
    for _ in range(2):
        with pytest.raises(RetryableError, match=r"cannot write .*sentinel.db: the disk is full; free space"):
            await store.write(large)
    assert await store.position(LOG) == 10
    connection.execute("PRAGMA max_page_count = 1000000")
    await store.write(large)
    await store.fold()
    counts = await store.counts()
    assert (counts.events, counts.rollup_waiting, await store.position(LOG)) == (5_010, 0, 5_010)
    (traffic,) = await store.timeseries(SeriesQuery(range=ALL_TIME))
    assert sum(point.requests for point in traffic.points) == 5_010


async def test_foreign_write_lock_is_retryable(store: EmbeddedStore, path: Path) -> None:
    """Another program's transaction delays a write; it does not lose it."""
    store._writer._open_connection().execute("PRAGMA busy_timeout = 1")
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(RetryableError, match="another program holds the file's write lock"):
            await store.write([write_of(events(3))])
        other.execute("ROLLBACK")
    other.close()
    await store.write([write_of(events(3))])
    assert (await store.counts()).events == 3


async def test_impossible_rows_are_permanent_and_all_or_nothing(store: EmbeddedStore) -> None:
    """Rows that contradict themselves are refused for good, with every other row of the same call."""
    twice = events(3, first=10)
    twice.offsets[2] = 11
    unreadable = replace(events(1), event_ids=["\ud800"])
    beyond = write_of(events(3), next_offset=2)
    for bad in ([write_of(events(3)), write_of(twice)], [write_of(unreadable)], [beyond]):
        with pytest.raises(PermanentError):
            await store.write(bad)
    assert (await store.counts()).events == 0
    assert await store.position(LOG) is None


async def test_writes_go_on_from_many_callers(store: EmbeddedStore) -> None:
    """Reads during writes see whole writes only."""

    async def write_all() -> None:
        for first in range(0, 2_000, 100):
            await store.write([write_of(events(100, first=first, start_ns=START_NS + first * SECOND_NS))])

    async def read_all() -> list[int]:
        return [len(await stored_offsets(store)) for _ in range(20)]

    _, *seen = await asyncio.gather(write_all(), read_all(), read_all())
    assert all(count % 100 == 0 for counts in seen for count in counts)
    assert (await store.counts()).events == 2_000


async def test_more_series_than_are_remembered(store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory of series numbers is bounded; forgetting costs a look-up, never a wrong name."""
    monkeypatch.setattr("sentinel.storage.names.REMEMBERED", 10)
    names = tuple(SeriesKey("default", f"service-{i}", "m") for i in range(50))
    for first in (0, 50, 100):
        await store.write([write_of(events(50, first=first, names=names))])
    assert len(store._writer._series._known) <= 10
    for i in (0, 9, 49):
        assert await stored_offsets(store, series=SeriesFilter(service=f"service-{i}")) == [100 + i, 50 + i, i]


async def test_dimensions_go_with_the_last_event_that_has_them(store: EmbeddedStore) -> None:
    """Sets of dimensions are named once, and deleted with their events: hostile values cannot fill the file for ever."""
    for first in (0, 50):
        sets = tuple(Dimensions(finish_reason=f"reason-{first + i}") for i in range(50))
        batch = events(50, first=first, start_ns=START_NS + first * SECOND_NS)
        await store.write([write_of(replace(batch, dimension_sets=sets, dimensions=np.arange(50, dtype=np.int32)))])
    later = START_NS + 50 * SECOND_NS + int(store.section.telemetry_retention_hours * 3_600e9)
    assert await store.prune(later) >= 50
    with sqlite3.connect(store.path) as connection:
        left = {json.loads(names)["finish_reason"] for (names,) in connection.execute("SELECT names FROM dimensions")}
    connection.close()
    assert left == {f"reason-{i}" for i in range(50, 100)}
    assert {event["finish_reason"] for event in await stored_events(store)} == left


async def test_an_anomaly_is_found_by_its_id_after_all_older_ones_are_deleted(store: EmbeddedStore) -> None:
    """Numbers of deleted anomalies are given again: the index of ids must not take the new ones for known."""
    old = events(10)
    await store.write([write_of(old, anomalies(old, [(i, LATENCY, DetectorName.ZSCORE, 1) for i in range(10)]))])
    kept_for_ns = int(max(store.section.telemetry_retention_hours, store.section.anomaly_retention_hours) * 3_600e9)
    later = START_NS + 11 * SECOND_NS + kept_for_ns
    await store.prune(later)
    new = events(1, first=10, start_ns=later)
    found = anomalies(new, [(0, LATENCY, DetectorName.ZSCORE, 1)])
    await store.write([write_of(new, found)])
    assert await store.anomaly(found.ids[0]) is not None
    await store.fold()
    assert await store.anomaly(found.ids[0]) is not None


async def test_a_file_of_the_first_format_is_brought_up_to_date(path: Path) -> None:
    """Events that were stored before dimensions had their own table keep all their fields."""
    path.parent.mkdir()
    connection = sqlite3.connect(path)
    for statement in schema.MIGRATIONS[0]:
        connection.execute(statement)
    connection.execute("INSERT INTO logs VALUES (1, 'kafka', 'llm.telemetry', 0, 8, 8)")
    connection.execute("INSERT INTO series VALUES (1, 'default', 'chat', 'm', 1, 1)")
    extra = '{"trace_id":"t-1","provider":"openai"}'
    connection.execute("INSERT INTO events VALUES (1, 7, 0, 5, 1, 1, 2, 3, 4, 5, 9, 0.1, 0, 0, 0, 'e', 't-1', ?)", (extra,))
    connection.execute("INSERT INTO anomalies VALUES ('a-1', 5, 1, 0, 0, 1, 1, 2, 1, 1, 1, 1, 1, 10, 100, 1, 7, 0, 'e', 't-1')")
    connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
    connection.execute("PRAGMA user_version = 1")
    connection.commit()
    connection.close()
    async with opened(lambda: EmbeddedStore(Embedded(), path)) as store:
        (event,) = await stored_events(store)
        found = await store.anomaly("a-1")
    assert found is not None
    assert (found.value, found.event_id) == (1.0, "e")
    assert (event["event_id"], event["trace_id"], event["provider"], event["latency_ms"]) == ("e", "t-1", "openai", 1.0)


# ------------------------------------------------------------------------------------------------------------------- limits


async def test_slow_reads_are_stopped(path: Path) -> None:
    """A read beyond its time limit ends with an error that names the cure; the connection stays usable."""
    store = EmbeddedStore(Embedded(), path, read_limit_s=0.0)
    await store.open()
    for first in range(0, 20_000, 5_000):
        await store.write([write_of(events(5_000, first=first))])
    with pytest.raises(ReadTimeLimitError, match="stopped after 0 s; ask for a shorter time range"):
        await store.telemetry(TelemetryQuery(range=ALL_TIME, limit=10_000, series=SeriesFilter(service="chat-api")))
    assert await store.position(LOG) == 20_000
    await store.close()


async def test_large_pages_end_early(store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of large events stops at its byte limit and goes on with the next one."""
    monkeypatch.setattr(reader, "MAX_PAGE_BYTES", 3_000)
    batch = events(20)
    batch = replace(batch, extra=[b'{"x":"%s"}' % (b"y" * 1_000)] * 20)
    await store.write([write_of(batch)])
    page = await store.telemetry(TelemetryQuery(range=ALL_TIME, limit=100))
    assert len(page.items) == 3
    assert await stored_offsets(store) == list(range(19, -1, -1))


async def test_altered_cursors_are_refused(store: EmbeddedStore) -> None:
    """Only the very text that was given is a cursor."""
    await store.write([write_of(events(3))])
    cursor = (await store.telemetry(TelemetryQuery(range=ALL_TIME, limit=1))).next_cursor
    assert cursor is not None
    for altered in (cursor + "=", cursor + "\n", "Ag" + cursor[2:], cursor[:-1], cursor * 2):
        with pytest.raises(ValueError, match="the cursor is"):
            await store.telemetry(TelemetryQuery(range=ALL_TIME, cursor=altered))


async def test_answers_with_too_many_points_are_refused(store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A question whose answer would be too large names what to change."""
    monkeypatch.setattr("sentinel.storage.traffic.MAX_POINTS", 10)
    await store.write([write_of(events(100, step_ns=60 * SECOND_NS))])
    await store.fold()
    with pytest.raises(ValueError, match="more than 10 points; choose a larger step_s"):
        await store.timeseries(SeriesQuery(range=ALL_TIME))
    (traffic,) = await store.timeseries(SeriesQuery(range=ALL_TIME, step_s=3_600))
    assert sum(point.requests for point in traffic.points) == 100


async def test_filters_and_order_come_from_the_index_alone(store: EmbeddedStore) -> None:
    """Pages walk the time index in its own order: no table row is read that is not in the answer, nothing is sorted."""
    connection = store._writer._open_connection()
    condition, parameters = reader.series_condition(SeriesFilter(service="x"))
    statement = reader._PAGE.format(matching=condition + reader._AFTER)
    parameters |= {"start": 0, "end": 9, "limit": 5, "ts_ns": 1, "part": 1, "off": 1, "sub": 1}
    plan = [row[3] for row in connection.execute("EXPLAIN QUERY PLAN " + statement, parameters)]
    assert plan[0] == "SEARCH events USING COVERING INDEX events_by_time (ts_ns>? AND ts_ns<?)"
    assert not any("TEMP B-TREE" in step for step in plan)


def test_every_sqlite_failure_has_words() -> None:
    """Also a failure nobody foresaw names itself."""
    assert "look at the system's log" in database.cure_of(sqlite3.OperationalError("something new"))


# ---------------------------------------------------------------------------------------------------------------- retention


async def test_prune_deletes_what_is_too_old_and_nothing_else(path: Path) -> None:
    """Events, anomalies and rollups go by their own ages; positions, newer rows and their traffic stay."""
    section = Embedded(telemetry_retention_hours=1, anomaly_retention_hours=2, rollup_retention_hours=3)
    batch = events(5 * 3_600)
    found = anomalies(batch, [(i, LATENCY, DetectorName.ZSCORE, 0) for i in range(0, len(batch), 60)])
    now_ns = START_NS + 5 * HOUR_NS
    async with opened(lambda: EmbeddedStore(section, path)) as store:
        assert isinstance(store, EmbeddedStore)
        await store.write([write_of(batch, found)])
        deleted = await store.prune(now_ns)
        left = await store.counts()
        assert left.events == 3_600
        assert left.anomalies == 120
        assert min(await stored_offsets(store)) == 4 * 3_600
        assert len(await store.anomalies(AnomalyQuery(range=ALL_TIME, limit=10_000))) == 120
        (traffic,) = await store.timeseries(SeriesQuery(range=ALL_TIME))
        assert len(traffic.points) == 3 * 60
        assert sum(point.requests for point in traffic.points) == 3 * 3_600
        assert deleted == 4 * 3_600 + 3 * 60 + 2 * 2 * 60  # a minute has one rollup of its series and one of all together
        assert await store.prune(now_ns) == 0
        assert await store.position(LOG) == len(batch)
        assert [seen.events for seen in await store.series()] == [len(batch)]


async def test_pruned_rows_are_in_the_rollups_first(path: Path) -> None:
    """An event that is too old on arrival is counted in the traffic, whether or not the rollups had followed."""
    async with opened(lambda: EmbeddedStore(Embedded(rollup_interval_secs=3_600), path)) as store:
        assert isinstance(store, EmbeddedStore)
        await store.write([write_of(events(100))])
        assert await store.prune(START_NS + 200 * HOUR_NS) == 100
        (traffic,) = await store.timeseries(SeriesQuery(range=ALL_TIME))
        assert sum(point.requests for point in traffic.points) == 100


async def test_writes_go_on_while_pruning(path: Path) -> None:
    """Deleting is cut into steps; events written meanwhile are stored."""
    async with opened(lambda: EmbeddedStore(Embedded(), path)) as store:
        assert isinstance(store, EmbeddedStore)
        await store.write([write_of(events(10_000))])
        pruning = asyncio.ensure_future(store.prune(START_NS + 10_000 * HOUR_NS))
        fresh = events(10, first=10_000, start_ns=START_NS + 10_000 * HOUR_NS)
        await store.write([write_of(fresh)])
        await pruning
        assert sorted(await stored_offsets(store)) == list(range(10_000, 10_010))


async def test_forgotten_series_come_back_right(path: Path) -> None:
    """A series without any row is forgotten; one that returns later has its own name and no other's rows."""
    old, late = SeriesKey("default", "old", "m"), START_NS + 100_000 * HOUR_NS
    async with opened(lambda: EmbeddedStore(Embedded(), path)) as store:
        assert isinstance(store, EmbeddedStore)
        await store.write([write_of(events(5, names=(old,)))])
        await store.write([write_of(events(5, first=5, start_ns=late))])
        await store.prune(late)
        assert [seen.service for seen in await store.series()] == ["chat-api"]
        await store.write([write_of(events(2, first=10, start_ns=late, names=(SeriesKey("default", "new", "m"), old)))])
        assert await stored_offsets(store, series=SeriesFilter(service="old")) == [11]
        assert await stored_offsets(store, series=SeriesFilter(service="new")) == [10]


async def test_free_pages_are_given_back(path: Path) -> None:
    """After most rows are gone the file shrinks."""
    async with opened(lambda: EmbeddedStore(Embedded(), path)) as store:
        assert isinstance(store, EmbeddedStore)
        await store.write([write_of(events(20_000))])
        before = (await store.counts()).database_bytes
        await store.prune(START_NS + 10_000 * HOUR_NS)
        assert (await store.counts()).database_bytes < before / 2


async def test_series_listing(store: EmbeddedStore) -> None:
    """Known series come with their last event and count, the most recent first."""
    batch = events(10, names=(CHAT, SEARCH))
    batch.ts_ns[:] = batch.ts_ns[::-1].copy()
    await store.write([write_of(batch)])
    await store.fold()
    first, second = await store.series()
    assert (first.service, first.last_seen, first.events) == ("chat-api", "2026-01-15T10:30:09.123Z", 5)
    assert (second.service, second.last_seen, second.events) == ("search", "2026-01-15T10:30:08.123Z", 5)
    assert len(await store.series(limit=1)) == 1


async def test_integral_counts_are_integers(store: EmbeddedStore) -> None:
    """Token counts come back as integers, absent numbers as None."""
    batch = events(1)
    batch.metrics[0, 5] = 2.5
    await store.write([write_of(batch)])
    (event,) = (await store.telemetry(TelemetryQuery(range=ALL_TIME))).items
    assert (event["prompt_tokens"], type(event["prompt_tokens"])) == (0, int)
    assert event["total_tokens"] == 2.5
    assert event["completion_tokens"] is None
    assert np.isfinite(event["latency_ms"])
