"""A server that is down, refuses our credentials, points or everything, or loses its replies: nothing lost, nothing doubled."""

import asyncio
from collections.abc import Iterator

import numpy as np
import pytest
from influx_places import ANOMALIES, TELEMETRY, TOKEN, answered, opened, plain, section_of, stored, written

from sentinel.core.anomaly import DetectorName
from sentinel.core.errors import PermanentError, RetryableError
from sentinel.core.metrics import LATENCY
from sentinel.core.ports import StoreWrite
from sentinel.core.query import AnomalyQuery, TelemetryQuery
from sentinel.core.refusal import RefusedError
from sentinel.observability.metrics import Metrics
from sentinel.storage.influx_points import ANOMALIES as ANOMALY_TABLE
from sentinel.storage.influx_points import EVENTS
from sentinel.testing.influx_double import InfluxDouble
from sentinel.testing.store_events import LOG, anomalies, events, write_of
from sentinel.testing.store_under_test import ALL_TIME


@pytest.fixture
def double() -> Iterator[InfluxDouble]:
    """A double that wants a token."""
    with InfluxDouble(token=TOKEN) as server:
        yield server


def latency_sum(count: int) -> float:
    """What the latencies of `plain` events add up to."""
    return count * (count + 1) / 2


async def test_a_server_that_is_down_loses_nothing(double: InfluxDouble) -> None:
    """While it is down every write is told as retryable, with where and what to do; afterwards each event is there once."""
    async with opened(double, batch_size=500) as store:
        await store.write([plain(1_000)])
        double.down()
        with pytest.raises(RetryableError, match=f"cannot reach {double.url}.*see that InfluxDB runs"):
            await store.write([plain(2_000)])
        with pytest.raises(RetryableError):
            await store.position(LOG)
        with pytest.raises(RetryableError):
            await store.ping()
        double.up()
        await written(store, plain(2_000))
        assert await answered(lambda: store.position(LOG)) == 2_000
        assert await store.ping() == "3.0.0-double"
    assert stored(double) == 2_000
    assert double.sum(TELEMETRY, EVENTS, "latency_ms") == latency_sum(2_000)


async def test_it_breaks_in_the_middle_of_a_write(double: InfluxDouble) -> None:
    """Connections that break while requests are under way leave the position where it was; the repeat completes the write."""
    double.faults.delay_s = 0.05
    metrics = Metrics()
    broken = metrics.influxdb_requests.labels("failed")._value
    async with opened(double, metrics, batch_size=250, parallel_writes=2) as store:
        write = asyncio.create_task(written(store, plain(5_000)))
        while stored(double) < 500:  # noqa: ASYNC110  the double is another program
            await asyncio.sleep(0.01)
        double.down()
        double.faults.delay_s = 0.0
        while not broken.get():
            assert not write.done()
            await asyncio.sleep(0.01)
        double.up()
        _, failures = await write
        assert failures
        assert await answered(lambda: store.position(LOG)) == 5_000
    assert stored(double) == 5_000


@pytest.mark.parametrize("status", [401, 403])
async def test_refused_credentials_hold_and_tell(double: InfluxDouble, status: int) -> None:
    """Credentials that are refused cost no event: the error names them and the cure, asks for slow repeats, and shows no token."""
    metrics = Metrics()
    async with opened(double, metrics, batch_size=500) as store:
        await store.write([plain(10)])
        double.faults.status = status
        requests = []
        for _ in range(3):
            before = double.write_requests
            with pytest.raises(RetryableError, match=r"refuses our credentials.*storage\.influxdb\.token") as refused:
                await store.write([plain(5_000)])
            assert refused.value.after_s is not None
            assert refused.value.after_s >= 1
            assert TOKEN not in str(refused.value)
            requests.append(double.write_requests - before)
        assert requests[1:] == [1, 1]  # one request a try, however many a write needs
        double.faults.clear()
        await written(store, plain(5_000))
    assert stored(double) == 5_000
    assert metrics.registry.get_sample_value("sentinel_influxdb_requests_total", {"result": "failed"}) == sum(requests)


async def test_a_wrong_token_refuses_questions_too(double: InfluxDouble) -> None:
    """A token that is not the server's is told in the same words when reading."""
    async with opened(double, token="wrong") as store:
        with pytest.raises(RetryableError, match="refuses our credentials") as refused:
            await store.telemetry(TelemetryQuery(range=ALL_TIME))
        assert refused.value.after_s is not None


@pytest.mark.parametrize(("header", "after_s"), [("7", 7.0), ("0.5", 0.5), ("86400", 300.0), ("soon", None), ("nan", None), (None, None)])
@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_is_honoured(double: InfluxDouble, status: int, header: str | None, after_s: float | None) -> None:
    """The wait a busy server asks for is handed on, up to five minutes; what is no wait is left to the caller."""
    double.faults.for_requests(status, 10, header)
    async with opened(double) as store:
        with pytest.raises(RetryableError, match=str(status)) as busy:
            await store.write([plain(10)])
    assert busy.value.after_s == after_s


async def test_retry_after_may_be_a_date(double: InfluxDouble) -> None:
    """A date in the past means now, one far away at most five minutes."""
    async with opened(double) as store:
        for date, after_s in (("Wed, 21 Oct 2015 07:28:00 GMT", 0.0), ("Wed, 21 Oct 2099 07:28:00 GMT", 300.0)):
            double.faults.for_requests(503, 10, date)
            with pytest.raises(RetryableError) as busy:
                await store.write([plain(10)])
            assert busy.value.after_s == after_s


@pytest.mark.parametrize("status", [404, 405, 500, 502, 507])
async def test_any_other_status_is_retryable(double: InfluxDouble, status: int) -> None:
    """A fault of the server or of the set-up never costs an event."""
    async with opened(double) as store:
        double.faults.for_requests(status, 1)
        with pytest.raises(RetryableError):
            await store.write([plain(10)])
        await store.write([plain(10)])
    assert stored(double) == 10


@pytest.mark.parametrize("api", ["v3", "v2"])
async def test_one_bad_point_costs_one_point(double: InfluxDouble, api: str) -> None:
    """Of 5,000 events the refused one is named with the server's reason; all others are stored, and the position waits for the caller."""
    double.faults.refuse = lambda line: 'event_id="event-0-1234"' in line
    async with opened(double, api=api) as store:
        with pytest.raises(RefusedError, match="offset 1234") as refused:
            await store.write([plain()])
        extra = double.write_requests - 1
        assert extra <= 2 * np.log2(5_000)
        (refusal,) = refused.value.refusals
        assert (refusal.source, refusal.offset, refusal.sub) == (LOG, 1234, 0)
        assert refusal.reason == "InfluxDB answered 400: refused as told"
        assert refusal.record.startswith("llm_telemetry,tenant=default,service=chat-api")
        assert refusal.record_bytes == len(refusal.record)
        assert stored(double) == 4_999

        before = double.write_requests
        with pytest.raises(RefusedError):  # the same again: nothing is asked twice, and it cannot be forgotten
            await store.write([plain()])
        assert double.write_requests == before
        refusals, failures = await written(store, plain())
        assert [refusal.offset for refusal in refusals] == [1234]
        assert not failures
        assert double.write_requests == before + 1  # the position alone
        assert await store.position(LOG) == 5_000
    assert stored(double) == 4_999


async def test_many_bad_points_of_many_kinds(double: InfluxDouble) -> None:
    """More bad points than one answer can name are found one by one, also those that cannot even be written down."""
    batch = events(1_000)
    ids = list(batch.event_ids)
    ids[500] = "half \ud800"
    double.faults.refuse = lambda line: ",offset=1" in line
    async with opened(double) as store:
        write = write_of(batch.take(np.ones(1_000, np.bool_)))
        write.batch.event_ids[500] = ids[500]  # type: ignore[index]  # a list here
        refusals, _ = await written(store, write)
    bad = sorted(refusal.offset for refusal in refusals)
    assert bad == sorted([500, *(i for i in range(1_000) if str(i).startswith("1"))])
    assert [refusal.reason for refusal in refusals if refusal.offset == 500] == ["the field event_id is not UTF-8"]
    assert stored(double) == 1_000 - len(bad)


async def test_a_column_of_another_type_refuses_its_points_only(double: InfluxDouble) -> None:
    """Where someone else made a column of another type, the events that have it are refused with the server's reason, the others stored."""
    async with opened(double) as store:
        batch = events(100)
        batch.metrics[10:, LATENCY] = np.nan
        double._databases.write(TELEMETRY, [f'{EVENTS},tenant=x latency_ms="text" 1'], None, partial=False)
        refusals, _ = await written(store, write_of(batch))
    assert [refusal.offset for refusal in refusals] == list(range(10))
    assert "invalid column type for column 'latency_ms'" in refusals[0].reason
    assert stored(double) == 91


async def test_a_table_that_refuses_everything_costs_no_event(double: InfluxDouble) -> None:
    """Where every point of a write is refused the table is at fault: the write is held and told, nothing becomes a dead letter."""
    async with opened(double) as store:
        double._databases.write(TELEMETRY, [f'{EVENTS},tenant=x latency_ms="text" 1'], None, partial=False)
        with pytest.raises(RetryableError, match="refuses each of 100 points"):
            await store.write([plain(100)])
        assert await store.position(LOG) is None
    assert stored(double) == 1


async def test_a_server_that_refuses_every_point_costs_no_event(double: InfluxDouble) -> None:
    """A server or a proxy that answers 400 to everything holds the write instead of making dead letters of all events."""
    async with opened(double) as store:
        double.faults.status = 400
        with pytest.raises(RetryableError, match="refuses even a plain point"):
            await store.write([plain(1_000)])
        double.faults.clear()
        await store.write([plain(1_000)])
    assert stored(double) == 1_000


async def test_a_request_that_is_too_large_is_halved(double: InfluxDouble) -> None:
    """413 is answered by smaller requests, and costs nothing."""
    batch = events(400)
    batch = type(batch)(**{name: getattr(batch, name) for name in batch.__slots__} | {"extra": [b'"%s"' % (b"x" * 60_000)] * 400})
    double.faults.refuse = None
    async with opened(double, batch_size=1_000) as store:
        await store.write([write_of(batch)])
    assert stored(double) == 400


async def test_lost_replies_double_nothing(double: InfluxDouble) -> None:
    """When every fifth reply is lost after the write was applied, repeats overwrite: counts, sums and positions are exact."""
    double.faults.lose_every = 5
    async with opened(double, batch_size=200) as store:
        failures = 0
        for first in range(0, 10_000, 1_000):
            _, failed = await written(store, plain(1_000, first))
            failures += len(failed)
        double.faults.clear()
        assert failures > 5
        assert await store.position(LOG) == 10_000
    assert double.points_received > 10_000
    assert stored(double) == 10_000
    assert double.sum(TELEMETRY, EVENTS, "latency_ms") == latency_sum(10_000)
    assert double.sum(TELEMETRY, EVENTS, "offset") == latency_sum(9_999)


async def test_a_crash_before_the_position_reads_again_what_is_stored(double: InfluxDouble) -> None:
    """When the daemon dies between rows and position, the next one writes the same rows over the same points."""
    async with opened(double, batch_size=100) as store:
        double.faults.refuse = lambda line: line.startswith("sentinel_positions")
        with pytest.raises(RetryableError, match="positions cannot be written"):
            await store.write([plain(1_000)])
        assert stored(double) == 1_000
    double.faults.clear()
    async with opened(double) as store:
        assert await store.position(LOG) is None
        await store.write([plain(700)])
        await store.write([plain(600, first=700)])
        assert await store.position(LOG) == 1_300
    assert stored(double) == 1_300


async def test_a_failed_write_is_not_sent_twice_as_a_whole(double: InfluxDouble) -> None:
    """When only the position failed, the repeat sends only the position."""
    async with opened(double) as store:
        double.faults.refuse = lambda line: line.startswith("sentinel_positions")
        with pytest.raises(RetryableError):
            await store.write([plain(1_000)])
        double.faults.clear()
        before = double.points_received
        await store.write([plain(1_000)])
    assert double.points_received == before + 1


async def test_another_owners_position_counts(double: InfluxDouble) -> None:
    """A partition that was elsewhere meanwhile goes on from the server's position, not from what was remembered here."""
    async with opened(double) as ours, opened(double) as theirs:
        await ours.write([plain(10)])
        await theirs.write([plain(30)])
        assert await ours.position(LOG) == 30
        before = double.points_received
        await ours.write([plain(30)])
    assert double.points_received == before


async def test_a_refused_anomaly_is_told_and_its_event_kept(double: InfluxDouble) -> None:
    """An anomaly the server will not take is counted and logged; its event and the other anomalies are stored."""
    metrics = Metrics()
    batch = events(10)
    found = anomalies(batch, [(i, LATENCY, DetectorName.ZSCORE, 1) for i in range(10)])
    double.faults.refuse = lambda line: line.startswith(ANOMALY_TABLE) and "offset=4i" in line
    async with opened(double, metrics) as store:
        await store.write([write_of(batch, found)])
        kept = await store.anomalies(AnomalyQuery(range=ALL_TIME))
    assert sorted(anomaly.offset for anomaly in kept) == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    assert double.rows(ANOMALIES, ANOMALY_TABLE) == 9
    assert stored(double) == 10
    assert metrics.registry.get_sample_value("sentinel_influxdb_refused_points_total", {"kind": "anomaly"}) == 1


async def test_events_beyond_their_position_are_refused_at_once(double: InfluxDouble) -> None:
    """A write that contradicts itself is permanent, and nothing is sent."""
    batch = events(10)
    async with opened(double) as store:
        with pytest.raises(PermanentError, match="beyond its next offset 5"):
            await store.write([StoreWrite(batch, anomalies(batch), LOG, 5)])
    assert stored(double) == 0


async def test_a_double_that_is_full_says_so(double: InfluxDouble) -> None:
    """The double's memory has a limit; beyond it writes are retryable."""
    with InfluxDouble(max_points=100) as small:
        async with opened(small) as store:
            with pytest.raises(RetryableError, match="takes no more"):
                await store.write([plain(101)])


async def test_a_slow_server_is_given_up_in_time(double: InfluxDouble) -> None:
    """A write that takes longer than timeout_secs is retryable."""
    double.faults.delay_s = 30.0
    async with opened(double, timeout_secs=0.2) as store:
        with pytest.raises(RetryableError, match="cannot reach"):
            await store.write([plain(10)])
        double.faults.clear()


def test_the_token_is_shown_nowhere(double: InfluxDouble) -> None:
    """Neither the configuration nor the store prints the token."""
    section = section_of(double)
    assert TOKEN not in f"{section!r} {section} {section.model_dump_json()}"
