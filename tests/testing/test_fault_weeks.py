"""Simulated weeks: reproducible, plausible, with faults as strong as their labels say, and read as a partition would read them."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel.config.schema import Validation
from sentinel.core.batch import CleanBatch, Float64, SeriesKey
from sentinel.core.metrics import COMPLETION_TOKENS, COST, ERROR, LATENCY, PROMPT_TOKENS, TOTAL_TOKENS, TTFT
from sentinel.testing.fault_weeks import LENGTH_S, SERIES, SETTLE_S, Week, WeekFault, fault_week
from sentinel.testing.quality_columns import FAILED, NS, START_NS, USERS, Columns, Mark, batch_of, columns_of, log_of, merged
from sentinel.testing.quality_traffic import Application, load_of, wandering

DAY_S = 86_400.0
KINDS = tuple(LENGTH_S)


@pytest.fixture(scope="module")
def whole() -> Week:
    """A week with every kind."""
    return fault_week(3)


# ------------------------------------------------------------------------------------------------------------------ the week


def test_same_arguments_give_the_same_week(whole: Week) -> None:
    """The same seed gives the same events and labels; another seed gives others."""
    again, other = fault_week(3), fault_week(4)
    assert whole.faults == again.faults != other.faults
    np.testing.assert_array_equal(whole.columns.metrics, again.columns.metrics)
    np.testing.assert_array_equal(whole.columns.ts_ns, again.columns.ts_ns)
    assert len(whole.columns) != len(other.columns)


@pytest.mark.parametrize("rate", [0.5, 0.05])
def test_traffic_has_the_wanted_rate(rate: float) -> None:
    """A healthy week holds as many events as its rate says, within bursts and chance."""
    week = fault_week(1, rate=rate, kinds=())
    assert week.faults == ()
    assert len(week.columns) == pytest.approx(rate * week.total_s, rel=0.05)


def test_events_are_what_the_daemon_takes(whole: Week) -> None:
    """Times rise within the week, values lie within the default limits, a failed request has no answer, totals and costs add up."""
    columns, limits = whole.columns, Validation()
    metrics = columns.metrics
    assert (np.diff(columns.ts_ns) >= 0).all()
    assert columns.seconds[0] >= 0
    assert columns.seconds[-1] < whole.total_s
    assert metrics[:, LATENCY].min() >= limits.min_latency_ms
    assert metrics[:, LATENCY].max() <= limits.max_latency_ms
    assert metrics[:, TOTAL_TOKENS].max() <= limits.max_tokens * 2
    assert metrics[:, COST].max() <= limits.max_cost_usd
    failed = metrics[:, ERROR] == 1
    np.testing.assert_array_equal(failed, columns.outcome == FAILED)
    assert (metrics[failed, COMPLETION_TOKENS] == 0).all()
    assert np.isnan(metrics[failed, TTFT]).all()
    np.testing.assert_array_equal(metrics[:, TOTAL_TOKENS], metrics[:, PROMPT_TOKENS] + metrics[:, COMPLETION_TOKENS])
    assert columns.user.max() < len(USERS)


def test_days_and_weekends_differ() -> None:
    """The afternoon has several times the traffic of the night, and a Sunday less than a Monday; the mean stays what it was."""
    load = load_of(Application(), 7)
    hours = load.reshape(7, 24, -1).mean(axis=2)
    assert hours[0, 14] > 4 * hours[0, 2]
    assert hours[6, 3:21] == pytest.approx(0.6 * hours[1, 3:21])
    assert load.mean() == pytest.approx(1.0)


def test_a_wandering_level_keeps_its_deviation() -> None:
    """The walk has the wanted deviation, and neighbours are alike."""
    walk = wandering(np.random.default_rng(1), 100_000, 0.3, 20)
    assert walk.std() == pytest.approx(0.3, rel=0.1)
    assert np.corrcoef(walk[:-1], walk[1:])[0, 1] == pytest.approx(np.exp(-1 / 20), abs=0.02)


# ---------------------------------------------------------------------------------------------------------------- the faults


def test_every_kind_comes_twice_after_two_healthy_days_with_time_between(whole: Week) -> None:
    """Faults never overlap, none meets the days for learning, and the deploy is on the last day for good."""
    *passing, deploy = whole.faults
    assert sorted(fault.kind for fault in passing) == sorted(KINDS * 2)
    assert passing[0].start_s >= 2 * DAY_S
    assert all(fault.end_s - fault.start_s == pytest.approx(LENGTH_S[fault.kind]) for fault in passing)
    assert all(sooner.end_s + SETTLE_S <= later.start_s for sooner, later in pairwise(whole.faults))
    assert deploy.kind is WeekFault.DEPLOY
    assert deploy.start_s > 6 * DAY_S
    assert deploy.end_s == whole.total_s


def test_too_short_a_week_is_refused() -> None:
    """Faults that do not fit are an error that says how to make room, not a week with overlapping labels."""
    with pytest.raises(ValueError, match="20 faults do not fit into 3 days: give more days"):
        fault_week(1, days=3)


def of(week: Week, metric: int, *, outside: bool = False) -> Float64:
    """A metric of the requests that did not fail, during the faults or outside of them."""
    seconds = week.columns.seconds
    during = np.zeros(len(seconds), np.bool_)
    for fault in week.faults:
        during |= (seconds >= fault.start_s) & (seconds < fault.end_s)
    values: Float64 = week.columns.metrics[(during != outside) & (week.columns.metrics[:, ERROR] == 0), metric]
    return values


def slower(factor: float) -> Callable[[Week, Week], None]:
    """Every latency is multiplied."""

    def check(sick: Week, healthy: Week) -> None:
        ratio = sick.columns.metrics[:, LATENCY] / healthy.columns.metrics[:, LATENCY]
        during = ratio != 1.0
        uncapped = sick.columns.metrics[:, LATENCY] < 300_000
        np.testing.assert_allclose(ratio[during & uncapped], factor)
        assert 600 > during.sum() / len(ratio) * sick.total_s / sum(f.end_s - f.start_s for f in sick.faults) > 0.1

    return check


def drifting(sick: Week, healthy: Week) -> None:
    """Latency grows evenly from once to twice."""
    ratio = sick.columns.metrics[:, LATENCY] / healthy.columns.metrics[:, LATENCY]
    fault = sick.faults[0]
    during = (sick.columns.seconds >= fault.start_s) & (sick.columns.seconds < fault.end_s)
    uncapped = sick.columns.metrics[:, LATENCY] < 300_000
    progress = (sick.columns.seconds - fault.start_s) / (fault.end_s - fault.start_s)
    np.testing.assert_allclose(ratio[during & uncapped], 1 + progress[during & uncapped], rtol=1e-6)


def hanging(sick: Week, _: Week) -> None:
    """A fifth takes a minute."""
    assert np.mean(of(sick, LATENCY) == 60_000) == pytest.approx(0.2, abs=0.05)
    assert not (of(sick, LATENCY, outside=True) == 60_000).any()


def failing(share: float) -> Callable[[Week, Week], None]:
    """More requests fail."""

    def check(sick: Week, healthy: Week) -> None:
        more = sick.columns.metrics[:, ERROR].sum() - healthy.columns.metrics[:, ERROR].sum()
        length = sum(fault.end_s - fault.start_s for fault in sick.faults)
        there = sum(np.count_nonzero((sick.columns.seconds >= f.start_s) & (sick.columns.seconds < f.end_s)) for f in sick.faults)
        assert length > 0
        assert more / there == pytest.approx(share, rel=0.25)

    return check


def running_away(sick: Week, _: Week) -> None:
    """One answer in seven is far longer."""
    assert np.mean(of(sick, COMPLETION_TOKENS) > 1_000) == pytest.approx(0.15, abs=0.04)
    assert np.mean(of(sick, COMPLETION_TOKENS, outside=True) > 1_000) < 0.01


def looping(sick: Week, healthy: Week) -> None:
    """One prompt in ten is ten times as long, and all of these are one user's."""
    changed = sick.columns.metrics[:, PROMPT_TOKENS] != healthy.columns.metrics[:, PROMPT_TOKENS]
    ratio = sick.columns.metrics[changed, PROMPT_TOKENS] / healthy.columns.metrics[changed, PROMPT_TOKENS]
    assert np.median(ratio) == pytest.approx(10, rel=0.02)
    assert len(np.unique(sick.columns.user[changed])) == 1
    there = sum(np.count_nonzero((sick.columns.seconds >= f.start_s) & (sick.columns.seconds < f.end_s)) for f in sick.faults)
    assert changed.sum() / there == pytest.approx(0.1, abs=0.03)


def arriving(factor: float) -> Callable[[Week, Week], None]:
    """Arrivals are multiplied."""

    def check(sick: Week, healthy: Week) -> None:
        for fault in sick.faults:
            now, before = (
                np.count_nonzero((week.columns.seconds >= fault.start_s + 10) & (week.columns.seconds < fault.end_s - 10))
                for week in (sick, healthy)
            )
            assert now == pytest.approx(factor * before, rel=0.3)

    return check


def deployed(sick: Week, healthy: Week) -> None:
    """Answers are longer and latency per token is shorter, until the end."""
    after = sick.columns.seconds >= sick.faults[0].start_s
    answers, answers_before = (week.columns.metrics[after, COMPLETION_TOKENS] for week in (sick, healthy))
    assert answers.sum() / answers_before.sum() == pytest.approx(1.4, rel=0.02)
    ttft, ttft_before = (week.columns.metrics[after, TTFT] for week in (sick, healthy))
    np.testing.assert_allclose(ttft[~np.isnan(ttft)], 0.75 * ttft_before[~np.isnan(ttft)])


STRENGTHS: dict[WeekFault, Callable[[Week, Week], None]] = {
    WeekFault.LATENCY_SPIKE: slower(4.0),
    WeekFault.HANG: hanging,
    WeekFault.LATENCY_DRIFT: drifting,
    WeekFault.LATENCY_STEP: slower(1.5),
    WeekFault.ERROR_BURST: failing(0.2),
    WeekFault.SLOW_BURN: failing(0.03),
    WeekFault.TOKEN_RUNAWAY: running_away,
    WeekFault.PROMPT_LOOP: looping,
    WeekFault.SILENCE: arriving(0.0),
    WeekFault.TRAFFIC_SURGE: arriving(4.0),
    WeekFault.DEPLOY: deployed,
}


@pytest.mark.parametrize("kind", WeekFault)
def test_each_fault_is_as_strong_as_it_says(kind: WeekFault) -> None:
    """A week with one kind differs from the healthy week of the same seed by exactly what its label says, and nowhere else."""
    sick, healthy = (fault_week(5, days=4, rate=2.0, kinds=kinds) for kinds in ((kind,), ()))
    assert {fault.kind for fault in sick.faults} == {kind}
    STRENGTHS[kind](sick, healthy)


# ------------------------------------------------------------------------------------------------------------------- the log


def test_a_log_holds_every_event_once_and_marks_only_where_nothing_comes(whole: Week) -> None:
    """Batches put together are the columns; a mark lies within a gap, and none is missing from it."""
    log = list(log_of(whole.columns, whole.total_s))
    check_log(whole.columns, log, whole.total_s, 10.0)
    silences = [fault for fault in whole.faults if fault.kind is WeekFault.SILENCE]
    for fault in silences:
        marks = [step for step in log if isinstance(step, Mark) and fault.start_s <= (step.now_ns - START_NS) / NS <= fault.end_s]
        assert len(marks) >= (fault.end_s - fault.start_s) / 10 - 4


@settings(max_examples=60)
@given(st.lists(st.floats(0, 100), max_size=40), st.integers(1, 7), st.sampled_from([1.0, 3.0, 50.0]))
def test_any_log_is_cut_without_loss(times: list[float], most: int, mark_s: float) -> None:
    """Whatever the gaps and the size of batches, also without any event."""
    columns = columns_of(SERIES, np.sort(np.array(times)), latency_ms=np.ones(len(times)))
    check_log(columns, list(log_of(columns, 120.0, mark_s=mark_s, most=most)), 120.0, mark_s)


def check_log(columns: Columns, log: list[CleanBatch | Mark], until_s: float, mark_s: float) -> None:
    """A log is complete, in order, and marked in every gap."""
    batches = [step for step in log if isinstance(step, CleanBatch)]
    if len(columns):
        np.testing.assert_array_equal(np.concatenate([batch.ts_ns for batch in batches]), columns.ts_ns)
        np.testing.assert_array_equal(np.concatenate([batch.metrics for batch in batches]), columns.metrics)
    now_ns, offset = START_NS, 0
    for step in log:
        if isinstance(step, Mark):
            assert step.offset == offset
            assert 0 < (step.now_ns - now_ns) / NS <= mark_s + 1e-6
            now_ns = step.now_ns
        else:
            assert step.offsets[0] == offset
            assert step.ts_ns[0] >= now_ns
            assert offset == 0 or (step.ts_ns[0] - now_ns) / NS <= mark_s + 1e-6
            offset, now_ns = int(step.offsets[-1]) + 1, int(step.ts_ns[-1])
    assert offset == len(columns)
    assert not log or START_NS + until_s * NS - now_ns <= mark_s * NS + 1


def test_a_batch_names_only_what_is_in_it() -> None:
    """Series, users and outcomes of a batch are those that occur, in order of first appearance, as the sanitizer would give them."""
    one = columns_of(SeriesKey("default", "a", "m"), np.array([1.0, 3.0]))
    two = columns_of(SeriesKey("default", "b", "m"), np.array([0.5, 2.0]))
    together = merged([one, two])
    together.user[:] = [5, 9, 9, 5]
    batch = batch_of(together, 0, 4)
    assert [name.service for name in batch.names] == ["b", "a"]
    assert batch.series.tolist() == [0, 1, 0, 1]
    assert [batch.users[code] for code in batch.user.tolist()] == [USERS[number] for number in (5, 9, 9, 5)]
    alone = batch_of(together, 1, 2)
    assert (alone.names, alone.series.tolist(), alone.users) == ((SeriesKey("default", "a", "m"),), [0], (USERS[9],))
    assert len(alone) == 1
