"""What the tests of the status page share: scripted answers of the API, hostile and quiet ones, and how the page is waited for."""

from typing import Any, Protocol

import msgspec
from msgspec import structs

from sentinel.testing.store_events import tick_anomaly
from tools.screenshot import Page

PAYLOADS = (
    "<img src=x onerror=alert(1)>",
    '"><script>alert(2)</script>',
    "'><svg/onload=alert(3)>",
    "javascript:alert(4)",
    "</text><script>alert(5)</script>",
    "<iframe srcdoc='<script>alert(6)</script>'>",
    "{{constructor.constructor('alert(7)')()}}",
    "${alert(8)}",
    "</option></select><img src=x onerror=alert(9)>",
    "\u202egnp.exe\u200b\u0000\u001b[31m",
    "__proto__",
    "constructor",
    "a" * 128,
    "<style>*{display:none}</style>",
    "<meta http-equiv=refresh content=0;url=//x>",
    '"onfocus=alert(10) autofocus x="',
)

Answers = dict[str, Any]


def anomaly(number: int) -> dict[str, Any]:
    """An anomaly with a payload in every text."""
    fields = ("service", "model", "detector", "type", "direction", "explanation", "event_id", "trace_id", "partition")
    texts = {name: PAYLOADS[(number + place) % len(PAYLOADS)] for place, name in enumerate(fields)}
    numbers = {"value": 900.0 + number, "expected": 100.0, "lower": 50.0, "upper": 150.0, "score": 4.0 + number, "baseline_mean": 100.0}
    more = {"baseline_stddev": 16.0, "z_score": 50.0, "samples": 400, "window": 1000, "confidence": 0.9, "offset": number}
    at = f"2026-01-31T12:{number:02d}:00.000Z"
    severity = ("critical", "warning", "info", PAYLOADS[0])[number % 4]
    payload = PAYLOADS[(number + 5) % len(PAYLOADS)]
    over_time = {
        "since": f"2026-01-31T11:{number:02d}:00.000Z",
        "contributors": [{"dimension": payload, "value": payload, "share": 0.75, "usual": 0.25}],
        "exemplars": [payload],
        "markers": [payload, f"m{number}"],
    }
    return texts | numbers | more | over_time | {"id": f"a{number}", "timestamp": at, "metric": "latency_ms", "severity": severity}


def hostile() -> Answers:
    """Every answer of the API, with payloads wherever a text stands."""
    series = [{"service": payload, "model": PAYLOADS[place - 1]} for place, payload in enumerate(PAYLOADS)]
    statistics = (
        "mean",
        "stddev",
        "median",
        "mad",
        "q1",
        "q3",
        "p95",
        "p99",
        "min",
        "max",
        "lower",
        "upper",
        "latest",
        "expected",
        "confidence",
    )
    numbers = dict.fromkeys(statistics, 100.0) | {"open": True}
    baselines = [
        one | numbers | {"metric": "latency_ms", "samples": 400, "updated_at": PAYLOADS[1], "partition": PAYLOADS[2]} for one in series
    ]
    event = {"timestamp": "2026-01-31T12:00:00Z", "latency_ms": 100.0, "error": PAYLOADS[0], "event_id": PAYLOADS[3]}
    point = {"timestamp": "2026-01-31T12:00:00Z", "requests": 10, "errors": 1, "cost_usd": 0.1, "latency_p50_ms": 1, "latency_p95_ms": 2}
    account = dict.fromkeys(("received", "stored", "dead_lettered", "duplicate", "filtered", "in_flight", "imbalance"), 1)
    counts = dict.fromkeys(
        ("uptime_s", "events_per_s", "events_received", "events_stored", "dead_letters", "duplicates", "series", "windows"), 9
    )
    status = counts | {"version": PAYLOADS[0], "mode": PAYLOADS[1], "queue_bytes": 1, "queue_max_bytes": 2, "paused": True, "rss_bytes": 1}
    health = {"status": "degraded", "reasons": list(PAYLOADS)}
    status |= {
        "store": {"events": 9, "bytes": 9},
        "health": health,
        "watermark": PAYLOADS[4],
        "lag": dict.fromkeys(PAYLOADS),
    }
    anomalies = [anomaly(number) for number in range(len(PAYLOADS))]
    return {
        "status": status,
        "ledger": {"balanced": False, "partitions": [{"partition": payload} | account for payload in PAYLOADS]},
        "metrics/timeseries": {"series": [{"service": None, "model": None, "points": [point]}]},
        "baselines": {"baselines": baselines, "count": len(baselines)},
        "anomalies": {"anomalies": anomalies, "count": len(anomalies)},
        "markers": {"markers": [{"id": f"m{i}", "kind": text, "text": text, "timestamp": text} for i, text in enumerate(PAYLOADS)]},
        "telemetry": {"data": [event | one for one in series], "count": len(series)},
        "services": {"services": [{"service": one["service"], "models": list(PAYLOADS)} for one in series]},
    }


def quiet() -> Answers:
    """The answers of a daemon that has seen nothing."""
    status = {
        "version": "1",
        "mode": "embedded",
        "events_received": 0,
        "store": {"events": 0},
        "health": {"status": "healthy", "reasons": []},
    }
    empty: Answers = {
        "baselines": {"baselines": []},
        "anomalies": {"anomalies": []},
        "markers": {"markers": []},
        "telemetry": {"data": []},
        "services": {"services": []},
    }
    return empty | {"status": status, "ledger": {"balanced": True, "partitions": []}, "metrics/timeseries": {"series": []}}


def told() -> Answers:
    """A daemon with one anomaly of a time window, a deploy that may explain it, and no event that stands out."""
    found = structs.replace(tick_anomaly(0), id="told", trace_id=None)
    window = {"kind": "window", "service": "chat-api", "model": "gpt-4", "metric": "error_rate", "samples": 9, "expected": 0.01}
    window |= {
        "lower": 0,
        "upper": 0.04,
        "latest": 0.25,
        "confidence": 0.875,
        "open": True,
        "updated_at": found.timestamp,
        "partition": "p",
    }
    return quiet() | {
        "anomalies": {"anomalies": [msgspec.to_builtins(found)]},
        "anomalies/told": msgspec.to_builtins(found),
        "markers": {"markers": [{"id": "deploy-7", "kind": "deploy", "text": "v2.1", "timestamp": found.since}]},
        "baselines": {"baselines": [window]},
        "anomalies/told/feedback": {"verdict": "false_positive"},
    }


class Serve(Protocol):
    """Starts the pages over scripted answers."""

    async def __call__(self, answers: Answers, asked: list[str] | None = None) -> str:
        """The address; `asked` gets the method and path of each question."""
        ...


READY = "document.body.dataset.ready"


async def show_events(tab: Page) -> None:
    """Choose the anomalies of single events, and wait for their table."""
    await tab.evaluate("document.getElementById('kind-event').click()")
    await tab.wait_until("document.querySelector('#anomalies tbody tr')")
