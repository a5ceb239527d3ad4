"""Shares that should stay small: personal data, refusals, empty answers."""

from typing import Any

import numpy as np
import pytest
from usage_events import CHANGE_S, HOUR_S, NOON, Traffic, healthy, pseudonym, run, watch_of

from sentinel.core.anomaly import Anomaly
from sentinel.detection.finish import CATEGORIES, category
from sentinel.detection.significance import binomial

SEED = 3


def told(traffic: Traffic, *, drift: dict[str, Any] | None = None, **leaks: Any) -> list[Anomaly]:
    """What drift and leaks tell."""
    watch = watch_of(drift=drift or {}, leaks=leaks, abuse={"enabled": False})
    return run(watch, traffic, until_s=traffic.ts_s[-1] + 2 * HOUR_S)


def some(traffic: Traffic, share: float, *, from_s: float = CHANGE_S) -> np.ndarray:
    """bool[n], a share of the events after a time."""
    later = traffic.ts_s >= NOON + from_s
    return later & (np.random.default_rng(SEED).random(len(traffic)) < share)


def test_a_leak_is_told_with_numbers_and_users() -> None:
    """Many more events with personal data are a leak, told with the users that had most of them."""
    traffic = healthy(1, 29 * HOUR_S, 0.4)
    leaking = some(traffic, 0.1)
    traffic.personal |= leaking
    traffic.user[leaking & (np.arange(len(traffic)) % 4 > 0)] = 77
    anomaly = told(traffic)[0]
    assert (anomaly.type, anomaly.metric, anomaly.direction) == ("pii_leak", "personal_rate", "above")
    assert anomaly.value > anomaly.upper > anomaly.expected
    assert anomaly.contributors[0].value == pseudonym(77)
    assert anomaly.contributors[0].share > 0.4
    assert f"of {anomaly.samples:,} events held personal data" in anomaly.explanation


@pytest.mark.parametrize("what", ["refusal_rate", "empty_rate"])
def test_refused_and_empty_answers_are_told(what: str) -> None:
    """A larger share of refusals or of answers without a token is output drift."""
    traffic = healthy(1, 29 * HOUR_S, 0.4)
    hit = some(traffic, 0.12)
    if what == "refusal_rate":
        traffic.finish = ["SAFETY" if bad else reason for bad, reason in zip(hit, traffic.finish, strict=True)]
    traffic.completion[hit] = 0
    anomaly = told(traffic)[0]
    assert (anomaly.type, anomaly.metric, anomaly.detector) == ("output_drift", what, "drift")


def test_tool_calls_and_failures_are_no_empty_answers() -> None:
    """Answers without a token that called a tool, and requests that failed, are not empty."""
    traffic = healthy(1, 29 * HOUR_S, 0.4)
    traffic.completion[some(traffic, 0.2, from_s=0)] = 0
    traffic.finish = ["tool_calls"] * len(traffic)
    failed = some(traffic, 0.4)
    traffic.error |= failed
    traffic.completion[failed] = 0
    assert not [anomaly for anomaly in told(traffic) if anomaly.metric == "empty_rate"]


@pytest.mark.parametrize("rate", [0.0, 0.002, 0.05])
def test_healthy_shares_are_silent(rate: float) -> None:
    """Two and a half days with a steady share, in clumps of five, give nothing."""
    traffic = healthy(1, 60 * HOUR_S, 0.15)
    traffic.personal = np.repeat(np.random.default_rng(1).random(len(traffic) // 5 + 1) < rate, 5)[: len(traffic)]
    assert told(traffic) == []


def test_the_test_holds_its_promise() -> None:
    """Of windows at the known rate, as many look as sure as chance says, in both tails."""
    rng = np.random.default_rng(1)
    for rate, trials in ((0.01, 3_000), (0.2, 500)):
        z = binomial(rng.binomial(trials, rate, 100_000).astype(float), np.full(100_000, float(trials)), np.full(100_000, rate))
        assert 0.0005 < float((z > 3.0).mean()) < 0.003
        assert abs(float(z.mean())) < 0.1


def test_leak_limits_are_configured() -> None:
    """`leaks.min_increase` and `leaks.min_events` decide what is told."""
    traffic = healthy(1, 29 * HOUR_S, 0.4)
    traffic.personal |= some(traffic, 0.05)
    assert told(traffic)
    assert not told(traffic, min_increase=0.2)
    assert not told(traffic, min_events=1_000)


def test_refusal_limit_is_configured() -> None:
    """`drift.min_increase` decides which increase of refusals or empty answers is told."""
    traffic = healthy(1, 29 * HOUR_S, 0.4)
    traffic.completion[some(traffic, 0.1)] = 0
    assert [a for a in told(traffic) if a.metric == "empty_rate"]
    assert not [a for a in told(traffic, drift={"min_increase": 0.5}) if a.metric == "empty_rate"]


def test_a_share_that_stays_is_accepted() -> None:
    """After `drift.accept_hours` a larger share is usual."""
    for accept_hours, tells_again in ((3, False), (48, True)):
        traffic = healthy(1, 38 * HOUR_S, 0.3)
        hours = (traffic.ts_s - NOON) / HOUR_S
        leaking = some(traffic, 0.1) & ((hours < 33) | (hours > 34.2))
        traffic.personal |= leaking
        found = told(traffic, drift={"accept_hours": accept_hours})
        assert any(a.timestamp > "2026-01-02T10:30" for a in found) is tells_again


def test_finish_reasons_of_all_providers_have_a_category() -> None:
    """What providers document is known, whatever its case, and lists count by their first."""
    known = {
        "end_turn": "stop",
        "MAX_TOKENS": "length",
        "tool_use": "tool",
        "RECITATION": "refused",
        '["content_filter", "stop"]': "refused",
    }
    assert {reason: CATEGORIES[category(reason)] for reason in known} == known
    assert CATEGORIES[category("1234")] == CATEGORIES[category("x" * 500)] == "other"
