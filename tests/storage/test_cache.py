"""The query cache: right answers, young enough, asked for once, within its bounds."""

import asyncio
import gc
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_cached import SETTLED, RecordingQuery, anomalies_of, cached, hits, misses, page, range_back, telemetry_of

from sentinel.config.loader import load
from sentinel.config.problems import ConfigError
from sentinel.config.schema import Cache, Embedded
from sentinel.core.errors import RetryableError
from sentinel.core.query import AnomalyQuery, SeriesFilter, SeriesQuery, TelemetryQuery, TimeRange
from sentinel.observability.metrics import Metrics
from sentinel.storage.answers import ENTRY_BYTES, Answers
from sentinel.storage.embedded import EmbeddedStore
from sentinel.testing.fakes import START_NS, ManualClock
from sentinel.testing.store_events import START_NS as EVENTS_NS
from sentinel.testing.store_events import events, write_of

SECOND_NS = 1_000_000_000
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


async def test_a_settled_range_is_asked_once() -> None:
    """The same question about the past is answered from the cache, with an equal answer, and counted."""
    store, clock, metrics = RecordingQuery(), ManualClock(), Metrics()
    query = cached(store, clock, metrics=metrics)
    first = await query.telemetry(telemetry_of(SETTLED))
    assert await query.telemetry(telemetry_of(SETTLED)) == first
    assert len(store.asked) == 1
    assert (hits(metrics, "memory"), misses(metrics, "memory")) == (1, 1)


async def test_all_four_questions_are_kept_apart() -> None:
    """Each kind of question, and each detail of one, has an answer of its own."""
    store, clock = RecordingQuery(), ManualClock()
    query = cached(store, clock)
    span = range_back(SETTLED)
    for _ in range(2):
        await query.telemetry(TelemetryQuery(range=span))
        await query.telemetry(TelemetryQuery(range=span, cursor="next"))
        await query.telemetry(TelemetryQuery(range=span, limit=5))
        await query.telemetry(TelemetryQuery(range=span, series=SeriesFilter(tenant="other")))
        await query.anomalies(AnomalyQuery(range=span))
        await query.anomalies(AnomalyQuery(range=span, severity="critical"))
        await query.timeseries(SeriesQuery(range=span))
        await query.timeseries(SeriesQuery(range=span, by_series=True))
        await query.anomaly("one")
        await query.anomaly("two")
    assert Counter(kind for kind, _ in store.asked) == {"telemetry": 4, "anomalies": 2, "timeseries": 2, "anomaly": 2}


async def test_callers_do_not_share_an_answer() -> None:
    """What one caller does to its answer, the next does not see."""
    query = cached(RecordingQuery(), ManualClock())
    for _ in range(3):
        found = await query.telemetry(telemetry_of(SETTLED))
        assert found.items[0]["service_name"] == "chat-api"
        found.items[0]["service_name"] = "changed"


@pytest.mark.parametrize("seconds", [30.0, 300.0])
async def test_ttl_secs_limits_the_age(seconds: float) -> None:
    """However often it is asked for, an answer goes when it is `ttl_secs` old."""
    store, clock = RecordingQuery(), ManualClock()
    query = cached(store, clock, ttl_secs=seconds, tti_secs=1_000.0, settled_after_secs=0.0)
    asked = telemetry_of(SETTLED)
    for _ in range(5):
        await query.telemetry(asked)
        clock.advance(seconds / 5)
    assert len(store.asked) == 1
    await query.telemetry(asked)
    assert len(store.asked) == 2


@pytest.mark.parametrize("seconds", [10.0, 60.0])
async def test_tti_secs_limits_the_idleness(seconds: float) -> None:
    """An answer nobody asked for during `tti_secs` goes; every question begins that time anew."""
    store, clock = RecordingQuery(), ManualClock()
    query = cached(store, clock, ttl_secs=3_600.0, tti_secs=seconds)
    asked = telemetry_of(SETTLED)
    for _ in range(4):
        await query.telemetry(asked)
        clock.advance(seconds * 0.9)
    assert len(store.asked) == 1
    clock.advance(seconds * 0.2)
    await query.telemetry(asked)
    assert len(store.asked) == 2


@pytest.mark.parametrize("seconds", [1.0, 5.0])
async def test_live_ttl_secs_limits_the_age_of_the_present(seconds: float) -> None:
    """A range that touches the present is asked anew after `live_ttl_secs`, not after `ttl_secs`."""
    store, clock = RecordingQuery(), ManualClock()
    query = cached(store, clock, live_ttl_secs=seconds)
    ever = AnomalyQuery(range=TimeRange(0, 2**63 - 1))
    await query.anomalies(ever)
    clock.advance(seconds * 0.9)
    await query.anomalies(ever)
    assert len(store.asked) == 1
    clock.advance(seconds * 0.2)
    await query.anomalies(ever)
    assert len(store.asked) == 2


async def test_live_ttl_secs_of_0_keeps_nothing_of_the_present() -> None:
    """The present can be left out of the cache; the past stays in."""
    store, clock = RecordingQuery(), ManualClock()
    query = cached(store, clock, live_ttl_secs=0.0)
    for _ in range(3):
        await query.telemetry(telemetry_of(0.0))
        await query.telemetry(telemetry_of(SETTLED))
    assert len(store.asked) == 4
    assert store.asked[0] == ("telemetry", telemetry_of(0.0))


@pytest.mark.parametrize(("seconds", "asked_again"), [(100.0, False), (1_000.0, True)])
async def test_settled_after_secs_says_what_is_past(seconds: float, asked_again: bool) -> None:
    """A range that ended 600 s ago is finished or not, as configured."""
    store, clock = RecordingQuery(), ManualClock()
    query = cached(store, clock, settled_after_secs=seconds)
    for _ in range(2):
        await query.telemetry(telemetry_of(600.0))
        clock.advance(5.0)
    assert len(store.asked) == (2 if asked_again else 1)


async def test_sliding_ranges_that_end_now_are_one_question_for_a_while() -> None:
    """Viewers of "the last hour" share one question a second, each range moved by less than a second."""
    store, clock = RecordingQuery(), ManualClock(START_NS + 1)
    query = cached(store, clock)
    for _ in range(10):
        now_ns = clock.now_ns()
        await query.telemetry(TelemetryQuery(range=TimeRange(now_ns - 3_600 * SECOND_NS, now_ns)))
        clock.advance(0.09)
    (asked,) = store.ranges
    assert asked == TimeRange(START_NS + SECOND_NS - 3_600 * SECOND_NS, START_NS + SECOND_NS)
    clock.advance(0.2)
    now_ns = clock.now_ns()
    await query.telemetry(TelemetryQuery(range=TimeRange(now_ns - 3_600 * SECOND_NS, now_ns)))
    assert len(store.ranges) == 2


async def test_a_given_start_is_kept() -> None:
    """Of a range from a given moment until now, only the end moves."""
    store, clock = RecordingQuery(), ManualClock(START_NS + 123_456_789)
    query = cached(store, clock)
    start_ns = START_NS - 50 * SECOND_NS
    await query.timeseries(SeriesQuery(range=TimeRange(start_ns, clock.now_ns())))
    assert store.ranges == [TimeRange(start_ns, START_NS + SECOND_NS)]


@pytest.mark.parametrize("back_s", [0.2, 0.9, 30.0, -30.0])
async def test_a_given_end_is_kept(back_s: float) -> None:
    """A range that does not end now is asked for exactly as it is."""
    store, clock = RecordingQuery(), ManualClock(START_NS + 7)
    query = cached(store, clock)
    span = TimeRange(START_NS - 60 * SECOND_NS, clock.now_ns() - int(back_s * SECOND_NS))
    await query.telemetry(TelemetryQuery(range=span))
    assert store.ranges == [span]


async def test_who_writes_and_asks_first_sees_it(tmp_path: Path) -> None:
    """A question that nobody asked in this second goes to the store, and holds what was written just before."""
    store = EmbeddedStore(Embedded(), tmp_path / "sentinel.db")
    await store.open()
    clock = ManualClock(EVENTS_NS + 5 * SECOND_NS)
    query = cached(store, clock)
    for first in (0, 5):
        await store.write([write_of(events(5, first=first))])
        now_ns = clock.now_ns()
        found = await query.telemetry(TelemetryQuery(range=TimeRange(now_ns - 60 * SECOND_NS, now_ns)))
        assert {item["offset"] for item in found.items} == set(range(first + 5))
        clock.advance(1.0)
    assert found == await query.telemetry(TelemetryQuery(range=TimeRange(now_ns - 60 * SECOND_NS, now_ns)))
    await store.close()


async def test_an_anomaly_lives_long_and_its_absence_does_not() -> None:
    """A found anomaly does not change; one that is not there may be stored in the next moment."""
    store, clock = RecordingQuery(), ManualClock()
    query = cached(store, clock)
    assert await query.anomaly("missing") is None
    assert await query.anomaly("missing") is None
    found = await query.anomaly("there")
    clock.advance(2.0)
    assert await query.anomaly("there") == found
    await query.anomaly("missing")
    assert [asked for _, asked in store.asked] == ["missing", "there", "missing"]


async def test_concurrent_askers_share_one_question() -> None:
    """Fifty who ask at once cost the store one question, and each has an answer of its own."""
    store, metrics = RecordingQuery(), Metrics()
    query = cached(store, ManualClock(), metrics=metrics)
    store.going.clear()
    asking = [asyncio.create_task(query.telemetry(telemetry_of(0.0))) for _ in range(50)]
    await store.reached.wait()
    store.going.set()
    answers = await asyncio.gather(*asking)
    assert len(store.asked) == 1
    assert all(answer == answers[0] for answer in answers)
    assert len({id(answer.items) for answer in answers}) == 50
    assert hits(metrics, "joined") == 49


async def test_who_gives_up_does_not_take_the_answer_from_others() -> None:
    """The first asker is cancelled; the second still gets the answer, from the same question."""
    store = RecordingQuery()
    query = cached(store, ManualClock())
    store.going.clear()
    first = asyncio.create_task(query.telemetry(telemetry_of(0.0)))
    await store.reached.wait()
    second = asyncio.create_task(query.telemetry(telemetry_of(0.0)))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait({first})
    store.going.set()
    assert (await second).items
    assert len(store.asked) == 1


async def test_an_error_is_told_to_all_and_kept_for_nobody() -> None:
    """Everyone who waited hears of it; the next question goes to the store again."""
    store, metrics = RecordingQuery(), Metrics()
    query = cached(store, ManualClock(), metrics=metrics)
    store.failures = [RetryableError("the store is busy"), ValueError("bad cursor")]
    told = await asyncio.gather(*(query.telemetry(telemetry_of(SETTLED)) for _ in range(3)), return_exceptions=True)
    assert [str(error) for error in told] == ["the store is busy"] * 3
    with pytest.raises(ValueError, match="bad cursor"):
        await query.telemetry(telemetry_of(SETTLED))
    assert (await query.telemetry(telemetry_of(SETTLED))).items
    assert len(store.asked) == 3


async def test_an_error_that_nobody_waits_for_is_dropped() -> None:
    """The only asker is gone when the store fails: nothing complains later about an error nobody took."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
    store = RecordingQuery()
    query = cached(store, ManualClock())
    store.failures = [RetryableError("the store is busy")]
    store.going.clear()
    asking = asyncio.create_task(query.anomaly("there"))
    await store.reached.wait()
    asking.cancel()
    flights = set(query._flights.values())
    store.going.set()
    await asyncio.wait(flights | {asking})
    del flights, asking
    gc.collect()
    assert complaints == []


@pytest.mark.parametrize("entries", [1, 10])
async def test_max_capacity_limits_the_entries(entries: int) -> None:
    """The answer that was not used for longest makes room."""
    store, metrics = RecordingQuery(), Metrics()
    query = cached(store, ManualClock(), metrics=metrics, max_capacity=entries)
    for number in range(20):
        await query.anomaly(f"there {number}")
    assert metrics.registry.get_sample_value("sentinel_cache_size") == entries
    await query.anomaly(f"there {20 - entries}")
    assert len(store.asked) == 20
    await query.anomaly("there 0")
    assert len(store.asked) == 21


@pytest.mark.parametrize("max_bytes", [65_536, 262_144])
async def test_max_bytes_limits_the_bytes(max_bytes: int) -> None:
    """Large answers push out others long before the entries are used up, and the gauge says how much is kept."""
    store, metrics = RecordingQuery(), Metrics()
    store.answer = page("x" * 3_000)
    query = cached(store, ManualClock(), metrics=metrics, max_bytes=max_bytes)
    for number in range(200):
        await query.telemetry(telemetry_of(SETTLED + number))
    size = metrics.registry.get_sample_value("sentinel_cache_bytes")
    kept = metrics.registry.get_sample_value("sentinel_cache_size")
    assert size is not None
    assert kept is not None
    assert max_bytes * 0.9 < size <= max_bytes
    assert kept == size // (size / kept)
    assert kept * 3_000 < max_bytes


async def test_an_answer_that_is_too_large_is_not_kept() -> None:
    """It is given to who asked, and pushes out nothing."""
    store, metrics = RecordingQuery(), Metrics()
    query = cached(store, ManualClock(), metrics=metrics, max_bytes=65_536)
    await query.anomaly("there")
    store.answer = page("x" * 65_536)
    for _ in range(2):
        assert len((await query.telemetry(telemetry_of(SETTLED))).items[0]["prompt_text"]) == 65_536
    assert len(store.asked) == 3
    assert metrics.registry.get_sample_value("sentinel_cache_size") == 1


async def test_idle_answers_leave_the_gauge() -> None:
    """What nobody asks for is gone from memory's account without another question."""
    clock, metrics = ManualClock(), Metrics()
    query = cached(RecordingQuery(), clock, metrics=metrics)
    await query.anomaly("there")
    assert metrics.registry.get_sample_value("sentinel_cache_size") == 1
    clock.advance(61.0)
    assert metrics.registry.get_sample_value("sentinel_cache_size") == 0
    assert metrics.registry.get_sample_value("sentinel_cache_bytes") == 0


@pytest.mark.parametrize("enabled", [True, False])
async def test_enable_metrics_counts_or_does_not(enabled: bool) -> None:
    """Hits and misses can be switched off."""
    metrics = Metrics()
    query = cached(RecordingQuery(), ManualClock(), metrics=metrics, enable_metrics=enabled)
    for _ in range(2):
        await query.anomaly("there")
    assert (hits(metrics, "memory"), misses(metrics, "memory")) == ((1, 1) if enabled else (0, 0))


async def test_an_answer_without_a_form_in_bytes_is_given_all_the_same() -> None:
    """A store that answers with something unusual is not broken by the cache; joiners get it too."""
    store, metrics = RecordingQuery(), Metrics()
    unusual = object()
    store.answer = page(unusual)
    query = cached(store, ManualClock(), metrics=metrics)
    store.going.clear()
    asking = [asyncio.create_task(query.telemetry(telemetry_of(SETTLED))) for _ in range(2)]
    await store.reached.wait()
    store.going.set()
    assert [found.items[0]["prompt_text"] for found in await asyncio.gather(*asking)] == [unusual, unusual]
    assert metrics.registry.get_sample_value("sentinel_cache_errors_total", {"kind": "not_encodable"}) == 1


@given(st.lists(st.dictionaries(st.text(), JSON, max_size=5), max_size=3))
def test_answers_come_back_as_they_were(items: list[dict[str, Any]]) -> None:
    """A page from the cache equals the page that was put in, whatever events hold."""

    async def ask_twice() -> None:
        store = RecordingQuery()
        store.answer = msgspec.structs.replace(page("x"), items=items)
        query = cached(store, ManualClock())
        for _ in range(2):
            assert (await query.telemetry(telemetry_of(SETTLED))).items == items
        assert len(store.asked) == 1

    asyncio.run(ask_twice())


async def test_anomalies_come_back_as_they_were() -> None:
    """Structs, numbers that are missing and lists survive."""
    store = RecordingQuery()
    query = cached(store, ManualClock())
    first = await query.anomalies(AnomalyQuery(range=range_back(SETTLED)))
    assert first == await query.anomalies(AnomalyQuery(range=range_back(SETTLED))) == anomalies_of()


async def test_closing_ends_what_is_under_way() -> None:
    """A question that never ends does not keep the daemon from stopping; twice is harmless."""
    store = RecordingQuery()
    query = cached(store, ManualClock())
    store.going.clear()
    asking = asyncio.create_task(query.anomaly("there"))
    await store.reached.wait()
    await query.close()
    await query.close()
    with pytest.raises(asyncio.CancelledError):
        await asking


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 900), st.floats(0, 40)), max_size=60), st.integers(1, 5))
def test_the_bounds_hold_for_any_use(uses: list[tuple[int, int, float]], capacity: int) -> None:
    """Never more entries or bytes than allowed, never an answer that was not the last one put, never one past its time."""
    clock = ManualClock()
    kept = Answers(Cache(max_capacity=capacity, max_bytes=65_536, tti_secs=30.0), clock)
    put: dict[bytes, tuple[bytes, float]] = {}
    for number, size, seconds in uses:
        question = bytes([number])
        found = kept.get(question)
        if found is not None:
            answer, over_s = put[question]
            assert found == answer
            assert clock.monotonic() < over_s
        put[question] = (bytes([number]) * size, clock.monotonic() + seconds)
        kept.put(question, put[question][0], seconds)
        assert kept.entries <= capacity
        assert kept.size_bytes <= 65_536
        clock.advance(seconds / 3)


def test_the_question_and_the_overhead_count() -> None:
    """An entry without an answer is not free."""
    kept = Answers(Cache(), ManualClock())
    kept.put(b"question", b"", 10.0)
    assert kept.size_bytes == len(b"question") + ENTRY_BYTES


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a configuration file and returns its path."""

    def write_file(text: str) -> Path:
        path = tmp_path / "sentinel.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write_file


def test_the_section_is_read(write: Callable[[str], Path]) -> None:
    """The documented names reach the cache; what cannot be is refused at its key."""
    text = "storage: {cache: {max_capacity: 5, max_bytes: 70000, live_ttl_secs: 0, settled_after_secs: 60}}\n"
    section = load(write(text), {}).config.storage.cache
    assert section == Cache(max_capacity=5, max_bytes=70_000, live_ttl_secs=0.0, settled_after_secs=60.0)
    for bad in ("max_bytes: 100", "live_ttl_secs: -1", "live_ttl_secs: 61", "max_capacity: 0", "ttl_secs: 0"):
        with pytest.raises(ConfigError, match=bad.partition(":")[0]):
            load(write(f"storage: {{cache: {{{bad}}}}}\n"), {})
