"""What every store must do with anomalies, of single events and of time windows: a part of `store_suite.CHECKS`."""

from dataclasses import replace
from typing import Any, Final

import numpy as np

from sentinel.core.anomaly import Contributor, DetectorName
from sentinel.core.batch import SeriesKey
from sentinel.core.metrics import COST, ERROR, LATENCY, TTFT
from sentinel.core.query import AnomalyQuery, SeriesFilter, TimeRange
from sentinel.testing.expect import expect
from sentinel.testing.store_events import (
    CHAT,
    LOG,
    SEARCH,
    SECOND_NS,
    START_NS,
    anomalies,
    events,
    mark_of,
    tick_anomaly,
    write_of,
)
from sentinel.testing.store_under_test import ALL_TIME, Check, StoreFactory, opened, stored_events


async def check_an_anomaly_is_read_back_explained(make: StoreFactory) -> None:
    """An anomaly comes back by id and in lists with its numbers, its event, its type, direction and a sentence."""
    batch = events(10)
    batch = replace(batch, trace_ids=[f"trace-{i}" for i in range(10)])
    found = anomalies(batch, [(5, LATENCY, DetectorName.ZSCORE, 1), (9, LATENCY, DetectorName.CUSUM, 2)])
    async with opened(make) as store:
        await store.write([write_of(batch, found)])
        spike = await store.anomaly(found.ids[0])
        drift = await store.anomaly(found.ids[1])
        listed = await store.anomalies(AnomalyQuery(range=ALL_TIME))
        expect("an unknown id", await store.anomaly("nobody"), None)
    if spike is None or drift is None:
        raise AssertionError("an anomaly is missing")
    expect("listed, newest first", listed, [drift, spike])
    expect("numbers", (spike.value, spike.expected, spike.lower, spike.upper, spike.score), (6.0, 3.0, 2.0, 4.0, 2.5))
    expect("baseline", (spike.baseline_mean, spike.baseline_stddev, spike.z_score), (3.0, 0.5, 6.0))
    expect("samples", (spike.samples, spike.window, spike.confidence), (250, 1_000, 0.25))
    expect("event", (spike.event_id, spike.trace_id, spike.partition, spike.offset), ("event-0-5", "trace-5", str(LOG), 5))
    expect("time", spike.timestamp, "2026-01-15T10:30:05.123Z")
    expect("series", (spike.tenant, spike.service, spike.model), CHAT)
    expect("words", (spike.metric, spike.detector, spike.severity, spike.direction), ("latency_ms", "zscore", "warning", "above"))
    expect("types", (spike.type, drift.type), ("latency_spike", "latency_drift"))
    expect("absent band", (drift.lower, drift.upper), (None, None))
    for anomaly in listed:
        expect(f"explanation names its series: {anomaly.explanation}", "chat-api / gpt-4" in anomaly.explanation, True)


async def check_anomalies_are_filtered_and_limited(make: StoreFactory) -> None:
    """Severity, metric and detector filter alone and together; the limit keeps the newest."""
    batch = events(6)
    batch.metrics[:, TTFT] = 1.0
    found = [
        (0, LATENCY, DetectorName.ZSCORE, 0),
        (1, LATENCY, DetectorName.IQR, 1),
        (2, TTFT, DetectorName.ZSCORE, 1),
        (3, LATENCY, DetectorName.ZSCORE, 2),
        (4, COST, DetectorName.MAD, 2),
    ]
    async with opened(make) as store:
        await store.write([write_of(batch, anomalies(batch, found))])
        questions: tuple[tuple[dict[str, Any], list[int]], ...] = (
            ({}, [4, 3, 2, 1, 0]),
            ({"limit": 2}, [4, 3]),
            ({"severity": "warning"}, [2, 1]),
            ({"metric": "latency_ms"}, [3, 1, 0]),
            ({"detector": "zscore"}, [3, 2, 0]),
            ({"detector": "zscore", "metric": "latency_ms", "severity": "critical"}, [3]),
            ({"severity": "apocalyptic"}, []),
            ({"metric": "value; DROP TABLE anomalies"}, []),
        )
        for question, offsets in questions:
            answer = await store.anomalies(AnomalyQuery(range=ALL_TIME, **question))
            expect(f"anomalies of {question}", [a.offset for a in answer], offsets)


# -------------------------------------------------------------------------------------------------- anomalies of time windows


async def check_a_tick_anomaly_is_read_back_whole(make: StoreFactory) -> None:
    """An anomaly of a time window comes back by id and in lists with every field as it was, also where most are absent."""
    whole = tick_anomaly(5)
    bare = tick_anomaly(
        6, metric="requests_per_minute", detector=DetectorName.SILENCE, severity="critical",
        expected=None, lower=None, upper=None, baseline_mean=None, baseline_stddev=None, z_score=None,
        since=None, contributors=[], exemplars=[], markers=[],
    )  # fmt: skip
    of_event = tick_anomaly(
        7, detector=DetectorName.USAGE, event_id="event-7", trace_id="trace-7", timestamp="2026-01-15T10:30:07.000000001Z"
    )
    async with opened(make) as store:
        await store.write([write_of(events(8), ticks=[whole, bare, of_event])])
        for anomaly in (whole, bare, of_event):
            expect("by its id", await store.anomaly(anomaly.id), anomaly)
        expect("listed, newest first", await store.anomalies(AnomalyQuery(range=ALL_TIME)), [of_event, bare, whole])
    async with opened(make) as store:
        expect("after a restart", await store.anomalies(AnomalyQuery(range=ALL_TIME)), [of_event, bare, whole])


async def check_numbers_that_cannot_be_written_are_replaced(make: StoreFactory) -> None:
    """The largest number stands for infinity; where there is no number, there is none."""
    nan, inf = float("nan"), float("inf")
    odd = tick_anomaly(1, value=inf, score=nan, expected=-inf, lower=nan)
    async with opened(make) as store:
        await store.write([mark_of(0, odd)])
        found = await store.anomaly(odd.id)
    if found is None:
        raise AssertionError("an anomaly is missing")
    largest = float(np.finfo(np.float64).max)
    expect("numbers", (found.value, found.score, found.expected, found.lower), (largest, 0.0, -largest, None))


async def check_tick_anomalies_are_stored_once(make: StoreFactory) -> None:
    """A repeat changes nothing, also after a restart; a write that ends below the position changes nothing either."""
    first, second, late = tick_anomaly(1), tick_anomaly(2), tick_anomaly(3)
    batch = events(10)
    async with opened(make) as store:
        await store.write([write_of(batch, ticks=[first, second])])
        await store.write([write_of(batch, ticks=[first, second]), write_of(batch, ticks=[first])])
        await store.write([write_of(events(4), ticks=[late])])
        expect("stored", await store.anomalies(AnomalyQuery(range=ALL_TIME)), [second, first])
    async with opened(make) as store:
        await store.write([write_of(batch, ticks=[first, second])])
        expect("after a restart", await store.anomalies(AnomalyQuery(range=ALL_TIME)), [second, first])
        expect("position", await store.position(LOG), 10)


async def check_a_time_mark_stores_where_the_position_stays(make: StoreFactory) -> None:
    """Without events and at the position there is, the anomalies of the windows that closed are stored; a repeat changes nothing."""
    first, second = tick_anomaly(20), tick_anomaly(30)
    async with opened(make) as store:
        await store.write([write_of(events(10))])
        for _ in range(2):
            await store.write([mark_of(10, first)])
        await store.write([mark_of(10, first, second), mark_of(10, second)])
        expect("stored", await store.anomalies(AnomalyQuery(range=ALL_TIME)), [second, first])
        expect("position", await store.position(LOG), 10)
        expect("events", len(await stored_events(store)), 10)
        await store.write([write_of(events(2, first=10))])
        expect("position afterwards", await store.position(LOG), 12)


async def check_both_kinds_are_one_list(make: StoreFactory) -> None:
    """Anomalies of events and of time windows are merged, newest first, up to one limit; those of one instant are all there."""
    batch = events(8)
    found = anomalies(batch, [(1, LATENCY, DetectorName.ZSCORE, 0), (4, LATENCY, DetectorName.CUSUM, 2), (7, LATENCY, DetectorName.MAD, 0)])
    ticks = [tick_anomaly(at) for at in (0, 3, 5, 7)]
    async with opened(make) as store:
        await store.write([write_of(batch, found, ticks=ticks)])
        listed = [(a.offset, str(a.detector)) for a in await store.anomalies(AnomalyQuery(range=ALL_TIME))]
        expect("of one instant", set(listed[:2]), {(7, "rate"), (7, "mad")})
        merged = [*listed[:2], (5, "rate"), (4, "cusum"), (3, "rate"), (1, "zscore"), (0, "rate")]
        expect("merged", listed, merged)
        for limit in range(1, 8):
            some = await store.anomalies(AnomalyQuery(range=ALL_TIME, limit=limit))
            expect(f"limit {limit}", [(a.offset, str(a.detector)) for a in some], merged[:limit])
        span = TimeRange(START_NS + 3 * SECOND_NS, START_NS + 4 * SECOND_NS)
        expect("of a range", [a.offset for a in await store.anomalies(AnomalyQuery(range=span))], [3])


async def check_filters_hold_for_both_kinds(make: StoreFactory) -> None:
    """Kind, type, metric, detector, severity and series filter anomalies of events and of time windows alike."""
    batch = events(6, names=(CHAT, SEARCH))
    found = [(0, LATENCY, DetectorName.ZSCORE, 0), (1, ERROR, DetectorName.MAD, 1), (2, COST, DetectorName.THRESHOLD, 2)]
    ticks = [
        tick_anomaly(3),
        tick_anomaly(4, SEARCH, metric="latency_ms", detector=DetectorName.LEVEL, type="regime_change", severity="critical"),
        tick_anomaly(5, metric="cost_usd_per_minute", detector=DetectorName.THRESHOLD, type="budget", severity="info"),
    ]
    async with opened(make) as store:
        await store.write([write_of(batch, anomalies(batch, found), ticks=ticks)])
        questions: tuple[tuple[dict[str, Any], list[int]], ...] = (
            ({"kind": "window"}, [5, 4, 3]),
            ({"kind": "event"}, [2, 1, 0]),
            ({"type": "error_rate_increase"}, [3, 1]),
            ({"type": "error_rate_increase", "kind": "event"}, [1]),
            ({"type": "implausible_value"}, [2]),
            ({"type": "regime_change"}, [4]),
            ({"type": "nothing"}, []),
            ({"metric": "latency_ms"}, [4, 0]),
            ({"metric": "cost_usd_per_minute"}, [5]),
            ({"detector": "threshold"}, [5, 2]),
            ({"detector": "rate", "kind": "event"}, []),
            ({"severity": "critical"}, [4, 2]),
            ({"series": SeriesFilter(service="search")}, [4, 1]),
            ({"series": SeriesFilter(service="chat-api", model="gpt-4"), "severity": "info"}, [5, 0]),
        )
        for question, offsets in questions:
            answer = await store.anomalies(AnomalyQuery(range=ALL_TIME, **question))
            expect(f"anomalies of {question}", [a.offset for a in answer], offsets)


async def check_windows_of_nobody_are_an_empty_list(make: StoreFactory) -> None:
    """Before any anomaly of a time window was stored, asking for them, or for a type only they have, finds nothing."""
    batch = events(3)
    async with opened(make) as store:
        expect("of an empty store", await store.anomalies(AnomalyQuery(range=ALL_TIME, kind="window")), [])
        await store.write([write_of(batch, anomalies(batch, [(0, LATENCY, DetectorName.ZSCORE, 0)]))])
        expect("windows", await store.anomalies(AnomalyQuery(range=ALL_TIME, kind="window")), [])
        expect("a type of windows", await store.anomalies(AnomalyQuery(range=ALL_TIME, type="silence")), [])
        expect("of events", len(await store.anomalies(AnomalyQuery(range=ALL_TIME, kind="event", type="latency_spike"))), 1)
        await store.write([mark_of(3, tick_anomaly(3))])
        expect("now", len(await store.anomalies(AnomalyQuery(range=ALL_TIME, kind="window"))), 1)


async def check_hostile_tick_anomalies_are_only_texts(make: StoreFactory) -> None:
    """Names, sentences and contributors from events break nothing, and come back as they were."""
    text = '\'; DROP TABLE tick_anomalies; -- "a\\,b=c" 日本語 🚀 %5C \u202eevil'
    told = tick_anomaly(
        1,
        SeriesKey("a b,c=d", text, "m\\"),
        explanation=text * 50,
        exemplars=[text],
        contributors=[Contributor(dimension="model", value=text, share=1.0)],
    )
    nobody = tick_anomaly(2, SeriesKey("default", "chat-api", ""))
    async with opened(make) as store:
        await store.write([mark_of(0, told, nobody)])
        expect("by its id", await store.anomaly(told.id), told)
        expect("by its service", await store.anomalies(AnomalyQuery(range=ALL_TIME, series=SeriesFilter(service=text))), [told])
        expect("of no model", await store.anomaly(nobody.id), nobody)
        questions: tuple[dict[str, Any], ...] = ({"type": text}, {"metric": text}, {"detector": text})
        for question in questions:
            expect(f"anomalies of {question}", await store.anomalies(AnomalyQuery(range=ALL_TIME, **question)), [])


CHECKS: Final[tuple[Check, ...]] = tuple(check for name, check in sorted(globals().items()) if name.startswith("check_"))
