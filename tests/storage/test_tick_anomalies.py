"""Anomalies of time windows in the embedded store and in InfluxDB: what each promises beyond the conformance suite."""

import json
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from influx_places import ANOMALIES, TOKEN, opened, stored
from line_protocol_parser import parse_line
from msgspec import structs

from sentinel.config.schema import Embedded
from sentinel.core.batch import SeriesKey
from sentinel.core.errors import PermanentError, RetryableError
from sentinel.core.query import AnomalyQuery
from sentinel.core.timestamp import nanoseconds, rfc3339
from sentinel.observability.metrics import Metrics
from sentinel.storage import influx_ticks, influx_writer, schema
from sentinel.storage.embedded import EmbeddedStore
from sentinel.storage.influx_points import ANOMALIES as ANOMALY_TABLE
from sentinel.testing.influx_double import InfluxDouble
from sentinel.testing.store_events import LOG, SECOND_NS, START_NS, events, mark_of, tick_anomaly, write_of
from sentinel.testing.store_under_test import ALL_TIME

HOUR_NS = 3_600 * SECOND_NS
EVERYTHING = AnomalyQuery(range=ALL_TIME)


@pytest.fixture
async def embedded(tmp_path: Path) -> AsyncIterator[EmbeddedStore]:
    """An open embedded store that keeps anomalies for two hours."""
    store = EmbeddedStore(Embedded(anomaly_retention_hours=2), tmp_path / "sentinel.db")
    await store.open()
    yield store
    await store.close()


@pytest.fixture
def double() -> Iterator[InfluxDouble]:
    """A double of an InfluxDB server that wants a token."""
    with InfluxDouble(token=TOKEN) as server:
        yield server


@given(st.integers(-(2**61), 2**62))
def test_a_time_comes_back_from_its_text(ts_ns: int) -> None:
    """To the nanosecond, whatever digits it has."""
    assert nanoseconds(rfc3339(ts_ns)) == ts_ns


# ----------------------------------------------------------------------------------------------------------- embedded store


async def test_what_is_stored_stays_as_it_is(embedded: EmbeddedStore) -> None:
    """Another anomaly of the same id changes nothing: people may have acted on what they read."""
    first = tick_anomaly(1)
    await embedded.write([mark_of(0, first)])
    await embedded.write([mark_of(0, structs.replace(first, severity="critical", value=0.9, explanation="worse"))])
    assert await embedded.anomalies(EVERYTHING) == [first]
    assert (await embedded.counts()).anomalies == 1


async def test_rows_and_tick_anomalies_are_stored_together(embedded: EmbeddedStore) -> None:
    """A write that fails stores neither, and the same write succeeds as a whole once it can."""
    connection = embedded._writer._open_connection()
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 5}")
    large = write_of(events(5_000), ticks=[tick_anomaly(1)])
    with pytest.raises(RetryableError, match="the disk is full"):
        await embedded.write([large])
    with pytest.raises(PermanentError):
        await embedded.write([mark_of(0, tick_anomaly(2)), write_of(events(3), next_offset=2)])
    assert await embedded.anomalies(EVERYTHING) == []
    assert (await embedded.counts()).anomalies == 0
    connection.execute("PRAGMA max_page_count = 1000000")
    await embedded.write([large])
    assert await embedded.anomalies(EVERYTHING) == [tick_anomaly(1)]


async def test_they_go_with_the_retention_of_anomalies(embedded: EmbeddedStore) -> None:
    """What is older is deleted and no longer counted; newer ones stay."""
    hours = [tick_anomaly(hour * 3_600) for hour in range(5)]
    await embedded.write([mark_of(0, *hours)])
    assert await embedded.prune(START_NS + 4 * HOUR_NS) == 2
    assert await embedded.anomalies(EVERYTHING) == hours[:1:-1]
    assert await embedded.anomaly(hours[0].id) is None
    assert (await embedded.counts()).anomalies == 3


async def test_a_file_of_the_second_format_gets_the_table(tmp_path: Path) -> None:
    """A store from before time windows keeps its rows and takes the new anomalies; no released step has changed."""
    path = tmp_path / "old.db"
    connection = sqlite3.connect(path)
    for statements in schema.MIGRATIONS[:2]:
        for statement in statements:
            connection.execute(statement)
    connection.execute("INSERT INTO logs VALUES (1, 'kafka', 'llm.telemetry', 0, 8, 8)")
    connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
    connection.execute("PRAGMA user_version = 2")
    connection.commit()
    connection.close()
    store = EmbeddedStore(Embedded(), path)
    await store.open()
    await store.write([mark_of(8, tick_anomaly(1))])
    assert await store.position(LOG) == 8
    assert await store.anomalies(EVERYTHING) == [tick_anomaly(1)]
    await store.close()


async def test_a_list_walks_the_index_of_time(embedded: EmbeddedStore) -> None:
    """Nothing is sorted, and no row outside the range is read."""
    statement = "SELECT body FROM tick_anomalies WHERE ts_ns >= 0 AND ts_ns < 9 ORDER BY ts_ns DESC, severity DESC, id DESC LIMIT 5"
    plan = [row[3] for row in embedded._writer._open_connection().execute(f"EXPLAIN QUERY PLAN {statement}")]
    assert plan == ["SEARCH tick_anomalies USING INDEX tick_anomalies_by_time (ts_ns>? AND ts_ns<?)"]


# ----------------------------------------------------------------------------------------------------------------- InfluxDB


def test_it_is_one_point_among_the_anomalies() -> None:
    """Tags and fields as of anomalies of events, as far as these have them; the rest are further fields; lists are JSON."""
    found = tick_anomaly(3)
    point = parse_line(influx_ticks.line(found))
    assert point["measurement"] == ANOMALY_TABLE
    assert point["tags"] == {
        "tenant": "default",
        "service": "chat-api",
        "model": "gpt-4",
        "metric": "error_rate",
        "detector": "rate",
        "severity": "warning",
        "partition": "kafka/llm.telemetry/0",
    }
    fields = point["fields"]
    assert (fields["id"], fields["mean"], fields["sd"], fields["samples"], fields["offset"]) == (found.id, 0.0105, 0.004, 360, 3)
    assert (fields["type"], fields["since"], fields["ts_ns"]) == ("error_rate_increase", found.since, START_NS + 3 * SECOND_NS)
    assert json.loads(str(fields["exemplars"])) == ["trace-1", "trace-2"]
    assert json.loads(str(fields["contributors"]))[0] == {
        "dimension": "finish_reason",
        "value": 'content "filter"',
        "share": 0.75,
        "usual": 0.125,
    }
    assert point["time"] // 1_000_000 == (START_NS + 3 * SECOND_NS) // 1_000_000


def test_numbers_always_have_the_type_of_their_column() -> None:
    """Whole numbers where fractions may stand, and numbers of numpy, make no column of another type."""
    odd = tick_anomaly(1, value=3, score=np.float64(2), samples=np.int64(5), expected=0, z_score=1)
    fields = parse_line(influx_ticks.line(odd))["fields"]
    assert {name: type(fields[name]) for name in ("value", "score", "expected", "z_score", "samples")} == {
        "value": float,
        "score": float,
        "expected": float,
        "z_score": float,
        "samples": int,
    }


def test_two_of_one_instant_are_two_points() -> None:
    """Where all tags and the time are the same, the id keeps them apart."""
    one, other = tick_anomaly(1), tick_anomaly(1, id="another")
    keys = {(tuple(sorted(point["tags"].items())), point["time"]) for point in (parse_line(influx_ticks.line(a)) for a in (one, other))}
    assert len(keys) == 2
    assert influx_ticks.line(one) == influx_ticks.line(tick_anomaly(1))


async def test_repeats_are_neither_sent_nor_counted(double: InfluxDouble) -> None:
    """What this process knows to be stored is left out of a repeat; the memory of it has a limit."""
    async with opened(double) as store:
        await store.write([mark_of(0, tick_anomaly(1)), mark_of(0, tick_anomaly(1), tick_anomaly(2))])
        before = double.write_requests
        await store.write([mark_of(0, tick_anomaly(1), tick_anomaly(2))])
        assert double.write_requests == before
        assert (await store.counts()).anomalies == 2
        many = [tick_anomaly(i, id=f"id-{i}") for i in range(2 * influx_writer.TICKS_REMEMBERED)]
        await store.write([mark_of(0, *many)])
        assert len(store._opened.writer._logs[LOG].ticks) == influx_writer.TICKS_REMEMBERED


async def test_a_position_that_could_not_be_written_loses_and_doubles_nothing(double: InfluxDouble) -> None:
    """The repeat writes what is missing, here the position alone."""
    write = write_of(events(10), ticks=[tick_anomaly(1)])
    async with opened(double) as store:
        await store.position(LOG)
        double.faults.refuse = lambda line: line.startswith("sentinel_positions")
        with pytest.raises(RetryableError, match="positions cannot be written"):
            await store.write([write])
        double.faults.clear()
        before = double.points_received
        await store.write([write])
        assert double.points_received == before + 1
        assert await store.position(LOG) == 10
        assert await store.anomalies(EVERYTHING) == [tick_anomaly(1)]


async def test_one_that_is_refused_is_told_and_costs_no_event(double: InfluxDouble) -> None:
    """By the server, or because it cannot even be written down: the rest is stored, the position moves, and it is counted."""
    metrics = Metrics()
    double.faults.refuse = lambda line: '"refused"' in line
    ticks = [
        tick_anomaly(1, id="refused"),
        tick_anomaly(2, explanation="line\nbreak"),
        tick_anomaly(3),
        tick_anomaly(4, SeriesKey("a", "\x00", "m")),
    ]
    async with opened(double, metrics) as store:
        await store.write([write_of(events(10), ticks=ticks)])
        assert await store.position(LOG) == 10
        assert await store.anomalies(EVERYTHING) == [tick_anomaly(3)]
        assert (await store.counts()).anomalies == 1
    assert stored(double) == 10
    assert metrics.registry.get_sample_value("sentinel_influxdb_refused_points_total", {"kind": "anomaly"}) == 3


async def test_another_process_sees_them_when_it_knows_the_columns(double: InfluxDouble) -> None:
    """A reader that asked for the columns before the first of them leaves them out for a while, and fails at nothing."""
    async with opened(double) as store, opened(double) as other:
        double._databases.write(ANOMALIES, [_line_of_an_event()], None, partial=False)
        assert len(await other.anomalies(EVERYTHING)) == 1
        await store.write([mark_of(0, tick_anomaly(1))])
        assert await store.anomalies(AnomalyQuery(range=ALL_TIME, kind="window")) == [tick_anomaly(1)]
        assert len(await other.anomalies(EVERYTHING)) == 1
        assert await other.anomaly(tick_anomaly(1).id) is None
        assert await other.anomalies(AnomalyQuery(range=ALL_TIME, kind="window")) == []
        other._clock.advance(10)  # type: ignore[attr-defined]  the tests' clock
        assert len(await other.anomalies(EVERYTHING)) == 2
        assert await other.anomaly(tick_anomaly(1).id) == tick_anomaly(1)


def _line_of_an_event() -> str:
    tags = "tenant=default,service=chat-api,model=gpt-4,metric=latency_ms,detector=zscore,severity=info,partition=kafka/llm.telemetry/0"
    return f'{ANOMALY_TABLE},{tags} id="e",value=1.0,score=2.0,samples=9i,window=9i,offset=1i,ts_ns={START_NS}i {START_NS}'
