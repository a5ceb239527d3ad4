"""Questions to InfluxDB: values are parameters, answers are bounded and those of the embedded store."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from influx_places import TOKEN, opened, plain

from sentinel.config.schema import Embedded
from sentinel.core.anomaly import DetectorName
from sentinel.core.batch import Dimensions, SeriesKey
from sentinel.core.metrics import COST, LATENCY, TTFT
from sentinel.core.query import AnomalyQuery, SeriesFilter, SeriesPoint, SeriesQuery, TelemetryQuery, TimeRange
from sentinel.storage import influx_sql
from sentinel.storage.embedded import EmbeddedStore
from sentinel.storage.influx_client import NoDatabaseError
from sentinel.storage.influx_cursor import Place, decode_cursor, encode_cursor
from sentinel.storage.influx_reader import InfluxReader
from sentinel.storage.influx_sql import ANOMALY_COLUMNS, EVENT_COLUMNS
from sentinel.storage.reader import MAX_PAGE_BYTES
from sentinel.testing.fakes import ManualClock
from sentinel.testing.influx_double import InfluxDouble
from sentinel.testing.store_events import CHAT, LOG, SEARCH, START_NS, anomalies, events, write_of
from sentinel.testing.store_under_test import ALL_TIME

HOSTILE = st.text(min_size=1) | st.sampled_from(
    [
        "'; DROP TABLE llm_telemetry; --",
        "' OR '1'='1",
        '" OR 1=1 --',
        "$first",
        "$1",
        "x' UNION SELECT * FROM system.tables --",
        "\\'",
        "\x00",
    ]
)
ALL = frozenset({*EVENT_COLUMNS, *ANOMALY_COLUMNS, "time"})


@pytest.fixture
def double() -> Iterator[InfluxDouble]:
    """A double that wants a token."""
    with InfluxDouble(token=TOKEN) as server:
        yield server


@given(HOSTILE, HOSTILE, HOSTILE, st.integers(), st.integers(), st.integers(0, 2**62))
def test_no_value_gets_into_the_text(one: str, two: str, three: str, start: int, end: int, offset: int) -> None:
    """Whatever is asked for, the SQL is the same as for harmless values: values go as parameters."""
    hostile, harmless = (one, two, three), ("a", "b", "c")
    texts = []
    for tenant, service, model in (hostile, harmless):
        series = SeriesFilter(tenant=tenant, service=service, model=model)
        span = (
            TimeRange(start, end)
            if tenant is one
            else TimeRange(start - start % 10**6 + bool(start % 10**6), end - end % 10**6 + bool(end % 10**6))
        )
        place = Place(START_NS, offset, 0, service)
        statements = [
            influx_sql.telemetry(TelemetryQuery(range=ALL_TIME, series=series), ALL, 10, place),
            influx_sql.anomalies(AnomalyQuery(range=ALL_TIME, series=series, severity=tenant, metric=service, detector=model), ALL, 10),
            influx_sql.anomaly(tenant, ALL_TIME, ALL),
            influx_sql.position(service, ALL_TIME),
            influx_sql.replay(service, 0, (offset, 1), ALL, 10),
            influx_sql.timeseries(SeriesQuery(range=span, series=series, by_series=True), ALL, 10, 11),
        ]
        texts.append([statement.text for statement in statements])
        given_values = [value for statement in statements for value in statement.parameters.values()]
        assert all(isinstance(value, str | int) for value in given_values)
    assert texts[0] == texts[1]


async def test_injections_find_nothing_and_break_nothing(double: InfluxDouble) -> None:
    """Statements in names, ids and filters are names that match nothing; the data is still there afterwards."""
    async with opened(double) as store:
        await store.write([plain(10)])
        for text in (
            "'; DROP TABLE llm_telemetry; --",
            "' OR '1'='1",
            "$first",
            "chat-api' --",
            "x' UNION SELECT 1 --",
            "a\\",
            "\x00",
            "'" * 500,
        ):
            for field in ("tenant", "service", "model"):
                series = SeriesFilter(**{field: text})
                assert (await store.telemetry(TelemetryQuery(range=ALL_TIME, series=series))).items == []
                assert (await store.timeseries(SeriesQuery(range=ALL_TIME, series=series)))[0].points == []
                assert await store.anomalies(AnomalyQuery(range=ALL_TIME, severity=text)) == []
            assert await store.anomaly(text) is None
        assert len((await store.telemetry(TelemetryQuery(range=ALL_TIME))).items) == 10


@given(
    st.integers(-(2**62), 2**62),
    st.integers(0, 2**62),
    st.integers(0, 2**31),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=200),
)
def test_cursors_come_back(time_ns: int, offset: int, sub: int, partition: str) -> None:
    """A cursor stands for exactly the place it was made of."""
    place = Place(time_ns, offset, sub, partition)
    assert decode_cursor(encode_cursor(place)) == place


@given(st.text() | st.binary(max_size=60).map(lambda raw: raw.hex()) | st.text("ABCabc019-_=", max_size=80))
def test_other_cursors_are_refused_in_words(cursor: str) -> None:
    """What is no cursor of ours is a ValueError with advice, or the one text that stands for its place."""
    with pytest.raises(ValueError, match="the cursor is"):
        assert encode_cursor(decode_cursor(cursor)) != cursor, "a cursor of ours"


async def test_answers_are_those_of_the_embedded_store(double: InfluxDouble, tmp_path: Path) -> None:
    """The same writes give the same pages, anomalies and traffic in both stores, save for the estimates."""
    chance = np.random.default_rng(3)
    names = (CHAT, SEARCH, SeriesKey("acme", "a b,c", "m\\"))
    batch = events(2_000, names=names, step_ns=50_000_000)
    batch.ts_ns[:] += chance.integers(0, 1_000_000, 2_000)
    batch.metrics[:, LATENCY] = chance.lognormal(6, 1, 2_000)
    batch.metrics[::3, TTFT] = chance.lognormal(4, 1, 667)
    batch.metrics[::5, COST] = np.nan
    batch.flags[::50] = 1
    batch = replace(
        batch,
        dimension_sets=(Dimensions(), Dimensions("openai", "chat", "prod", "eu", "stop", "v1")),
        dimensions=(np.arange(2_000) % 2).astype(np.int32),
        extra=[None if i % 4 else b'{"user_id":"u_%d","nested":[1,2.5,null]}' % i for i in range(2_000)],
    )
    found = anomalies(batch, [(int(i), LATENCY, DetectorName.ZSCORE, int(i) % 3) for i in range(0, 2_000, 97)])
    embedded = EmbeddedStore(Embedded(), tmp_path / "sentinel.db")
    await embedded.open()
    async with opened(double) as influx:
        for store in (embedded, influx):
            await store.write([write_of(batch, found)])
        await embedded.fold()
        for query in (
            TelemetryQuery(range=ALL_TIME, limit=5_000),
            TelemetryQuery(range=TimeRange(START_NS + 10**10 + 1, START_NS + 2 * 10**10 + 7), limit=5_000),
            TelemetryQuery(range=ALL_TIME, limit=500, series=SeriesFilter(tenant="acme", model="m\\")),
        ):
            ours, theirs = await influx.telemetry(query), await embedded.telemetry(query)
            assert by_offset(ours.items) == by_offset(theirs.items)
        asked = AnomalyQuery(range=ALL_TIME, severity="critical")
        assert await influx.anomalies(asked) == await embedded.anomalies(asked)
        assert await influx.anomaly(found.ids[3]) == await embedded.anomaly(found.ids[3])
        for by_series in (False, True):
            traffic = SeriesQuery(range=ALL_TIME, by_series=by_series)
            for one, other in zip(await influx.timeseries(traffic), await embedded.timeseries(traffic), strict=True):
                assert (one.tenant, one.service, one.model) == (other.tenant, other.service, other.model)
                for point, same in zip(one.points, other.points, strict=True):
                    assert point.timestamp == same.timestamp
                    assert exact(point) == pytest.approx(exact(same), rel=1e-9)
    await embedded.close()


def by_offset(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Events in the order of their log: of one millisecond, the stores may order them differently."""
    return sorted(items, key=lambda item: item["offset"])


def exact(point: SeriesPoint) -> list[float]:
    """The numbers that are no estimates; None as -1."""
    names = ("requests", "errors", "prompt_tokens", "completion_tokens", "total_tokens", "cost_usd", "latency_mean_ms")
    return [-1.0 if (value := getattr(point, name)) is None else float(value) for name in names]


async def test_percentiles_are_close(double: InfluxDouble) -> None:
    """The server's percentiles lie between the values one percent of the ranks to either side."""
    batch = events(5_000, step_ns=1_000_000)
    batch.metrics[:, LATENCY] = np.random.default_rng(5).lognormal(6, 1, 5_000)
    async with opened(double) as store:
        await store.write([write_of(batch)])
        ((point,),) = [answer.points for answer in await store.timeseries(SeriesQuery(range=ALL_TIME))]
    for q, estimate in ((0.5, point.latency_p50_ms), (0.95, point.latency_p95_ms), (0.99, point.latency_p99_ms)):
        low, high = np.quantile(batch.metrics[:, LATENCY], [q - 0.01, min(1, q + 0.01)])
        assert low <= estimate <= high


async def test_a_page_of_large_events_ends_early(double: InfluxDouble) -> None:
    """A page stops growing after its limit on bytes, and the pages together are complete."""
    large = b'"%s"' % (b"x" * 60_000)
    batch = replace(events(400), extra=[b'{"a":%s,"b":%s}' % (large, large)] * 400)
    async with opened(double) as store:
        await store.write([write_of(batch)])
        offsets: list[int] = []
        cursor, pages = None, 0
        while pages == 0 or cursor is not None:
            page = await store.telemetry(TelemetryQuery(range=ALL_TIME, limit=1_000, cursor=cursor))
            assert sum(len(item["a"]) + len(item["b"]) for item in page.items) < MAX_PAGE_BYTES + 200_000
            offsets += [item["offset"] for item in page.items]
            cursor, pages = page.next_cursor, pages + 1
    assert pages > 2
    assert offsets == list(range(399, -1, -1))


async def test_records_with_many_events_page_and_replay_in_order(double: InfluxDouble) -> None:
    """Events of one record come in order of their place in it, in pages and in a replay, also when that has two digits."""
    batch = events(60, step_ns=0)
    batch.offsets[:] = np.arange(60) // 15
    batch.subs[:] = np.arange(60) % 15
    async with opened(double) as store:
        await store.write([write_of(batch)])
        ids: list[str] = []
        cursor = None
        while cursor is not None or not ids:
            page = await store.telemetry(TelemetryQuery(range=ALL_TIME, limit=7, cursor=cursor))
            ids += [item["event_id"] for item in page.items]
            cursor = page.next_cursor
        replayed = [name for block in [block async for block in store.replay(LOG, 1)] for name in block.event_ids]
    assert ids == [f"event-0-{i}" for i in range(59, -1, -1)]
    assert replayed == [f"event-0-{i}" for i in range(15, 60)]


async def test_traffic_of_too_many_points_is_refused(double: InfluxDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer larger than the limit is an error with advice."""
    monkeypatch.setattr("sentinel.storage.influx_reader.MAX_POINTS", 5)
    async with opened(double) as store:
        await store.write([plain(1_000)])
        with pytest.raises(ValueError, match="larger step_s"):
            await store.timeseries(SeriesQuery(range=ALL_TIME))
        assert len((await store.timeseries(SeriesQuery(range=ALL_TIME, step_s=3_600)))[0].points) == 1


class Recording:
    """A client without a database; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def write(self, bucket: str, payload: bytes) -> None:
        """Not written to here."""
        raise NotImplementedError

    def ask(self, _bucket: str, statement: str, _parameters: Mapping[str, object]) -> Iterator[pa.RecordBatch]:
        """No database yet."""
        self.asked.append(statement)
        raise NoDatabaseError


def test_before_the_first_write_there_is_nothing() -> None:
    """A database that does not exist yet is an empty one, and costs one question."""
    client = Recording()
    reader = InfluxReader(client, "t", "a", 10**12, ManualClock())
    assert reader.position(LOG) is None
    assert reader.telemetry(TelemetryQuery(range=ALL_TIME)).items == []
    assert reader.anomalies(AnomalyQuery(range=ALL_TIME)) == []
    assert reader.anomaly("x") is None
    assert reader.replay_block(LOG, 0, (0, -1)) is None
    assert reader.timeseries(SeriesQuery(range=ALL_TIME, by_series=True)) == []
    assert len(client.asked) == 6
