"""Anomalies of time windows over HTTP: listed with those of events, whole, and by every filter; what is expected of them as baselines."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from api_client import Client, event

from sentinel.api.baselines import ROWS_PER_LOCK
from sentinel.core.anomaly import Anomaly, DetectorName
from sentinel.core.batch import SeriesKey
from sentinel.detection.baselines import BaselineView
from sentinel.detection.over_time import OverTime
from sentinel.detection.ticks import TickBand, Ticks
from sentinel.testing.store_events import START_NS, mark_of, tick_anomaly

WINDOWS = [
    tick_anomaly(1),
    tick_anomaly(2, detector=DetectorName.SILENCE, type="silence", metric="requests_per_minute", severity="critical"),
    tick_anomaly(3, detector="others.own", type="custom", metric="mood"),
]
RANGE = "start=2026-01-15T10:00:00Z&end=2026-01-15T11:00:00Z"


@pytest.fixture
async def told(client: Client) -> Client:
    """A client of a daemon with anomalies of one event, from its limits, and of three time windows."""
    at = "2026-01-15T10:30:00Z"
    await client.send([event(0, timestamp=at, latency_ms=999_999_999)])
    position = (await client.daemon.store.position(next(iter(client.daemon.pipeline.shards)))) or 0
    await client.daemon.store.write([mark_of(position, *WINDOWS)])
    return client


async def listed(client: Client, query: str) -> list[Anomaly]:
    """The anomalies of a question."""
    answer = await client.get(f"/api/v1/anomalies{query}")
    assert answer.status == 200, answer.body
    assert answer.json["count"] == len(answer.json["anomalies"])
    return msgspec.convert(answer.json["anomalies"], list[Anomaly])


async def test_they_are_shown_whole(told: Client) -> None:
    """By id and in lists, with since, contributors, exemplars and markers."""
    assert (await listed(told, "/recent?kind=window")) == WINDOWS[::-1]
    answer = (await told.get(f"/api/v1/anomalies/{WINDOWS[0].id}")).json
    assert answer == msgspec.to_builtins(WINDOWS[0])
    assert (answer["since"], answer["markers"], answer["exemplars"]) == ("2026-01-15T10:29:41.123Z", ["deploy-7"], ["trace-1", "trace-2"])
    assert answer["contributors"][0] == {"dimension": "finish_reason", "value": 'content "filter"', "share": 0.75, "usual": 0.125}


async def test_both_kinds_are_one_list(told: Client) -> None:
    """Newest first, and each kind alone."""
    both = await listed(told, f"?{RANGE}")
    assert [one.id for one in both[:3]] == [one.id for one in WINDOWS[::-1]]
    assert len(both) == 4
    assert await listed(told, f"?{RANGE}&kind=window") == both[:3]
    assert await listed(told, f"?{RANGE}&kind=event") == both[3:]
    assert both[3].type == "implausible_value"


async def test_they_are_found_by_every_filter(told: Client) -> None:
    """Also by the names of metrics and detectors that events do not have; what nobody has matches nothing."""
    both = await listed(told, f"?{RANGE}")
    for name in ("severity", "metric", "detector", "type", "service", "tenant"):
        for value in {getattr(one, name) for one in both}:
            assert await listed(told, f"?{RANGE}&{name}={value}") == [one for one in both if getattr(one, name) == value], (name, value)
    for query in ("metric=nothing", "detector=nobody", "type=none"):
        assert await listed(told, f"?{RANGE}&{query}") == []


async def test_the_status_counts_them(told: Client) -> None:
    """As anomalies of the store."""
    assert (await told.get("/api/v1/status")).json["store"]["anomalies"] == 4


# -------------------------------------------------------------------------------------------------------------- baselines


def band(series: SeriesKey, quantity: str = "error_rate", **changes: Any) -> TickBand:
    """What is expected of a quantity."""
    numbers = {"expected": 0.01, "lower": 0.0, "upper": 0.04, "latest": 0.25, "confidence": 0.875, "samples": 360, "open": True}
    return TickBand(series=series, quantity=quantity, **numbers | changes)


CHAT, MAIL = SeriesKey("default", "chat", "gpt"), SeriesKey("acme", "mail", "gpt")


@pytest.fixture
async def expecting(client: Client, monkeypatch: pytest.MonkeyPatch) -> Client:
    """A client of a daemon whose time windows expect something of two series, one of which has events."""
    await client.send([event(i) for i in range(20)])
    bands = [[band(CHAT), band(CHAT, "requests_per_minute", latest=float("nan"), open=False)], [band(MAIL)]]
    monkeypatch.setattr(Ticks, "names", property(lambda _self: [CHAT, MAIL]))
    monkeypatch.setattr(OverTime, "bands", lambda _self, rows: [one for row in rows for one in bands[row]])
    return client


async def shown(client: Client, query: str) -> list[dict[str, Any]]:
    """The baselines of a question."""
    answer = (await client.get(f"/api/v1/baselines?{query}")).json
    assert answer["count"] == len(answer["baselines"])
    found: list[dict[str, Any]] = answer["baselines"]
    return found


async def test_bands_of_time_windows_are_baselines(expecting: Client) -> None:
    """With what is expected, its band, what came, and how far it can be trusted; what is not known is null."""
    first, second, third = await shown(expecting, "kind=window")
    assert (first["key"], first["kind"], first["expected"], first["lower"], first["upper"]) == (
        "chat:gpt:error_rate",
        "window",
        0.01,
        0.0,
        0.04,
    )
    assert (first["latest"], first["confidence"], first["samples"], first["open"], first["mean"]) == (0.25, 0.875, 360, True, None)
    assert (second["metric"], second["latest"], second["open"]) == ("requests_per_minute", None, False)
    assert (third["tenant"], third["service"]) == ("acme", "mail")


async def test_baselines_of_both_kinds_and_of_each(expecting: Client) -> None:
    """Both together by default, windows of samples first; filters and the limit hold for both."""
    both = await shown(expecting, "")
    assert [one["kind"] for one in both] == ["event"] * (len(both) - 3) + ["window"] * 3
    assert await shown(expecting, "kind=event") == both[:-3]
    assert all(one["open"] is None and one["expected"] == one["mean"] for one in both[:-3])
    assert await shown(expecting, "service=mail") == both[-1:]
    assert await shown(expecting, "metric=error_rate") == [both[-3], both[-1]]
    assert await shown(expecting, f"limit={len(both) - 2}") == both[:-2]
    assert await shown(expecting, "limit=1") == both[:1]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows of every read of windows."""
    read: list[int] = []

    def views(_self: object, rows: range, _chosen: Callable[[SeriesKey, str], bool]) -> list[BaselineView]:
        read.extend(rows)
        return []

    monkeypatch.setattr("sentinel.detection.baselines.Baselines.views", views)
    return read


async def test_only_the_rows_of_the_wanted_series_are_read(client: Client, counted: list[int]) -> None:
    """Whatever else is there: the worker is not kept waiting for other series."""
    await client.send([event(i, service_name=f"service-{i}") for i in range(100)])
    await shown(client, "service=service-42&kind=event")
    assert counted == [42]
    counted.clear()
    await shown(client, "model=none")
    assert counted == []


async def test_only_the_time_windows_of_the_wanted_series_are_read(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for windows of samples, and a few at a time."""
    await client.send([event(i, service_name=f"service-{i}") for i in range(100)])
    read: list[list[int]] = []

    def bands(_self: object, rows: range) -> list[TickBand]:
        read.append(list(rows))
        return []

    monkeypatch.setattr(OverTime, "bands", bands)
    await shown(client, "service=service-42&kind=window")
    assert read == [[42]]
    read.clear()
    await shown(client, "kind=window")
    assert [row for rows in read for row in rows] == list(range(100))
    assert max(map(len, read)) <= ROWS_PER_LOCK


assert START_NS // 10**9 == 1_768_473_000  # RANGE is around it
