"""The four detectors over exact baselines."""

from itertools import pairwise

import numpy as np
import pytest
from detection_reference import Reference, Settings, Verdict, run
from streams import STREAMS

from sentinel.config.schema import Baseline, Cusum, Detection, Iqr, Mad, Zscore
from sentinel.core.anomaly import DETECTORS
from sentinel.core.batch import OVERFLOW, Float64, Int32, SeriesKey
from sentinel.core.metrics import COST, LATENCY, METRIC_INDEX, METRIC_NAMES, METRICS, TOTAL_TOKENS
from sentinel.detection.baselines import Baselines, Fired, windowed

NAMES = [SeriesKey("default", service, "m") for service in ("chat", "search", "code")]


def verdicts(found: list[Fired], shift: int = 0) -> list[Verdict]:
    """Fired scores as the reference gives them."""
    order = ("zscore", "iqr", "mad", "cusum")
    flat = [
        Verdict(int(event) + shift, fired.metric, DETECTORS[fired.detector].value, float(score))
        for fired in found
        for event, score in zip(fired.event, fired.score, strict=True)
    ]
    return sorted(flat, key=lambda v: (v.event, v.metric, order.index(v.detector)))


def stream(name: str, n: int, seed: int = 5) -> tuple[Int32, Float64]:
    """N events of three series with the named distribution as latency, tokens and cost."""
    rng = np.random.default_rng(seed)
    metrics = np.full((n, len(METRICS)), np.nan)
    for metric in (LATENCY, TOTAL_TOKENS, COST):
        metrics[:, metric] = STREAMS[name](rng, n)
    return rng.integers(0, len(NAMES), n).astype(np.int32), metrics


def pieces(n: int, cuts: list[int]) -> list[slice]:
    """The stretches between cuts."""
    edges = [0, *cuts, n]
    return [slice(a, b) for a, b in pairwise(edges)]


@pytest.mark.parametrize("name", STREAMS)
def test_verdicts_equal_the_textbook(name: str) -> None:
    """Every detector fires on the same samples as the plain numpy reference, with the same score."""
    rules = Detection(baseline=Baseline(window_size=80))
    series, metrics = stream(name, 400)
    watched = {
        "zscore": {METRIC_INDEX[m] for m in rules.zscore.metrics},
        "iqr": {METRIC_INDEX[m] for m in rules.iqr.metrics},
        "mad": {METRIC_INDEX[m] for m in rules.mad.metrics},
        "cusum": {METRIC_INDEX[m] for m in rules.cusum.metrics},
    }
    reference = Reference(Settings(window=80), watched, {i: metric.resolution for i, metric in enumerate(METRICS)})
    events = [(int(s), {m: float(row[m]) for m in (LATENCY, TOTAL_TOKENS, COST)}) for s, row in zip(series, metrics, strict=True)]
    expected = run(reference, events)
    found = verdicts(Baselines(rules).score_and_update(NAMES, series, metrics))
    assert [v[:3] for v in found] == [v[:3] for v in expected]
    assert [v.score for v in found] == pytest.approx([v.score for v in expected], rel=1e-7)


def test_fifty_random_cuts_give_the_same_verdicts() -> None:
    """However the stream is cut into batches, every score has the same bits."""
    series, metrics = stream("lognormal 1.5", 600)
    rules = Detection(baseline=Baseline(window_size=50))
    whole = verdicts(Baselines(rules).score_and_update(NAMES, series, metrics))
    assert len(whole) > 50
    rng = np.random.default_rng(11)
    for _ in range(50):
        baselines = Baselines(rules)
        cuts = np.sort(rng.choice(600, rng.integers(1, 80), replace=False)).tolist()
        found = [
            verdict
            for piece in pieces(600, cuts)
            for verdict in verdicts(baselines.score_and_update(NAMES, series[piece], metrics[piece]), piece.start)
        ]
        assert found == whole


def test_constant_stream_with_rounding_errors_is_quiet() -> None:
    """No band is narrower than the metric's resolution: constants and their rounding errors raise nothing."""
    metrics = np.full((500, len(METRICS)), 250.0)
    metrics += np.random.default_rng(2).normal(0, 1e-9, metrics.shape)
    assert Baselines(Detection()).score_and_update(NAMES[:1], np.zeros(500, np.int32), metrics) == []


def test_no_verdict_before_min_samples() -> None:
    """The first samples are learned, not judged; the first after them is judged."""
    metrics = np.full((12, len(METRICS)), np.nan)
    metrics[:, LATENCY] = [100, 101, 99, 5000, 100, 101, 99, 100, 102, 98, 101, 90_000]
    quiet = Baselines(Detection(baseline=Baseline(min_samples=12)))
    assert quiet.score_and_update(NAMES[:1], np.zeros(12, np.int32), metrics) == []
    early = Baselines(Detection(baseline=Baseline(min_samples=11)))
    assert {int(event) for fired in early.score_and_update(NAMES[:1], np.zeros(12, np.int32), metrics) for event in fired.event} == {11}


def test_series_beyond_the_cap_share_the_overflow_series() -> None:
    """Hostile names cost no memory: beyond max_series all samples go to one window, in arrival order, and known series stay."""
    rules = Detection(baseline=Baseline(max_series=2, window_size=8))
    baselines = Baselines(rules)
    names = [SeriesKey("default", f"s{i}", "m") for i in range(50)]
    metrics = np.full((50, len(METRICS)), np.nan)
    metrics[:, LATENCY] = np.arange(50)
    baselines.score_and_update(names, np.arange(50, dtype=np.int32), metrics)
    assert baselines.names == [*names[:2], OVERFLOW]
    assert baselines.windows[LATENCY].sorted_samples(2).tolist() == list(range(42, 50))


@pytest.mark.parametrize(
    ("change", "fires"),
    [
        ({"zscore": Zscore(sensitivity="low")}, False),
        ({"zscore": Zscore(sensitivity="medium")}, False),
        ({"zscore": Zscore(sensitivity="high")}, True),
        ({"zscore": Zscore(threshold=2.5)}, True),
        ({"zscore": Zscore(threshold=2.5, metrics=["cost_usd"])}, False),
        ({"enabled_detectors": ["iqr"], "iqr": Iqr(multiplier=1.4)}, True),
        ({"enabled_detectors": ["iqr"], "iqr": Iqr(multiplier=3.0)}, False),
        ({"enabled_detectors": ["mad"], "mad": Mad(threshold=2.5)}, True),
        ({"enabled_detectors": ["mad"], "mad": Mad(threshold=3.5)}, False),
        ({"enabled_detectors": ["cusum"], "cusum": Cusum(threshold=1.5)}, True),
        ({"enabled_detectors": ["cusum"], "cusum": Cusum(threshold=1.5, drift=2.0)}, False),
        ({"enabled_detectors": []}, False),
    ],
)
def test_every_detection_key_acts(change: dict[str, object], fires: bool) -> None:
    """A value 2.8 deviations out fires or not, as the configuration says."""
    rules = Detection(**{"enabled_detectors": ["zscore"], **change})
    values = np.tile([90.0, 95.0, 100.0, 105.0, 110.0], 40)
    values[-1] = 100 + 2.8 * values[:-1].std(ddof=1)
    metrics = np.full((200, len(METRICS)), np.nan)
    metrics[:, LATENCY] = values
    metrics[:199, TOTAL_TOKENS] = values[:199]
    found = Baselines(rules).score_and_update(NAMES[:1], np.zeros(200, np.int32), metrics)
    assert any(199 in fired.event for fired in found) is fires


def test_windows_exist_for_baseline_metrics_and_what_detectors_watch() -> None:
    """A metric gets windows when it has a baseline or somebody watches it; a detector that is off adds none."""
    baseline = Baseline(metrics=["ttft_ms"])
    rules = Detection(enabled_detectors=["mad"], baseline=baseline, mad=Mad(metrics=["cost_usd"]), zscore=Zscore(metrics=["error"]))
    assert [METRIC_NAMES[m] for m in windowed(rules)] == ["ttft_ms", "cost_usd"]


def test_views_show_what_numpy_says() -> None:
    """The API's view of a window: numpy's figures on its samples."""
    values = np.random.default_rng(4).gamma(2, 50, 300)
    metrics = np.full((300, len(METRICS)), np.nan)
    metrics[:, LATENCY] = values
    baselines = Baselines(Detection(baseline=Baseline(window_size=200)))
    baselines.score_and_update(NAMES[:1], np.zeros(300, np.int32), metrics)
    (view,) = baselines.views(range(10), lambda key, metric: key.service == "chat" and metric == "latency_ms")
    window = values[-200:]
    assert (view.samples, view.minimum, view.maximum) == (200, window.min(), window.max())
    assert (view.mean, view.stddev) == pytest.approx((window.mean(), window.std(ddof=1)))
    assert (view.median, view.q1, view.q3, view.p95, view.p99) == tuple(np.quantile(window, [0.5, 0.25, 0.75, 0.95, 0.99]))


def test_scoring_uses_the_state_before_the_event() -> None:
    """An outlier is judged against the window without itself."""
    metrics = np.full((31, len(METRICS)), np.nan)
    metrics[:, LATENCY] = np.r_[np.tile([99.0, 101.0], 15), 100_000.0]
    found = Baselines(Detection(enabled_detectors=["zscore"])).score_and_update(NAMES[:1], np.zeros(31, np.int32), metrics)
    (fired,) = found
    assert fired.stats.mean[0] == pytest.approx(100.0)
    assert fired.score[0] > 1000
