"""The daemon's own metrics over HTTP: both formats parse, and nothing that comes from outside becomes a label."""

import pytest
from api_client import Client, event
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_prometheus

from sentinel.core.anomaly import DetectorName, Severity
from sentinel.core.errors import RejectCode

OPENMETRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}
MARK = "zqxj"
STRANGE = ['"', "\\", "{", "}", "=", "\u202e", "é", "日本", "💥", " ", "#", ",", "%0A", "..", "<script>", "'", "a" * 100]


async def test_both_formats_parse_and_agree(client: Client) -> None:
    """Prometheus text by default, OpenMetrics when asked for: the same families, each with help, and counters that count."""
    await client.send([event(i) for i in range(5)])
    plain, open_ = await client.get("/metrics"), await client.get("/metrics", headers=OPENMETRICS)
    assert plain.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert open_.headers["Content-Type"].startswith("application/openmetrics-text")
    assert open_.body.endswith(b"# EOF\n")
    families = {family.name: family for family in parse_prometheus(plain.body.decode())}
    also = {family.name: family for family in parse_openmetrics(open_.body.decode())}
    assert set(also) == {name for name in families if not name.endswith("_created")}
    assert all(family.documentation and name.startswith("sentinel_") for name, family in families.items())
    for name in ("sentinel_events_received", "sentinel_events_processed"):
        assert [sample.value for sample in also[name].samples if sample.name.endswith("_total")] == [5.0]


async def exposed(client: Client) -> tuple[set[tuple[str, frozenset[tuple[str, str]]]], bytes]:
    """The series that a scrape gives, and its text."""
    body = (await client.get("/metrics")).body
    samples = [sample for family in parse_prometheus(body.decode()) for sample in family.samples]
    return {(sample.name, frozenset(sample.labels.items())) for sample in samples}, body


def hostile(i: int) -> dict[str, object]:
    """An event whose every name is new and strange."""
    name = f"{MARK}{i}{STRANGE[i % len(STRANGE)]}"
    fields = (
        "service_name",
        "model_name",
        "user_id",
        "session_id",
        "provider",
        "environment",
        "region",
        "finish_reason",
        "tenant",
        "error",
    )
    return event(i, **dict.fromkeys(fields, name), metadata={name: name}) | {name: name}


async def test_two_thousand_hostile_names_add_no_series(client: Client) -> None:
    """Names of services, models, users, tenants and unknown fields: the exposed series stay the same, and no name is among them."""
    await client.post([hostile(0), {"bad": 1}])
    await client.get("/metrics")
    before, _ = await exposed(client)
    for start in range(0, 2_000, 500):
        assert (await client.post([*(hostile(i) for i in range(start, start + 500)), {"bad": 1}])).status == 202
    after, text = await exposed(client)
    added = {label for _, labels in after - before for label in labels}
    assert added <= {("code", code) for code in RejectCode} | {("severity", each) for each in Severity} | {
        ("detector", each) for each in DetectorName
    }
    assert MARK.encode() not in text
    assert len(after) < 600
    assert len(text) < 100_000


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PURGE", "X" * 50])
async def test_hostile_paths_and_methods_add_no_series(client: Client, method: str) -> None:
    """What clients ask for is counted by route: unknown paths, ids and methods are all one."""
    await client.call(method, "/nothing/here")
    await client.call(method, "/api/v1/anomalies/none")
    await client.get("/metrics")
    before, _ = await exposed(client)
    for i in range(200):
        await client.call(method, f"/{MARK}/{i}")
        await client.call(method, f"/api/v1/anomalies/{MARK}{i}")
    after, text = await exposed(client)
    assert after == before
    assert MARK.encode() not in text


async def test_requests_are_counted_by_route_and_status(client: Client) -> None:
    """The route as documented, not the path as asked for."""
    await client.get("/api/v1/anomalies/one")
    await client.get("/api/v1/anomalies/two")
    await client.get("/api/v1/telemetry?limit=0")
    counted = {
        (sample.labels["route"], sample.labels["status"]): sample.value
        for family in parse_prometheus((await client.get("/metrics")).body.decode())
        for sample in family.samples
        if sample.name == "sentinel_api_requests_total"
    }
    assert counted == {("/api/v1/anomalies/{id}", "404"): 2.0, ("/api/v1/telemetry", "400"): 1.0}
