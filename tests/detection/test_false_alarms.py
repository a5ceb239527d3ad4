"""Nothing is raised where nothing is wrong: given distributions, and a fleet of healthy applications. See `make quality` for more of it."""

from collections import Counter

import numpy as np
import pytest

from sentinel.config.schema import Detection
from sentinel.core.batch import SeriesKey
from sentinel.core.jit import JIT_DISABLED
from sentinel.core.metrics import LATENCY
from sentinel.detection.over_time import OverTime
from sentinel.testing.quality_columns import LOG, Columns, columns_of, log_of
from sentinel.testing.quality_replay import alerts_of, replay
from sentinel.testing.quality_streams import CLEAN, clean_stream, healthy_fleet

pytestmark = pytest.mark.skipif(JIT_DISABLED, reason="hundreds of thousands of events are for compiled kernels")

MOST_PER_1K = 0.02
"""Alerts per thousand events."""
MOST_PER_SERIES_DAY = 0.02
"""Alerts per series and day, where that is more; a test with few days allows one."""
EVENTS, SEEDS = 50_000, (11, 12)


def told(columns: Columns, until_s: float | None = None) -> Counter[str]:
    """The types of the alerts that people would get of a log with the default configuration."""
    anomalies = replay(OverTime(Detection(), LOG), log_of(columns, until_s))
    return Counter(alert.anomaly.type for alert in alerts_of(anomalies))


@pytest.mark.parametrize("kind", CLEAN)
def test_a_distribution_that_never_changes_raises_nothing(kind: str) -> None:
    """From the first event on, over several seeds: at most .02 alerts per 1,000 events."""
    alerts = sum((told(clean_stream(kind, seed, EVENTS)) for seed in SEEDS), Counter[str]())
    assert alerts.total() <= MOST_PER_1K * EVENTS * len(SEEDS) / 1_000, alerts


def test_sparse_traffic_raises_nothing() -> None:
    """A request in twenty seconds, for seven days in all: long gaps are what such a series is like."""
    alerts = sum((told(clean_stream("lognormal 1.0", seed, 10_000, rate=0.05)) for seed in (13, 14, 15)), Counter[str]())
    assert alerts.total() <= max(1.0, MOST_PER_SERIES_DAY * 7), alerts


def test_a_constant_with_rounding_errors_raises_nothing() -> None:
    """Differences too small to matter to anyone are no change, however regular the rest."""
    n = 40_000
    latency = 250.0 + np.random.default_rng(15).integers(0, 2, n) * 1e-9
    columns = columns_of(
        SeriesKey("default", "cron", "model-a"), np.arange(n) * 2.0, latency_ms=latency, error=np.zeros(n), cost_usd=np.full(n, 0.01)
    )
    assert np.ptp(columns.metrics[:, LATENCY]) > 0
    assert told(columns) == Counter()


def test_a_healthy_fleet_raises_next_to_nothing() -> None:
    """Ten applications with their daily cycles, bursts, heavy tails and failures, two days, the first of which is for learning too."""
    series, days = 10, 2.0
    alerts = told(healthy_fleet(16, series, days), days * 86_400)
    assert alerts.total() <= max(1.0, MOST_PER_SERIES_DAY * series * days), alerts
