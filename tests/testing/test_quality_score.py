"""The scorer: what it counts, what it leaves out, and that it agrees with the one it was modelled on."""

import importlib.util
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel.testing.fault_weeks import Injected, WeekFault, fault_week
from sentinel.testing.quality_score import LEARNING_S, SETTLE_S, Verdict, chance_of, pooled, scored, verdict_on

OTHER_SCORER = Path(__file__).resolve().parents[3] / "shared" / "bench" / "fault_score.py"
TOTAL_S = 604_800.0
FAULTS = fault_week(1, rate=0.001).faults
NOTHING = np.empty(0)


def test_perfect_alerts_find_everything_without_chance() -> None:
    """An alert ten seconds after each fault's start: recall 1, chance 0, no false alert, the deploy counted apart."""
    score = scored([fault.start_s + 10 for fault in FAULTS], FAULTS, TOTAL_S, 1_000)
    assert (score.recall, score.chance, score.lift, score.false_per_day) == (1.0, 0.0, 1.0, 0.0)
    assert [outcome.delay_s for outcome in score.outcomes] == pytest.approx([10.0] * 20)
    assert score.after_deploy == (1,)


def test_who_alerts_all_the_time_finds_everything_by_chance() -> None:
    """Recall 1 is worth nothing when chance is 1 as well."""
    score = scored(np.arange(0, TOTAL_S, 60), FAULTS, TOTAL_S, 1_000)
    assert (score.recall, score.chance, score.lift) == (1.0, 1.0, 0.0)
    assert score.false_per_day == pytest.approx(1_440, rel=0.01)


def test_silence_of_the_detector_is_no_recall() -> None:
    """Without alerts nothing is found and nothing is false."""
    score = scored([], FAULTS, TOTAL_S, 1_000)
    assert (score.recall, score.chance, score.false_per_day, score.after_deploy) == (0.0, 0.0, 0.0, (0,))
    assert all(math.isnan(outcome.delay_s) for outcome in score.outcomes)


def test_what_an_alert_is_depends_on_when_it_comes() -> None:
    """Learning, hit, echo, false and after a deploy, at the edges of each."""
    fault = Injected(WeekFault.HANG, 200_000.0, 200_300.0)
    deploy = Injected(WeekFault.DEPLOY, 300_000.0, TOTAL_S)
    expected = {
        LEARNING_S - 1: Verdict.LEARNING,
        LEARNING_S: Verdict.FALSE,
        199_999.9: Verdict.FALSE,
        200_000.0: Verdict.HIT,
        200_420.0: Verdict.HIT,
        200_421.0: Verdict.ECHO,
        200_300.0 + SETTLE_S: Verdict.ECHO,
        200_301.0 + SETTLE_S: Verdict.FALSE,
        300_000.0: Verdict.DEPLOY,
        300_000.0 + 6 * 3_600: Verdict.DEPLOY,
        301_801.0 + 6 * 3_600: Verdict.FALSE,
    }
    assert {at_s: verdict_on(at_s, [fault, deploy]) for at_s in expected} == expected


@settings(max_examples=30)
@given(st.lists(st.floats(0, TOTAL_S), max_size=30))
def test_score_and_verdicts_agree(alerts: list[float]) -> None:
    """What the score calls false is what the verdicts call false, and a fault is found when some alert is a hit on it."""
    score = scored(alerts, FAULTS, TOTAL_S, 1_000)
    assert score.false_s.tolist() == sorted(at_s for at_s in alerts if verdict_on(at_s, FAULTS) is Verdict.FALSE)
    for outcome in score.outcomes:
        assert outcome.found == any(verdict_on(at_s, [outcome.fault]) is Verdict.HIT for at_s in alerts)


@settings(max_examples=25)
@given(st.lists(st.floats(LEARNING_S, TOTAL_S), max_size=60), st.floats(60, 20_000), st.integers(0, 9))
def test_chance_is_what_drawing_at_random_comes_to(false: list[float], length_s: float, seed: int) -> None:
    """The exact chance lies within four standard errors of the share found by 4,000 random stretches."""
    false_s = np.sort(np.array(false))
    exact = chance_of(false_s, FAULTS, length_s, TOTAL_S)
    starts = np.random.default_rng(seed).uniform(LEARNING_S, TOTAL_S - length_s - 120, 4_000)
    allowed = np.ones(len(starts), np.bool_)
    for fault in FAULTS:
        allowed &= (starts >= fault.end_s + SETTLE_S) | (starts + length_s + 120 <= fault.start_s)
    starts = starts[allowed]
    following = np.append(false_s, np.inf)[np.searchsorted(false_s, starts)]
    drawn = np.mean(following <= starts + length_s + 120)
    assert exact == pytest.approx(drawn, abs=4 * math.sqrt(0.25 / len(starts)))


def test_there_is_no_chance_where_there_is_no_room() -> None:
    """A stretch that fits nowhere has no chance at all, rather than one of 0 or 1."""
    assert math.isnan(chance_of(NOTHING, FAULTS, TOTAL_S, TOTAL_S))
    assert math.isnan(scored([], [], LEARNING_S, 0).false_per_day)
    assert math.isnan(scored([], [], TOTAL_S, 1_000).recall)


def test_streams_are_pooled_by_their_faults_and_days() -> None:
    """Two weeks, one with all faults found and one with none, have half the recall and the mean of the false alerts."""
    found = scored([*(fault.start_s for fault in FAULTS), 100_000.0], FAULTS, TOTAL_S, 1_000)
    missed = scored([], FAULTS, TOTAL_S, 1_000)
    both = pooled([found, missed])
    assert both.recall == 0.5
    assert both.false_per_day == pytest.approx(found.false_per_day / 2)
    assert both.false_per_1k == pytest.approx(found.false_per_1k / 2)
    assert both.after_deploy == (1, 0)
    assert both.chance == pytest.approx((found.chance + missed.chance) / 2)


def other_scorer() -> Any:
    """The scorer that this one was modelled on."""
    if not OTHER_SCORER.exists():
        pytest.skip(f"{OTHER_SCORER} is not there to compare with")
    spec = importlib.util.spec_from_file_location("fault_score", OTHER_SCORER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("per_day", [0.5, 20, 300])
def test_the_scorer_agrees_with_its_model(per_day: float) -> None:
    """The same figures for the same alerts; chance within what its model's random draws leave open."""
    theirs = other_scorer()
    rng = np.random.default_rng(int(per_day))
    for week in (fault_week(seed, rate=0.001) for seed in range(3)):
        alerts = rng.uniform(0, week.total_s, int(per_day * 7))
        alerts = np.concatenate([alerts, [fault.start_s + rng.exponential(200) for fault in week.faults[::2]]])
        ours = scored(alerts, week.faults, week.total_s, 30_000)
        labels = [{"kind": fault.kind.value, "start": fault.start_s, "end": fault.end_s} for fault in week.faults]
        drawn = [theirs.score_alerts(alerts, labels, week.total_s, 30_000, seed=seed) for seed in range(20)]
        assert drawn[0]["recall"] == pytest.approx(ours.recall)
        assert drawn[0]["false_per_day"] == pytest.approx(ours.false_per_day)
        assert drawn[0]["false_per_1k"] == pytest.approx(ours.false_per_1k)
        assert drawn[0]["alerts_after_deploy"] == sum(ours.after_deploy)
        assert float(np.mean([one["chance"] for one in drawn])) == pytest.approx(ours.chance, abs=0.02)
        for kind, figures in drawn[0]["kinds"].items():
            delays = [outcome.delay_s for outcome in ours.outcomes if outcome.fault.kind == kind and outcome.found]
            if kind != WeekFault.DEPLOY:
                assert figures["median_delay_s"] == (pytest.approx(float(np.median(delays))) if delays else None)
