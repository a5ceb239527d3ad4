"""What the tests of the cache share: a read side that notes what it is asked, and questions to ask it."""

import asyncio
from typing import Any

from sentinel.config.schema import Cache
from sentinel.core.anomaly import Anomaly
from sentinel.core.ports import Clock, Query
from sentinel.core.query import AnomalyQuery, Page, SeriesPoints, SeriesQuery, TelemetryQuery, TimeRange
from sentinel.observability.metrics import Metrics
from sentinel.storage.cache import CachedQuery, SharedAnswers
from sentinel.testing.fakes import START_NS

SECOND_NS = 1_000_000_000
SETTLED = 7_200.0
"""Seconds back at which a range is finished."""


def page(text: object) -> Page:
    """A page of one event that holds something."""
    return Page([{"service_name": "chat-api", "prompt_text": text, "cost_usd": 0.25, "flags": [], "error": None}], "cursor")


def anomaly(anomaly_id: str) -> Anomaly:
    """An anomaly, some of whose numbers are missing."""
    return Anomaly(
        id=anomaly_id,
        timestamp="2026-01-15T10:30:00.123Z",
        service="chat-api",
        model="gpt-4",
        metric="latency_ms",
        detector="cusum",
        type="latency_drift",
        severity="warning",
        value=812.5,
        expected=101.25,
        lower=None,
        upper=None,
        score=1.75,
        baseline_mean=101.25,
        baseline_stddev=3.5,
        z_score=None,
        samples=250,
        window=1_000,
        direction="up",
        confidence=0.9,
        explanation="slower than before",
        event_id=None,
        trace_id=None,
        partition="kafka/llm.telemetry/0",
        offset=7,
    )


def anomalies_of() -> list[Anomaly]:
    """What the recording store answers."""
    return [anomaly("b"), anomaly("a")]


class RecordingQuery:
    """A `Query` with fixed answers.

    Attributes:
        asked: kind and question of each call.
        answer: the page it gives.
        failures: raised by the next calls, one each.
        going: answers wait until it is set; reached: set once somebody asked.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, object]] = []
        self.answer = page("hello")
        self.failures: list[Exception] = []
        self.going = asyncio.Event()
        self.going.set()
        self.reached = asyncio.Event()

    @property
    def ranges(self) -> list[TimeRange]:
        """The ranges it was asked for."""
        return [asked.range for _, asked in self.asked if isinstance(asked, TelemetryQuery | AnomalyQuery | SeriesQuery)]

    async def telemetry(self, query: TelemetryQuery) -> Page:
        """The page."""
        await self._ask("telemetry", query)
        return self.answer

    async def anomalies(self, query: AnomalyQuery) -> list[Anomaly]:
        """Two of them."""
        await self._ask("anomalies", query)
        return anomalies_of()

    async def anomaly(self, anomaly_id: str) -> Anomaly | None:
        """Those whose id begins with `there`."""
        await self._ask("anomaly", anomaly_id)
        return anomaly(anomaly_id) if anomaly_id.startswith("there") else None

    async def timeseries(self, query: SeriesQuery) -> list[SeriesPoints]:
        """One list without points."""
        await self._ask("timeseries", query)
        return [SeriesPoints(tenant=None, service=None, model=None, points=[])]

    async def _ask(self, kind: str, asked: object) -> None:
        self.asked.append((kind, asked))
        self.reached.set()
        await self.going.wait()
        if self.failures:
            raise self.failures.pop(0)


def cached(query: Query, clock: Clock, *, metrics: Metrics | None = None, shared: SharedAnswers | None = None, **keys: Any) -> CachedQuery:
    """A cache in front of something, with some keys of its section changed."""
    return CachedQuery(query, Cache(**keys), clock, metrics or Metrics(), shared)


def range_back(seconds: float, length_s: float = 60.0) -> TimeRange:
    """A range that ended some seconds before the fakes' time."""
    end_ns = START_NS - int(seconds * SECOND_NS)
    return TimeRange(end_ns - int(length_s * SECOND_NS), end_ns)


def telemetry_of(seconds: float) -> TelemetryQuery:
    """A question about such a range."""
    return TelemetryQuery(range=range_back(seconds))


def hits(metrics: Metrics, level: str) -> float:
    """How many were counted."""
    return metrics.registry.get_sample_value("sentinel_cache_hits_total", {"level": level}) or 0


def misses(metrics: Metrics, level: str) -> float:
    """How many were counted."""
    return metrics.registry.get_sample_value("sentinel_cache_misses_total", {"level": level}) or 0
