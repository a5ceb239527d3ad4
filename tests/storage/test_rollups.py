"""Rollups count every stored event exactly once, whatever happens in between."""

import asyncio
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel.config.schema import Embedded
from sentinel.core.batch import CleanBatch, SeriesKey
from sentinel.core.metrics import COST, LATENCY, METRIC_NAMES, TOTAL_TOKENS
from sentinel.core.query import SeriesQuery
from sentinel.storage import rollup, rollup_rows, sketch
from sentinel.storage.embedded import EmbeddedStore
from sentinel.storage.rollup import MINUTE_NS, Rollups
from sentinel.storage.writer import Writer
from sentinel.testing.store_events import CHAT, LOG, SEARCH, START_NS, events, write_of
from sentinel.testing.store_under_test import ALL_TIME, opened

NAMES = (CHAT, SEARCH, SeriesKey("acme", "batch", "small"))


def spread(count: int, first: int, seed: int = 0) -> CleanBatch:
    """Events of a few minutes and series with absent and odd values."""
    batch = events(count, first=first, names=NAMES)
    random = np.random.default_rng([seed, first])
    batch.ts_ns[:] = START_NS + random.integers(-3, 3, count) * MINUTE_NS
    batch.series[:] = random.integers(0, len(NAMES), count)
    batch.metrics[:, LATENCY] = random.lognormal(6, 1, count)
    batch.metrics[:, TOTAL_TOKENS] = random.integers(0, 5_000, count)
    batch.metrics[random.random(count) < 0.2, LATENCY] = np.nan
    batch.metrics[random.random(count) < 0.05, COST] = 1e300
    return batch


def stored(path: Path) -> tuple[list[tuple[object, ...]], Rollups]:
    """The rollup rows of a file, and the rollups recomputed from its event rows alone."""
    connection = sqlite3.connect(path)
    rows = connection.execute(f"SELECT {rollup_rows.COLUMNS} FROM rollups ORDER BY minute, series").fetchall()
    raw = connection.execute(f"SELECT ts_ns, series, {', '.join(METRIC_NAMES)} FROM events").fetchall()
    connection.close()
    keys = np.array([row[:2] for row in raw], dtype=np.int64).reshape(-1, 2)
    metrics = np.array([row[2:] for row in raw], dtype=np.float64).reshape(-1, len(METRIC_NAMES))
    return rows, rollup.with_everything(rollup.fold(keys[:, 0] // MINUTE_NS, keys[:, 1], metrics))


def assert_exact(path: Path) -> None:
    """The stored rollups are those of the stored rows."""
    rows, expected = stored(path)
    wanted = list(rollup_rows.to_rows(expected))
    assert len(rows) == len(wanted)
    for row, want in zip(rows, wanted, strict=True):
        assert _numbers(row) == pytest.approx(_numbers(want), rel=1e-9, nan_ok=True)
        assert [a for a in row if isinstance(a, bytes)] == [b for b in want if isinstance(b, bytes)]


def _numbers(row: tuple[object, ...]) -> list[float]:
    """A row without its sketches; NULL is NaN."""
    return [np.nan if number is None else number for number in row[: -len(rollup.SKETCHED)]]  # type: ignore[misc]  # all numbers


def crash_image(path: Path, to: Path) -> Path:
    """What a kill at this instant leaves on disk: the file and its write-ahead log, without shared memory and locks."""
    to.mkdir()
    for name in (path.name, path.name + "-wal"):
        if (path.parent / name).exists():
            shutil.copy(path.parent / name, to / name)
    return to / path.name


def reopened(path: Path) -> None:
    """Open and close, as the next start does."""
    writer = Writer(path, "normal")
    writer.open()
    writer.close()


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    """An open writer."""
    opened = Writer(tmp_path / "live" / "sentinel.db", "normal")
    opened.open()
    yield opened
    opened.close()


def test_kill_at_any_statement_loses_and_doubles_nothing(writer: Writer, tmp_path: Path) -> None:
    """Whatever statement the process dies at, the next start has whole writes only and exact rollups."""
    images: list[Path] = []
    connection = writer._open_connection()
    connection.set_trace_callback(lambda _: images.append(crash_image(writer.path, tmp_path / f"kill-{len(images)}")))
    for first in range(0, 60, 20):
        writer.write([write_of(spread(20, first)), write_of(spread(20, first).take(np.ones(20, dtype=np.bool_)))])
        if first != 20:
            writer.fold()
    connection.set_trace_callback(None)
    assert len(images) > 50
    seen = set()
    for image in images[:: max(1, len(images) // 60)]:
        reopened(image)
        with sqlite3.connect(image) as check:
            ((count,),) = check.execute("SELECT count(*) FROM events").fetchall()
            position = check.execute("SELECT position FROM logs").fetchone()
            assert check.execute("SELECT events FROM totals").fetchone() == (count,)
            assert check.execute("SELECT sum(events) FROM series").fetchone() == (count or None,)
        check.close()
        assert count == (position[0] if position else 0)
        seen.add(count)
        if count:
            assert_exact(image)
    assert seen == {0, 20, 40, 60}


KILLED = """
import sys
from pathlib import Path
from sentinel.storage.writer import Writer
from sentinel.testing.store_events import events, write_of
writer = Writer(Path(sys.argv[1]), "normal")
writer.open()
for first in range(0, 10_000_000, 50):
    writer.write([write_of(events(50, first=first))])
    if first % 350 == 0:
        writer.fold()
    print(first + 50, flush=True)
"""


def test_sigkill_while_writing(tmp_path: Path) -> None:
    """After a real SIGKILL everything that was confirmed is there, once, and the rollups are exact."""
    path = tmp_path / "sentinel.db"
    with subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for confirmed in process.stdout:
            if int(confirmed) >= 3_000:
                break
        process.kill()
        confirmed = [confirmed, *process.stdout][-1]
    reopened(path)
    assert_exact(path)
    rows, _ = stored(path)
    assert sum(row[2] for row in rows if row[1] == rollup.EVERYTHING) >= int(confirmed)  # type: ignore[misc]  # requests


steps = st.lists(st.sampled_from(["write", "redeliver", "fold", "crash", "fail"]), min_size=1, max_size=14)


@settings(max_examples=40)
@given(steps, st.integers(0, 10**6))
def test_any_history_gives_exact_rollups(tmp_path_factory: pytest.TempPathFactory, history: list[str], seed: int) -> None:
    """Writes, redeliveries, folds, crashes and failed writes in any order end in the rollups of the rows."""
    root = tmp_path_factory.mktemp("history")
    writer = Writer(root / "0" / "sentinel.db", "normal")
    writer.open()
    writer.write([write_of(spread(5, 0, seed))])
    offset = 5
    for number, step in enumerate(history, start=1):
        if step == "write":
            writer.write([write_of(spread(7, offset, seed))])
            offset += 7
        elif step == "redeliver":
            first = max(0, offset - 10)
            writer.write([write_of(spread(offset - first, first, seed))])
        elif step == "fold":
            writer.fold()
        elif step == "fail":
            twice = spread(2, offset, seed)
            twice.offsets[1] = twice.offsets[0]
            with pytest.raises(Exception, match="cannot hold these rows"):
                writer.write([write_of(spread(3, offset, seed), next_offset=offset + 3), write_of(_shifted(twice, 3))])
        else:
            image = crash_image(writer.path, root / str(number))
            writer.close()
            writer = Writer(image, "normal")
            writer.open()
    writer.close()
    assert_exact(writer.path)
    rows, _ = stored(writer.path)
    assert sum(row[2] for row in rows if row[1] == rollup.EVERYTHING) == offset  # type: ignore[misc]  # requests


def _shifted(batch: CleanBatch, by: int) -> CleanBatch:
    batch.offsets[:] += by
    return batch


def test_fold_happens_before_too_many_rows_wait(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that wait for the rollups are bounded without any timer."""
    monkeypatch.setattr("sentinel.storage.writer.FOLD_ROWS", 100)
    for first in range(0, 1_000, 50):
        writer.write([write_of(spread(50, first))])
        assert writer.waiting_rows <= 100
    writer.fold()
    assert_exact(writer.path)


async def requests_of(store: EmbeddedStore) -> int:
    """Requests in all rollups."""
    return sum(point.requests for traffic in await store.timeseries(SeriesQuery(range=ALL_TIME)) for point in traffic.points)


async def test_rollups_follow_by_themselves(tmp_path: Path) -> None:
    """Without another write the rollups catch up within their interval."""
    store = EmbeddedStore(Embedded(rollup_interval_secs=0.001), tmp_path / "sentinel.db")
    await store.open()
    await store.write([write_of(events(5))])
    async with asyncio.timeout(20):
        while await requests_of(store) < 5:  # noqa: ASYNC110  the timer itself is under test
            await asyncio.sleep(0)
    assert await requests_of(store) == 5
    await store.close()


async def test_abandoned_store_catches_up(tmp_path: Path) -> None:
    """A store that was never closed has all its traffic after the next start."""
    store = EmbeddedStore(Embedded(rollup_interval_secs=3_600), tmp_path / "live" / "sentinel.db")
    await store.open()
    await store.write([write_of(events(500, names=NAMES))])
    image = crash_image(store.path, tmp_path / "dead")
    await store.close()
    async with opened(lambda: EmbeddedStore(Embedded(), image)) as next_one:
        assert await next_one.position(LOG) == 500
        (traffic,) = await next_one.timeseries(SeriesQuery(range=ALL_TIME))
        assert sum(point.requests for point in traffic.points) == 500


@given(st.integers(1, 80), st.integers(0, 80), st.integers(0, 1_000))
def test_merging_folds_is_folding_everything(count: int, cut: int, seed: int) -> None:
    """Where the rows are cut makes no difference to counts, extremes and sketches."""
    batch = spread(count, 0, seed)
    minute, series = batch.ts_ns // MINUTE_NS, batch.series.astype(np.int64) + 1
    whole = rollup.fold(minute, series, batch.metrics)
    pieces = [
        rollup.fold(minute[part], series[part], batch.metrics[part]) for part in (slice(0, cut), slice(cut, None)) if len(minute[part])
    ]
    merged = rollup.merge(pieces)
    assert merged.minute.tolist() == whole.minute.tolist()
    assert merged.series.tolist() == whole.series.tolist()
    assert np.allclose(merged.sums, whole.sums, rtol=1e-12)
    assert np.array_equal(merged.latency_min, whole.latency_min, equal_nan=True)
    assert np.array_equal(merged.latency_max, whole.latency_max, equal_nan=True)
    for one, other in zip(merged.sketches, whole.sketches, strict=True):
        assert sketch.encode(one, len(whole)) == sketch.encode(other, len(whole))


def test_sums_stay_finite() -> None:
    """Absurd values do not make a sum infinite."""
    batch = spread(50, 0)
    batch.metrics[:, COST] = 1.7e308
    minute = np.zeros(50, dtype=np.int64)
    assert np.isfinite(rollup.fold(minute, minute, batch.metrics).sums).all()
