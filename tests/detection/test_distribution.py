"""Drift of lengths and finish reasons."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from usage_events import CHANGE_S, HOUR_S, NOON, Traffic, healthy, run, watch_of

from sentinel.core.anomaly import Anomaly
from sentinel.detection.distribution import stability
from sentinel.detection.finish import CATEGORIES
from sentinel.detection.panes import BINS, bin_of, bin_start
from sentinel.detection.significance import SURE, chi_square

ONLY_DRIFT: dict[str, Any] = {"abuse": {"enabled": False}, "leaks": {"enabled": False}}


def told(traffic: Traffic, **drift: Any) -> list[Anomaly]:
    """What drift alone tells."""
    return run(watch_of(drift=drift, **ONLY_DRIFT), traffic, until_s=traffic.ts_s[-1] + 2 * HOUR_S)


def changed(seed: int = 1, hours: float = 30, per_s: float = 0.3) -> tuple[Traffic, np.ndarray]:
    """Healthy traffic, and which of it comes after the time of change."""
    traffic = healthy(seed, hours * HOUR_S, per_s)
    return traffic, traffic.ts_s >= NOON + CHANGE_S


def index(counts: Any, reference: Any) -> tuple[float, float, float]:
    """Index, degrees of freedom and chance of one row."""
    psi, freedom, chance = np.empty(1), np.empty(1), np.empty(1)
    stability(np.array([counts], np.int32), np.array([reference], np.float32), psi, freedom, chance)
    return float(psi[0]), float(freedom[0]), float(chance[0])


def test_the_index_is_that_of_the_book() -> None:
    """With enough events in every bin it is the sum of (p - q) ln(p / q)."""
    counts, reference = np.array([4_000, 3_000, 3_000]), np.array([30_000, 30_000, 40_000])
    p, q = counts / counts.sum(), reference / reference.sum()
    psi, freedom, chance = index(counts, reference)
    assert psi == pytest.approx(float(((p - q) * np.log(p / q)).sum()), rel=1e-3)
    assert freedom == 2
    assert chance == pytest.approx(1 / 10_000 + 1 / 100_000)


def test_few_events_give_few_bins() -> None:
    """Bins are pooled until chance puts ten events into each."""
    reference = np.full(30, 1_000)
    assert index(np.full(30, 100), reference)[1] == 29
    assert index(np.full(30, 1), reference)[1] == 2
    assert index(np.full(30, 0), reference) == (0.0, 0.0, 0.0)
    assert index(np.full(30, 5), np.full(30, 0)) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("events", [60, 300, 3_000])
def test_it_is_as_sure_as_chance_allows(events: int) -> None:
    """Of windows without a change, no more than a few in a thousand look as sure as three standard deviations, and none is told."""
    rng = np.random.default_rng(events)
    shares = rng.dirichlet(np.full(BINS, 0.7))
    reference = np.tile(rng.multinomial(100_000, shares), (4_000, 1)).astype(np.float32)
    psi, freedom, chance = np.empty((3, 4_000))
    stability(rng.multinomial(events, shares, 4_000).astype(np.int32), reference, psi, freedom, chance)
    sure = chi_square(psi / chance, freedom)
    assert float((sure > 3.0).mean()) < 0.006
    assert float(sure.max()) < SURE
    assert abs(float(np.median(sure))) < 0.3


@settings(max_examples=200)
@given(st.lists(st.integers(0, 10_000), min_size=3, max_size=40), st.lists(st.integers(0, 10_000), min_size=40, max_size=40))
def test_the_index_is_never_negative(counts: list[int], reference: list[int]) -> None:
    """Whatever the counts, index and degrees of freedom are finite and not negative."""
    psi, freedom, _ = index(counts, reference[: len(counts)])
    assert np.isfinite(psi)
    assert psi >= -1e-12
    assert 0 <= freedom < len(counts)


def test_every_length_has_its_bin() -> None:
    """Bins cover all lengths in order, and begin where they say."""
    bins = [bin_of(n) for n in range(200_000)]
    assert bins == sorted(bins)
    assert set(bins) <= set(range(BINS))
    assert all(bin_of(bin_start(i) * 1.0001) == i for i in range(1, BINS))


def test_longer_prompts_are_told_once() -> None:
    """Prompts of twice the length are input drift, told once and not again while it goes on."""
    traffic, later = changed()
    traffic.prompt[later] *= 2
    (anomaly,) = [a for a in told(traffic) if a.severity != "critical"][:1]
    assert (anomaly.type, anomaly.detector, anomaly.metric) == ("input_drift", "drift", "prompt_distribution")
    assert anomaly.direction == "above"
    assert anomaly.score >= 1.0
    assert "usually half from" in anomaly.explanation
    assert len(told(traffic)) <= 2


def test_another_mix_of_finish_reasons_is_told_with_its_parts() -> None:
    """Many answers cut off are output drift, with the finish reasons that changed."""
    traffic, later = changed(per_s=0.5)
    cut = later & (np.random.default_rng(1).random(len(traffic)) < 0.25)
    traffic.finish = ["max_tokens" if hit else reason for hit, reason in zip(cut, traffic.finish, strict=True)]
    anomaly = told(traffic)[0]
    assert (anomaly.type, anomaly.metric) == ("output_drift", "finish_reasons")
    assert {c.value for c in anomaly.contributors} == {"stop", "length"}
    assert {c.value for c in anomaly.contributors} <= set(CATEGORIES)
    part = next(c for c in anomaly.contributors if c.value == "length")
    assert part.share > 0.2 > part.usual


def test_failing_requests_are_no_drift_of_answers() -> None:
    """An error burst, whose answers have no tokens, is not told here as well."""
    traffic, later = changed()
    traffic.error = traffic.error | (later & (np.random.default_rng(1).random(len(traffic)) < 0.5))
    traffic.completion[traffic.error] = 0
    assert told(traffic) == []


@pytest.mark.parametrize("seed", range(3))
def test_healthy_traffic_is_silent(seed: int) -> None:
    """Two and a half days without a change, lengths in clumps of a session each, give nothing."""
    traffic = healthy(seed, 60 * HOUR_S, 0.1)
    session = np.repeat(np.random.default_rng(seed).lognormal(0, 0.7, len(traffic) // 8 + 1), 8)[: len(traffic)]
    traffic.prompt *= session
    assert told(traffic) == []


def test_a_daily_cycle_is_usual() -> None:
    """Nights of other lengths are told at most once, in the first days."""
    traffic = healthy(2, 5 * 24 * HOUR_S, 0.1)
    night = (traffic.ts_s % 86_400) < 6 * HOUR_S
    traffic.prompt[night] *= 3
    assert not [a for a in told(traffic) if a.timestamp >= "2026-01-04"]


def test_the_limit_is_configured() -> None:
    """`drift.min_psi` decides how large a change must be."""
    traffic, later = changed()
    traffic.prompt[later] *= 2
    assert told(traffic, min_psi=0.25)
    assert not told(traffic, min_psi=2.0)


def test_warm_up_is_configured() -> None:
    """`drift.warm_up_hours` decides when a series is judged at all."""
    traffic, later = changed(hours=29)
    traffic.prompt[later] *= 2
    assert told(traffic, warm_up_hours=24)
    assert not told(traffic, warm_up_hours=72)


def test_a_change_that_stays_is_accepted() -> None:
    """After `drift.accept_hours` the new distribution is the reference: going back is told, and before that it is not."""
    for accept_hours, tells_again in ((3, True), (48, False)):
        traffic, later = changed(hours=36)
        traffic.prompt[later & (traffic.ts_s < NOON + CHANGE_S + 6 * HOUR_S)] *= 4
        found = told(traffic, accept_hours=accept_hours)
        assert any(a.timestamp > "2026-01-02T09:00" for a in found) is tells_again


def test_the_reference_fades() -> None:
    """`drift.reference_days` decides what a slow change is compared with: days, or the last hours, of which it is no news."""
    traffic = healthy(4, 36 * HOUR_S, 0.3)
    traffic.prompt *= 4 ** np.clip((traffic.ts_s - NOON - CHANGE_S) / (8 * HOUR_S), 0, 1)
    assert told(traffic, reference_days=7.0)
    assert not told(traffic, reference_days=0.02)
