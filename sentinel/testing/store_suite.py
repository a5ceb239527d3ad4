"""What every store must do: one async check a promise, for any implementation of `Store` and `Query`.

A test module runs them all over its store:

    @pytest.mark.parametrize("check", store_suite.CHECKS, ids=lambda check: check.__name__)
    async def test_store(check, tmp_path):
        await check(lambda: EmbeddedStore(Embedded(), tmp_path / "sentinel.db"))

Each call of the factory gives a closed store over the same, at first empty, place. A check opens one at a time.
"""

import json
from dataclasses import replace
from typing import Final

import numpy as np

from sentinel.core.anomaly import DetectorName
from sentinel.core.batch import Dimensions, SeriesKey
from sentinel.core.flags import Flag
from sentinel.core.metrics import COST, ERROR, LATENCY, PROMPT_TOKENS
from sentinel.core.query import AnomalyQuery, SeriesFilter, SeriesQuery, TelemetryQuery, TimeRange
from sentinel.testing import store_suite_anomalies
from sentinel.testing.expect import expect, expect_close
from sentinel.testing.store_events import CHAT, LOG, SEARCH, SECOND_NS, START_NS, anomalies, events, write_of
from sentinel.testing.store_under_test import ALL_TIME, Check, StoreFactory, expect_refused, opened, stored_events, stored_offsets

# ------------------------------------------------------------------------------------------------------------------ writing


async def check_an_event_is_read_back_with_all_its_fields(make: StoreFactory) -> None:
    """What was written of an event is what a reader gets, in the flat dialect's names."""
    batch = events(1, first=41)
    batch.flags[0] = Flag.TEXT_TRUNCATED
    extra = {"trace_id": "trace-1", "metadata.team": "search", "service_name": "forged", "prompt_length": 12}
    given = (Dimensions(environment="prod", finish_reason="stop"),)
    batch = replace(batch, trace_ids=["trace-1"], dimension_sets=given, extra=[json.dumps(extra).encode()])
    async with opened(make) as store:
        await store.write([write_of(batch)])
        (event,) = await stored_events(store)
    wanted = {
        "timestamp": "2026-01-15T10:30:00.123Z",
        "tenant": "default",
        "service_name": "chat-api",
        "model_name": "gpt-4",
        "latency_ms": 42.0,
        "ttft_ms": None,
        "prompt_tokens": 6,
        "completion_tokens": None,
        "error": False,
        "flags": ["text_truncated"],
        "dialect": "flat",
        "partition": "kafka/llm.telemetry/0",
        "offset": 41,
        "event_id": "event-0-41",
        "trace_id": "trace-1",
        "environment": "prod",
        "finish_reason": "stop",
        "region": None,
        "metadata.team": "search",
        "prompt_length": 12,
    }
    for field, value in wanted.items():
        expect(field, event.get(field), value)
    expect_close("cost_usd", event["cost_usd"], 0.0042, 1e-9)


async def check_the_position_follows_the_writes(make: StoreFactory) -> None:
    """A log's position is None before its first write, then the offset after the last stored one, also over records without events."""
    other = LOG._replace(partition=1)
    async with opened(make) as store:
        expect("position at first", await store.position(LOG), None)
        await store.write([write_of(events(5)), write_of(events(3, source=other, first=100))])
        expect("position after a write", await store.position(LOG), 5)
        expect("position of another log", await store.position(other), 103)
        await store.write([write_of(events(0, first=5), next_offset=9)])
        expect("position after records without events", await store.position(LOG), 9)
        await store.write([])
        expect("position after nothing", await store.position(LOG), 9)


async def check_a_redelivery_changes_nothing(make: StoreFactory) -> None:
    """Writing the same again, whole or overlapping, stores each event and anomaly once and never moves a position back."""
    batch = events(10)
    write = write_of(batch, anomalies(batch, [(3, LATENCY, DetectorName.ZSCORE, 1)]))
    longer = events(14, first=4)
    overlapping = write_of(longer, anomalies(longer, [(2, LATENCY, DetectorName.IQR, 1), (9, LATENCY, DetectorName.ZSCORE, 2)]))
    async with opened(make) as store:
        await store.write([write])
        await store.write([write, write])
        expect("position", await store.position(LOG), 10)
        expect("events", await stored_offsets(store), list(range(9, -1, -1)))
        await store.write([overlapping])
        await store.write([write])
        expect("position", await store.position(LOG), 18)
        expect("events", sorted(await stored_offsets(store)), list(range(18)))
        found = await store.anomalies(AnomalyQuery(range=ALL_TIME))
        expect("anomalies", sorted((a.offset, a.detector) for a in found), [(3, "zscore"), (13, "zscore")])


async def check_everything_survives_a_restart(make: StoreFactory) -> None:
    """A store closed and opened again has the same events, anomalies, positions and traffic."""
    batch = events(120, names=(CHAT, SEARCH))
    async with opened(make) as store:
        await store.write([write_of(batch, anomalies(batch, [(7, LATENCY, DetectorName.MAD, 0)]))])
    async with opened(make) as store:
        expect("position", await store.position(LOG), 120)
        expect("events", len(await stored_events(store)), 120)
        expect("anomalies", len(await store.anomalies(AnomalyQuery(range=ALL_TIME))), 1)
        (traffic,) = await store.timeseries(SeriesQuery(range=ALL_TIME))
        expect("requests", sum(point.requests for point in traffic.points), 120)


async def check_events_of_one_instant_all_survive(make: StoreFactory) -> None:
    """A thousand events of one series in one millisecond, and many in one record, stay a thousand."""
    batch = events(1_000, step_ns=0)
    batch.offsets[:] = np.arange(1_000) // 4
    batch.subs[:] = np.arange(1_000) % 4
    async with opened(make) as store:
        await store.write([write_of(batch)])
        found = await stored_events(store, limit=7)
        expect("events", len(found), 1_000)
        expect("distinct events", len({event["event_id"] for event in found}), 1_000)


async def check_hostile_names_are_only_names(make: StoreFactory) -> None:
    """Quotes, separators, commas, spaces, backslashes and other scripts in names neither break nor mix anything."""
    names = ("'; DROP TABLE events; --", 'a"b', "a,b c=d\\", "日本語 🚀", "%", "__other__", "a\\,b", "a b", " a", "x" * 128, "\u202eevil")
    series = tuple(SeriesKey("default", name, name[::-1]) for name in names)
    async with opened(make) as store:
        await store.write([write_of(events(2 * len(series), names=series))])
        for key in series:
            found = await stored_events(store, series=SeriesFilter(service=key.service))
            expect(f"events of {key.service!r}", [(e["service_name"], e["model_name"]) for e in found], [key[1:]] * 2)


async def check_closing_twice_is_harmless(make: StoreFactory) -> None:
    """A store can be closed twice, also one that was never opened."""
    store = make()
    await store.open()
    await store.close()
    await store.close()
    await make().close()


# ------------------------------------------------------------------------------------------------------------------ reading


async def check_pages_are_newest_first_and_complete(make: StoreFactory) -> None:
    """Following the cursor gives every event once, newest first, whatever the page size and also where times are equal."""
    batch = events(100)
    batch.ts_ns[:] = START_NS + (np.arange(100) * 37 % 100 // 3) * SECOND_NS
    by_offset = dict(zip(batch.offsets.tolist(), batch.ts_ns.tolist(), strict=True))
    async with opened(make) as store:
        await store.write([write_of(batch)])
        for limit in (1, 7, 99, 100, 101):
            offsets = await stored_offsets(store, limit=limit)
            expect("each once", sorted(offsets), list(range(100)))
            times = [by_offset[offset] for offset in offsets]
            expect("newest first", times, sorted(times, reverse=True))


async def check_new_events_do_not_disturb_pages(make: StoreFactory) -> None:
    """Events that arrive between two pages neither repeat nor hide older ones."""
    async with opened(make) as store:
        await store.write([write_of(events(20))])
        page = await store.telemetry(TelemetryQuery(range=ALL_TIME, limit=10))
        await store.write([write_of(events(5, first=20, start_ns=START_NS + 100 * SECOND_NS))])
        rest = await store.telemetry(TelemetryQuery(range=ALL_TIME, limit=10, cursor=page.next_cursor))
        expect("offsets", [event["offset"] for event in page.items + rest.items], list(range(19, -1, -1)))


async def check_a_range_is_half_open(make: StoreFactory) -> None:
    """The start of a range belongs to it, its end does not; absurd ranges are just ranges."""
    async with opened(make) as store:
        batch = events(10)
        await store.write([write_of(batch, anomalies(batch, [(i, LATENCY, DetectorName.ZSCORE, 0) for i in range(10)]))])
        span = TimeRange(START_NS + 2 * SECOND_NS, START_NS + 5 * SECOND_NS)
        expect("events", await stored_offsets(store, span=span), [4, 3, 2])
        expect("anomalies", [a.offset for a in await store.anomalies(AnomalyQuery(range=span))], [4, 3, 2])
        expect("reversed", await stored_offsets(store, span=TimeRange(span.end_ns, span.start_ns)), [])
        expect("huge", len(await stored_offsets(store, span=TimeRange(-(10**30), 10**30))), 10)


async def check_filters_by_series(make: StoreFactory) -> None:
    """Tenant, service and model filter alone and together, exactly; an unknown name matches nothing."""
    other = SeriesKey("acme", "chat-api", "gpt-4")
    mini = SeriesKey("default", "chat-api", "gpt-4o-mini")
    batch = events(8, names=(CHAT, SEARCH, other, mini))
    async with opened(make) as store:
        await store.write([write_of(batch, anomalies(batch, [(i, LATENCY, DetectorName.ZSCORE, 0) for i in range(8)]))])
        for wanted, offsets in (
            (SeriesFilter(), list(range(7, -1, -1))),
            (SeriesFilter(tenant="acme"), [6, 2]),
            (SeriesFilter(service="chat-api"), [7, 6, 4, 3, 2, 0]),
            (SeriesFilter(model="gpt-4o-mini"), [7, 5, 3, 1]),
            (SeriesFilter(service="chat-api", model="gpt-4o-mini"), [7, 3]),
            (SeriesFilter(tenant="default", service="chat-api", model="gpt-4"), [4, 0]),
            (SeriesFilter(service="chat"), []),
            (SeriesFilter(service="CHAT-API"), []),
        ):
            expect(f"events of {wanted}", await stored_offsets(store, series=wanted, limit=3), offsets)
            found = await store.anomalies(AnomalyQuery(range=ALL_TIME, series=wanted))
            expect(f"anomalies of {wanted}", [a.offset for a in found], offsets)


async def check_bad_questions_are_refused(make: StoreFactory) -> None:
    """A cursor nobody gave, a limit below one and a step that is no whole number of minutes are ValueErrors."""
    async with opened(make) as store:
        await store.write([write_of(events(3))])
        for cursor in ("", "x", "not a cursor", "AAAA", "é", "A" * 44, "A" * 5_000, "'; DROP TABLE events; --"):
            await expect_refused(store.telemetry(TelemetryQuery(range=ALL_TIME, cursor=cursor)), f"cursor {cursor[:50]!r}")
        await expect_refused(store.telemetry(TelemetryQuery(range=ALL_TIME, limit=0)), "limit 0")
        await expect_refused(store.anomalies(AnomalyQuery(range=ALL_TIME, limit=-1)), "limit -1")
        for step_s in (0, 30, 90, -60):
            await expect_refused(store.timeseries(SeriesQuery(range=ALL_TIME, step_s=step_s)), f"step {step_s}")


# ------------------------------------------------------------------------------------------------------------------- replay


async def check_a_replay_gives_the_rows_in_log_order(make: StoreFactory) -> None:
    """A replay gives what was learned, in log order from the offset on, absent values as NaN, whatever the blocks."""
    batch = events(12_000, names=(CHAT, SEARCH), step_ns=-SECOND_NS // 1_000)
    batch.flags[::5] = Flag.TOO_OLD
    async with opened(make) as store:
        await store.write([write_of(batch), write_of(events(3, source=LOG._replace(partition=1)))])
        blocks = [block async for block in store.replay(LOG, 1_001)]
        expect("nothing of an unknown log", [block async for block in store.replay(LOG._replace(topic="none"), 0)], [])
        expect("nothing beyond the end", [block async for block in store.replay(LOG, 12_000)], [])
    whole = {name: np.concatenate([getattr(block, name) for block in blocks]) for name in ("offsets", "metrics", "flags", "ts_ns")}
    expect("offsets", whole["offsets"].tolist(), list(range(1_001, 12_000)))
    expect("metrics", np.array_equal(whole["metrics"], batch.metrics[1_001:], equal_nan=True), True)
    expect("flags", np.array_equal(whole["flags"], batch.flags[1_001:]), True)
    expect("times", np.array_equal(whole["ts_ns"], batch.ts_ns[1_001:]), True)
    names = [block.names[i] for block in blocks for i in block.series.tolist()]
    expect("series", names, ([CHAT, SEARCH] * 6_000)[1_001:])
    expect("event ids", [i for block in blocks for i in block.event_ids], batch.event_ids[1_001:])


# ------------------------------------------------------------------------------------------------------------------ traffic


async def check_traffic_adds_up(make: StoreFactory) -> None:
    """Every step has the sums of its events, and percentiles within 1% of the values themselves."""
    batch = events(3_000, step_ns=SECOND_NS // 10, start_ns=START_NS // (60 * SECOND_NS) * 60 * SECOND_NS)
    async with opened(make) as store:
        for first in range(0, 3_000, 500):
            part = batch.take((batch.offsets >= first) & (batch.offsets < first + 500))
            await store.write([write_of(part)])
    async with opened(make) as store:
        (traffic,) = await store.timeseries(SeriesQuery(range=ALL_TIME, step_s=120))
    expect("for all series together", (traffic.tenant, traffic.service, traffic.model), (None, None, None))
    steps = batch.ts_ns // (120 * SECOND_NS)
    expect("steps", len(traffic.points), len(np.unique(steps)))
    for step, point in zip(np.unique(steps), traffic.points, strict=True):
        rows = batch.metrics[steps == step]
        latency = np.sort(rows[:, LATENCY])
        expect("requests", point.requests, len(rows))
        expect("errors", point.errors, int(rows[:, ERROR].sum()))
        expect("prompt tokens", point.prompt_tokens, rows[:, PROMPT_TOKENS].sum())
        expect("no completion tokens", point.completion_tokens, 0)
        expect_close("cost", point.cost_usd, rows[:, COST].sum(), 1e-9)
        expect_close("mean", point.latency_mean_ms, latency.mean(), 1e-9)
        for q, estimate in ((0.5, point.latency_p50_ms), (0.95, point.latency_p95_ms), (0.99, point.latency_p99_ms)):
            expect_close(f"quantile {q}", estimate, latency[int(np.ceil(q * len(latency))) - 1], 0.01)
        expect("no ttft", (point.ttft_p50_ms, point.ttft_p95_ms), (None, None))


async def check_traffic_by_series_starts_with_the_busiest(make: StoreFactory) -> None:
    """By series there is one list a series, the busiest first, no more than the limit; filters and ranges hold."""
    third = SeriesKey("default", "batch", "small")
    batch = events(600, names=(CHAT, SEARCH, SEARCH._replace(tenant="acme"), SEARCH, SEARCH, third))
    async with opened(make) as store:
        await store.write([write_of(batch)])
    async with opened(make) as store:
        answer = await store.timeseries(SeriesQuery(range=ALL_TIME, by_series=True, limit=2, step_s=3_600))
        expect("busiest first", (answer[0].tenant, answer[0].service, len(answer)), ("default", "search", 2))
        expect("its requests", sum(point.requests for point in answer[0].points), 300)
        (chat,) = await store.timeseries(SeriesQuery(range=ALL_TIME, by_series=True, series=SeriesFilter(service="chat-api")))
        expect("filtered", (chat.service, sum(point.requests for point in chat.points)), ("chat-api", 100))
        expect("in order of time", [p.timestamp for p in chat.points], sorted(p.timestamp for p in chat.points))
        (first,) = await store.timeseries(SeriesQuery(range=TimeRange(START_NS, START_NS + 1)))
        expect("whole minutes", [(p.timestamp, p.requests) for p in first.points], [("2026-01-15T10:30:00.000Z", 60)])
        expect("nothing in between", await store.timeseries(SeriesQuery(range=TimeRange(0, 1), by_series=True)), [])


CHECKS: Final[tuple[Check, ...]] = (
    *(check for name, check in sorted(globals().items()) if name.startswith("check_")),
    *store_suite_anomalies.CHECKS,
)
"""All of them."""
