"""The promises that every detector keeps, and what this one is for."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from refusal_streak import RefusalStreak, Settings

from sentinel.detection.port import DetectorBatch, Dimensions, SeriesKey


def answers(reasons: Sequence[str | None]) -> DetectorBatch:
    """One series that ends its answers in this way, a second apart."""
    n = len(reasons)
    ts_ns = 1_768_473_000_000_000_000 + np.arange(n) * 1_000_000_000
    zeros = np.zeros(n, np.int32)
    return DetectorBatch(
        names=(SeriesKey("default", "chat", "gpt"),),
        series=zeros,
        ts_ns=ts_ns,
        watermark_ns=ts_ns,
        metrics=np.full((n, 8), np.nan),
        dimension_sets=tuple(Dimensions(finish_reason=reason) for reason in reasons),
        dimensions=np.arange(n, dtype=np.int32),
        users=(None,),
        user=zeros,
        personal=np.zeros(n, np.bool_),
    )


def test_promises(llm_sentinel_check: Callable[..., None]) -> None:
    """It keeps what every detector promises, and is quiet on healthy traffic."""
    llm_sentinel_check(lambda: RefusalStreak(Settings()), quiet_per_1000=0.05)


def test_a_streak_is_told_once_for_each_severity() -> None:
    """A hundred refusals after two hundred answers are three findings: when they begin to matter, and as they get worse."""
    found = RefusalStreak(Settings()).observe(answers(["stop"] * 200 + ["refusal"] * 100))
    assert [finding.value for finding in found] == [4, 5, 10]
    assert found[0].sentence == "chat / gpt refused 4 answers in a row, where 1.46% are refused usually."


def test_what_is_usual_is_not_told() -> None:
    """Where every other answer is refused, five in a row are nothing."""
    usual = ["stop", "refusal"] * 500
    assert RefusalStreak(Settings()).observe(answers([*usual, *["refusal"] * 5])) == []


@pytest.mark.parametrize(("chance", "needed"), [(1e-2, 2), (1e-6, 4), (1e-9, 5)])
def test_the_chance_decides_how_long_a_streak_must_be(chance: float, needed: int) -> None:
    """The fewer false findings are allowed, the longer it waits."""
    found = RefusalStreak(Settings(chance=chance)).observe(answers(["stop"] * 200 + ["refusal"] * needed))
    assert found[0].value == needed


def test_other_finish_reasons_can_mean_a_refusal() -> None:
    """The words for a refusal are configured."""
    assert RefusalStreak(Settings(reasons=["blocked"])).observe(answers(["stop"] * 200 + ["blocked"] * 9))


def test_the_usual_rate_forgets() -> None:
    """A rate of old counts little once there are more answers than the memory holds."""
    old_habit = ["refusal", "stop"] * 100
    short, long = (RefusalStreak(Settings(memory=memory)) for memory in (100, 10_000))
    for detector in (short, long):
        detector.observe(answers([*old_habit, *["stop"] * 300]))
    streak = answers(["refusal"] * 8)
    assert short.observe(streak)
    assert not long.observe(streak)
