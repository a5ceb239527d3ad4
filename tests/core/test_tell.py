"""Findings of time windows in words."""

from math import nan

import pytest

from sentinel.core.anomaly import Contributor
from sentinel.core.batch import SeriesKey
from sentinel.core.tell import DETECTOR_OF, ERROR_RATE, REQUESTS, SPEND, Kind, Told, sentence, tick_direction, tick_type


def told(kind: Kind, quantity: str = "latency_ms", **changes: object) -> Told:
    """A finding with some numbers."""
    base = Told(
        kind=kind,
        quantity=quantity,
        series=SeriesKey("default", "chat", "gpt"),
        value=5_000.0,
        expected=1_000.0,
        lower=800.0,
        upper=1_200.0,
        since_ns=0,
        ts_ns=45_000_000_000,
        share=0.2,
        samples=12_345,
        confidence=0.97,
        others=(),
        series_count=3,
        contributors=(),
    )
    return base._replace(**changes)  # type: ignore[arg-type]  # fields by name


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_says_where_what_since_when_and_how_sure(kind: Kind) -> None:
    """One sentence with service and model, the time it began, and what the expectation rests on."""
    text = sentence(told(kind, {Kind.FAILURES: ERROR_RATE, Kind.SURGE: REQUESTS}.get(kind, "latency_ms")))
    assert "chat / gpt" in text
    assert "since 1970-01-01T00:00:00.000Z, 45 s before it was certain" in text
    assert "confidence 97%" in text
    assert text.endswith(".")
    assert text.count(". ") == 0
    assert DETECTOR_OF[kind]


def test_who_contributed_and_what_shifted_with_it_are_named() -> None:
    """Contributors with their part now and usually; further quantities by name."""
    who = Contributor(dimension="prompt_version", value="v7", share=0.8, usual=0.1)
    text = sentence(told(Kind.RISE, others=("cost_usd", "prompt_tokens"), contributors=(who,)))
    assert "cost_usd and prompt_tokens shifted with it" in text
    assert "80% of them from prompt version v7, usually 10%" in text


@pytest.mark.parametrize(
    ("kind", "quantity", "type_", "direction"),
    [
        (Kind.RISE, "latency_ms", "latency_spike", "above"),
        (Kind.DRIFT, "ttft_ms", "latency_drift", "above"),
        (Kind.FALL, "prompt_tokens", "input_drift", "below"),
        (Kind.EXTREMES, "completion_tokens", "token_usage_spike", "above"),
        (Kind.RISE, SPEND, "cost_anomaly", "above"),
        (Kind.FAILURES, ERROR_RATE, "error_rate_increase", "above"),
        (Kind.SURGE, REQUESTS, "throughput_surge", "above"),
        (Kind.DROP, REQUESTS, "throughput_drop", "below"),
        (Kind.SILENCE, REQUESTS, "silence", "below"),
        (Kind.ALL_SILENT, REQUESTS, "silence", "below"),
        (Kind.REGIME, "latency_ms", "regime_change", "above"),
    ],
)
def test_types_and_directions_are_the_public_ones(kind: Kind, quantity: str, type_: str, direction: str) -> None:
    """As the formats name them."""
    assert tick_type(kind, quantity) == type_
    assert tick_direction(told(kind, quantity)) == direction


def test_a_regime_that_fell_is_below() -> None:
    """Its direction follows from the levels."""
    assert tick_direction(told(Kind.REGIME, value=500.0)) == "below"


def test_a_band_without_an_end_is_left_out() -> None:
    """No sentence holds a number that is none."""
    assert "nan" not in sentence(told(Kind.RISE, lower=nan, upper=nan))
