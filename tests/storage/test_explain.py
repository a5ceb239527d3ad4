"""Anomalies in words."""

from dataclasses import replace
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.core.anomaly import DETECTORS, DetectorName
from sentinel.core.batch import SeriesKey
from sentinel.core.explain import Finding, anomaly_type, describe, direction, explanation, number, z_score
from sentinel.core.metrics import COST, LATENCY, METRICS
from sentinel.core.timestamp import rfc3339
from sentinel.testing.store_events import anomalies, events

CHAT = SeriesKey("default", "chat-api", "gpt-4")
SPIKE = Finding(METRICS[LATENCY], DetectorName.ZSCORE, 15_234.5, 20.0, 1_234.5, 530.9, 1_938.1, 1_234.5, 700.0 / 3, 1_000, 1_000)


def test_spike_is_one_sentence_with_its_numbers() -> None:
    """What was seen, what was expected, the band, its basis and how far beyond."""
    assert explanation(SPIKE, CHAT) == (
        "latency_ms of chat-api / gpt-4 was 15,234.5, above the expected 1,234.5 (normal band 530.9 to 1,938.1 over 1,000 samples); "
        "60 standard deviations from the mean, 20.0 times the z-score threshold."
    )


def test_drift_has_no_band() -> None:
    """A drift speaks of the level, not of one value."""
    drift = replace(SPIKE, detector=DetectorName.CUSUM, value=1_500.0, score=1.3, lower=nan, upper=nan, samples=1)
    assert explanation(drift, CHAT) == (
        "latency_ms of chat-api / gpt-4 has drifted: 1,500, above the expected 1,234.5 (over 1 sample); "
        "the sum of deviations is 1.3 times the cumulative-sum threshold."
    )


@pytest.mark.parametrize(
    ("value", "words"),
    [(400_000.0, "was 400,000, above the plausible limit 300,000"), (0.01, "was 0.01, below the plausible limit 0.1")],
)
def test_implausible_value_names_its_limit(value: float, words: str) -> None:
    """A value outside its limits says which limit and that it was not learned."""
    finding = replace(SPIKE, detector=DetectorName.THRESHOLD, value=value, expected=nan, lower=0.1, upper=300_000.0, mean=nan, sd=nan)
    assert explanation(finding, CHAT) == f"latency_ms of chat-api / gpt-4 {words}; the value is stored, not learned."


@pytest.mark.parametrize(
    ("detector", "metric", "expected"),
    [
        (DetectorName.ZSCORE, COST, "cost_anomaly"),
        (DetectorName.CUSUM, LATENCY, "latency_drift"),
        (DetectorName.MAD, LATENCY, "latency_spike"),
        (DetectorName.THRESHOLD, COST, "implausible_value"),
    ],
)
def test_type_follows_metric_and_detector(detector: DetectorName, metric: int, expected: str) -> None:
    """Spikes, drifts and implausible values have their own types."""
    assert anomaly_type(METRICS[metric], detector) == expected


@pytest.mark.parametrize(
    ("value", "lower", "upper", "expected", "side"),
    [
        (9.0, 1.0, 5.0, 3.0, "above"),
        (0.5, 1.0, 5.0, 3.0, "below"),
        (4.0, nan, nan, 3.0, "above"),
        (2.0, nan, nan, 3.0, "below"),
        (2.0, nan, nan, nan, "unknown"),
        (3.0, nan, nan, 3.0, "unknown"),
    ],
)
def test_direction(value: float, lower: float, upper: float, expected: float, side: str) -> None:
    """The band decides, then the centre."""
    assert direction(replace(SPIKE, value=value, lower=lower, upper=upper, expected=expected, mean=expected)) == side


@pytest.mark.parametrize(("mean", "sd"), [(nan, 1.0), (1.0, nan), (1.0, 0.0), (-1.7e308, 1e-300)])
def test_no_z_score_without_a_spread(mean: float, sd: float) -> None:
    """No division by nothing, no infinite number."""
    assert z_score(replace(SPIKE, mean=mean, sd=sd)) is None


@given(*[st.floats() for _ in range(7)], st.sampled_from(DETECTORS), st.integers(0, 10**6), st.integers(0, 10**5))
def test_any_numbers_make_a_sentence(
    value: float, score: float, expected: float, lower: float, upper: float, mean: float, sd: float, detector: DetectorName, n: int, w: int
) -> None:
    """Whatever stands in the columns, the sentence is whole and short."""
    sentence = explanation(Finding(METRICS[LATENCY], detector, value, score, expected, lower, upper, mean, sd, n, w), CHAT)
    assert sentence.startswith("latency_ms of chat-api / gpt-4 ")
    assert sentence.endswith(".")
    assert "nan" not in sentence
    assert len(sentence) < 800


@given(st.floats(-1e300, 1e300))
def test_number_keeps_the_value(value: float) -> None:
    """What people read is within a thousandth of the value."""
    assert float(number(value).replace(",", "")) == pytest.approx(value, rel=1e-3)


def test_number_of_nothing() -> None:
    """No number is said to be none."""
    assert number(inf) == number(nan) == "not finite"


@pytest.mark.parametrize(
    ("ts_ns", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (-1, "1969-12-31T23:59:59.999999999Z"),
        (1_768_473_000_123_456_000, "2026-01-15T10:30:00.123456Z"),
        (2**63 - 1, "2262-04-11T23:47:16.854775807Z"),
        (-(2**63), "1677-09-21T00:12:43.145224192Z"),
    ],
)
def test_timestamps(ts_ns: int, text: str) -> None:
    """Every int64 is a time, with the digits it has."""
    assert rfc3339(ts_ns) == text


def test_batch_can_be_described_before_it_is_stored() -> None:
    """The live view and the store say the same."""
    batch = events(10)
    described = describe(batch, anomalies(batch, [(5, LATENCY, DetectorName.ZSCORE, 1)]), 0)
    assert (described.offset, described.value, described.severity, described.service) == (5, 6.0, "warning", "chat-api")
