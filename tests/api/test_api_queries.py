"""The reading side over HTTP: what was handed in can be asked for, exactly, and what cannot be used is named."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from api_client import Client, Started, event

from sentinel.config.schema import Detection
from sentinel.config.sections_detection import Baseline

MOMENT = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=3)
"""The time of event 0; the ones after it follow by the minute."""
HOSTILE = [
    "' OR 1=1 --",
    "'; DROP TABLE events; --",
    "%",
    "chat' UNION SELECT * FROM events--",
    '"',
    "\\",
    "*",
    "a" * 5_000,
    "\u202e\x00\ud7ff",
    "${jndi:x}",
    "1e999",
    "NaN",
    "-1",
    "[]",
]


def at(i: int, **more: object) -> dict[str, Any]:
    """Event number i at its own minute."""
    return event(i, timestamp=(MOMENT + timedelta(minutes=i)).isoformat(), **more)


async def ids(client: Client, query: str) -> list[str]:
    """The event ids of a telemetry query, in order."""
    answer = await client.get(f"/api/v1/telemetry?{query}")
    assert answer.status == 200, answer.body
    assert answer.json["count"] == len(answer.json["data"])
    return [item["event_id"] for item in answer.json["data"]]


async def test_an_event_comes_back_as_it_was_sent(client: Client) -> None:
    """Field names of the flat dialect, derived total, flags; the user only as a pseudonym, texts not at all."""
    await client.send([at(0, user_id="alice@example.com", prompt_text="my secret", cost_usd=0.25, provider="openai")])
    (item,) = (await client.get("/api/v1/telemetry")).json["data"]
    assert (item["service_name"], item["model_name"], item["latency_ms"], item["cost_usd"]) == ("chat", "gpt", 100.0, 0.25)
    assert (item["total_tokens"], item["provider"], item["flags"], item["error"]) == (15, "openai", [], False)
    assert item["timestamp"] == MOMENT.isoformat().replace("+00:00", ".000Z")
    assert b"alice" not in (await client.get("/api/v1/telemetry")).body
    assert b"my secret" not in (await client.get("/api/v1/telemetry")).body


async def test_telemetry_filters(client: Client) -> None:
    """Service, model, tenant and time range narrow the answer; newest first."""
    await client.send([at(0), at(1, service_name="search"), at(2, model_name="claude"), at(3, tenant="acme")])
    assert await ids(client, "") == ["e3", "e2", "e1", "e0"]
    assert await ids(client, "service=search") == ["e1"]
    assert await ids(client, "service=chat&model=gpt") == ["e3", "e0"]
    assert await ids(client, "tenant=acme") == ["e3"]
    assert await ids(client, "service=nobody") == []
    start = (MOMENT + timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    end = (MOMENT + timedelta(minutes=3)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert await ids(client, f"start={start}&end={end}") == ["e2", "e1"]
    assert await ids(client, f"end={end}&hours=0.02") == ["e2"]
    assert await ids(client, "hours=1") == []


async def test_the_answer_says_which_range_it_is_about(client: Client) -> None:
    """The range is what was asked for, to the microsecond."""
    answer = await client.get("/api/v1/telemetry?start=2026-01-31T12:00:00.123457Z&end=2026-02-01")
    assert answer.json["timeRange"] == {"start": "2026-01-31T12:00:00.123457Z", "end": "2026-02-01T00:00:00.000Z"}


async def test_pages_give_each_event_once(client: Client) -> None:
    """Following nextCursor: every event once and in order, also among equal times, and while new events arrive."""
    await client.send([at(i // 3, event_id=f"e{i}") for i in range(25)])
    found: list[str] = []
    query = "limit=4"
    pages = 0
    while True:
        page = (await client.get(f"/api/v1/telemetry?{query}")).json
        found += [item["event_id"] for item in page["data"]]
        pages += 1
        if page["nextCursor"] is None:
            break
        query = f"limit=4&cursor={page['nextCursor']}"
        await client.send([at(100, event_id=f"new{pages}")])
    assert found == [f"e{i}" for i in reversed(range(25))]
    assert pages == 7


async def test_filters_hold_on_every_page(client: Client) -> None:
    """A cursor carries the place, the filters are given again."""
    await client.send([at(i, service_name=("a", "b")[i % 2]) for i in range(10)])
    first = (await client.get("/api/v1/telemetry?service=a&limit=3")).json
    second = (await client.get(f"/api/v1/telemetry?service=a&limit=3&cursor={first['nextCursor']}")).json
    assert [item["event_id"] for item in first["data"] + second["data"]] == ["e8", "e6", "e4", "e2", "e0"]


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("telemetry?limit=0", "limit"),
        ("telemetry?limit=1001", "limit"),
        ("telemetry?limit=1.5", "limit"),
        ("telemetry?limit=٣", "limit"),
        ("telemetry?limit=" + "9" * 5_000, "limit"),
        ("telemetry?limit=1&limit=2", "limit"),
        ("telemetry?hours=0", "hours"),
        ("telemetry?hours=nan", "hours"),
        ("telemetry?hours=inf", "hours"),
        ("telemetry?hours=x", "hours"),
        ("telemetry?start=yesterday", "start"),
        ("telemetry?end=0001-01-01T00:00:00Z", "end"),
        ("telemetry?end=9999-12-31T23:59:59-23:00", "end"),
        ("telemetry?start=2026-01-02&end=2026-01-01", "start"),
        ("telemetry?cursor=x", "cursor"),
        ("telemetry?cursor=" + "A" * 44, "cursor"),
        ("telemetry?cursor=%00%ff", "cursor"),
        ("telemetry?servce=chat", "servce"),
        ("telemetry?severity=info", "severity"),
        ("anomalies?severity=fatal", "severity"),
        ("anomalies?metric=a%20b", "metric"),
        ("anomalies?detector=" + "x" * 65, "detector"),
        ("anomalies?type=%27", "type"),
        ("anomalies?kind=both", "kind"),
        ("anomalies/recent?kind=x", "kind"),
        ("anomalies?hours=9000", "hours"),
        ("anomalies/recent?limit=-1", "limit"),
        ("anomalies/recent?hours=1", "hours"),
        ("anomalies/x?y=1", "y"),
        ("baselines?metric=", "metric"),
        ("baselines?kind=tick", "kind"),
        ("markers?limit=0", "limit"),
        ("markers?service=a", "service"),
        ("feedback/precision?hours=1", "hours"),
        ("baselines?hours=1", "hours"),
        ("metrics/summary?limit=1", "limit"),
        ("services?service=a", "service"),
        ("applications?x=1", "x"),
        ("status?x=1", "x"),
        ("ledger?x=1", "x"),
    ],
)
async def test_an_unusable_parameter_is_named(client: Client, path: str, named: str) -> None:
    """Unknown, repeated or impossible: 400 with the name of the parameter, never a silent default and never a server error."""
    answer = await client.get(f"/api/v1/{path}")
    assert (answer.status, answer.headers["Content-Type"]) == (400, "application/problem+json")
    assert named in answer.json["detail"]
    assert len(answer.body) < 1_000


async def test_hostile_values_match_nothing_and_break_nothing(client: Client) -> None:
    """Values are values: no service of such a name, so no row; the tables are still there."""
    await client.send([at(0)])
    for value in HOSTILE:
        for path in ("telemetry", "anomalies", "baselines"):
            for name in ("service", "model", "tenant"):
                answer = await client.call("GET", f"/api/v1/{path}", params={name: value})
                assert (answer.status, answer.json["count"]) == (200, 0), (path, name, value)
        assert (await client.call("POST", "/api/v1/metrics/timeseries", json={"service": value})).status == 200
        assert (await client.call("GET", f"/api/v1/anomalies/{value.replace('/', '')[:100]}")).status == 404
    assert await ids(client, "") == ["e0"]


# -------------------------------------------------------------------------------------------------------------- anomalies


@pytest.fixture
async def spiked(start: Started) -> Client:
    """Two services with sixty calm events each and one that is far out."""
    client = await start(detection=Detection(baseline=Baseline(window_size=50)))
    calm = [at(i, service_name=name, event_id=f"{name}{i}") for i in range(60) for name in ("a", "b")]
    await client.send([*calm, at(61, service_name="a", event_id="far", latency_ms=9_000, trace_id="t1")])
    return client


async def test_anomalies_by_every_filter(spiked: Client) -> None:
    """Each filter gives exactly the ones of the whole list that match it."""
    whole = (await spiked.get("/api/v1/anomalies?limit=1000")).json
    assert whole["count"] == len(whole["anomalies"]) >= 3
    for name in ("severity", "service", "model", "metric", "detector", "type"):
        values = {anomaly[name] for anomaly in whole["anomalies"]}
        for value in values:
            found = (await spiked.get(f"/api/v1/anomalies?limit=1000&{name}={value}")).json["anomalies"]
            assert found == [anomaly for anomaly in whole["anomalies"] if anomaly[name] == value]
    assert (await spiked.get("/api/v1/anomalies?service=b&severity=critical")).json["count"] == 0
    assert (await spiked.get("/api/v1/anomalies?hours=0.5")).json["count"] == 0


async def test_an_anomaly_tells_its_story(spiked: Client) -> None:
    """Which event, how far out, against what, and in words; the same by its id."""
    found = (await spiked.get("/api/v1/anomalies?detector=zscore&severity=critical")).json["anomalies"]
    (far,) = [anomaly for anomaly in found if anomaly["metric"] == "latency_ms"]
    assert (far["event_id"], far["trace_id"], far["service"], far["value"], far["type"]) == ("far", "t1", "a", 9000.0, "latency_spike")
    assert far["score"] > 3
    assert far["lower"] < far["baseline_mean"] < far["upper"] < far["value"]
    assert (far["direction"], far["samples"], far["window"]) == ("above", 50, 50)
    assert "9000" in far["explanation"].replace(",", "").replace(" ", "")
    assert (await spiked.get(f"/api/v1/anomalies/{far['id']}")).json == far


async def test_recent_anomalies_are_the_newest(spiked: Client) -> None:
    """Newest first, ten by default, at most as many as asked for."""
    whole = (await spiked.get("/api/v1/anomalies?limit=1000")).json["anomalies"]
    assert (await spiked.get("/api/v1/anomalies/recent?limit=2")).json["anomalies"] == whole[:2]
    assert (await spiked.get("/api/v1/anomalies/recent")).json["anomalies"] == whole[:10]
    assert whole == sorted(whole, key=lambda anomaly: anomaly["timestamp"], reverse=True)


async def test_an_unknown_anomaly_is_not_found(client: Client) -> None:
    """404 as a problem, with what may be the reason."""
    answer = await client.get("/api/v1/anomalies/nothing")
    assert (answer.status, answer.headers["Content-Type"]) == (404, "application/problem+json")
    assert "retention" in answer.json["detail"]


# -------------------------------------------------------------------------------------------------------------- baselines


async def test_baselines_are_what_is_in_the_windows(spiked: Client) -> None:
    """Exact statistics by series and metric, with their band; filters and limit hold."""
    answer = (await spiked.get("/api/v1/baselines?service=b&metric=latency_ms")).json
    (found,) = answer["baselines"]
    window = [100.0 + i % 7 for i in range(10, 60)]
    mean = sum(window) / 50
    assert (found["key"], found["samples"], found["min"], found["max"]) == ("b:gpt:latency_ms", 50, 100.0, 106.0)
    assert found["mean"] == pytest.approx(mean)
    assert found["stddev"] == pytest.approx((sum((value - mean) ** 2 for value in window) / 49) ** 0.5)
    assert found["lower"] == pytest.approx(mean - 3 * found["stddev"])
    assert found["upper"] == pytest.approx(mean + 3 * found["stddev"])
    assert found["updated_at"] == (MOMENT + timedelta(minutes=61)).isoformat().replace("+00:00", ".000Z")
    assert (await spiked.get("/api/v1/baselines?limit=3")).json["count"] == 3
    assert (await spiked.get("/api/v1/baselines?model=none")).json == {"baselines": [], "count": 0}
    assert (await spiked.get("/api/v1/baselines?tenant=default&kind=event&limit=1000")).json["count"] == 8


# ---------------------------------------------------------------------------------------------------------------- traffic


async def test_timeseries_by_step_and_by_series(client: Client) -> None:
    """Requests, errors, tokens and cost add up; by series the busiest comes first."""
    busy = [at(i, service_name="busy", cost_usd=0.5) for i in range(60)]
    quiet = [at(i, service_name="quiet", event_id=f"q{i}", error=True) for i in range(5)]
    await client.send([*busy, *quiet])
    await client.daemon.store.fold()
    whole = (await client.post({"minutes": 240, "step_s": 3600}, "/api/v1/metrics/timeseries")).json["series"]
    assert [series["service"] for series in whole] == [None]
    points = whole[0]["points"]
    assert (sum(p["requests"] for p in points), sum(p["errors"] for p in points)) == (65, 5)
    assert sum(p["cost_usd"] for p in points) == pytest.approx(30)
    assert sum(p["total_tokens"] for p in points) == 65 * 15
    assert all(99 <= p["latency_p50_ms"] <= 108.1 for p in points)  # 100 to 107, estimated to within 1%
    split = (await client.post({"minutes": 240, "by_series": True}, "/api/v1/metrics/timeseries")).json["series"]
    assert [(series["service"], sum(p["requests"] for p in series["points"])) for series in split] == [("busy", 60), ("quiet", 5)]
    one = (await client.post({"minutes": 240, "by_series": True, "service": "quiet"}, "/api/v1/metrics/timeseries")).json["series"]
    assert [series["service"] for series in one] == ["quiet"]
    assert len((await client.post({"minutes": 240, "by_series": True, "limit": 1}, "/api/v1/metrics/timeseries")).json["series"]) == 1


@pytest.mark.parametrize(
    "body",
    [
        b'{"minutes": 0}',
        b'{"step_s": 61}',
        b'{"minute": 5}',
        b'{"limit": 201}',
        b"[]",
        b"{",
        b"[" * 100_000,
        b'{"minutes": 1e400}',
        b'{"service": 1}',
        b"\xff",
        b'{"minutes": ' + b"9" * 5_000 + b"}",
    ],
    ids=lambda body: repr(body[:16]),
)
async def test_a_bad_timeseries_body_is_refused(client: Client, body: bytes) -> None:
    """Unknown keys, limits and garbage: 400 that says so."""
    answer = await client.post(body, "/api/v1/metrics/timeseries")
    assert (answer.status, answer.json["detail"][:5]) == (400, "body:")


async def test_an_answer_that_would_be_too_large_is_refused(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """More points than one answer may have: 400 with the way out, not a server error."""
    monkeypatch.setattr("sentinel.storage.traffic.MAX_POINTS", 3)
    await client.send([at(i) for i in range(5)])
    await client.daemon.store.fold()
    answer = await client.post({"minutes": 240}, "/api/v1/metrics/timeseries")
    assert (answer.status, "step_s" in answer.json["detail"]) == (400, True)


async def test_an_empty_timeseries_body_means_the_last_hour(client: Client) -> None:
    """All keys have defaults."""
    await client.send([event(0)])
    await client.daemon.store.fold()
    answer = await client.post(b"", "/api/v1/metrics/timeseries")
    assert [point["requests"] for point in answer.json["series"][0]["points"]] == [1]


async def test_a_summary_covers_its_whole_range(client: Client) -> None:
    """One number each for the whole range, wherever midnight lies in it; None when there was nothing."""
    now = datetime.now(UTC)
    times = [now - timedelta(hours=hours, minutes=1) for hours in (0, 5, 11, 17, 22)]
    await client.send([event(i, timestamp=time.isoformat(), cost_usd=1.0) for i, time in enumerate(times)])
    await client.daemon.store.fold()
    answer = (await client.get("/api/v1/metrics/summary")).json
    assert (answer["summary"]["requests"], answer["summary"]["cost_usd"]) == (5, 5.0)
    assert answer["summary"]["timestamp"] == answer["timeRange"]["start"]
    assert (await client.get("/api/v1/metrics/summary?hours=6")).json["summary"]["requests"] == 2
    assert (await client.get("/api/v1/metrics/summary?service=none")).json["summary"] is None


async def test_services_and_their_models(client: Client) -> None:
    """Every service of the last day once, with its models, the busiest first; /applications says the same."""
    await client.send([at(i, service_name="busy", model_name=("x", "y")[i % 2]) for i in range(9)])
    await client.send([at(i, service_name="quiet", event_id=f"q{i}") for i in range(2)])
    await client.daemon.store.fold()
    answer = (await client.get("/api/v1/services")).json
    assert answer == {"services": [{"service": "busy", "models": ["x", "y"]}, {"service": "quiet", "models": ["gpt"]}], "count": 2}
    assert (await client.get("/api/v1/applications")).json == answer
