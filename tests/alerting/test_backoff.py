"""When a notification that failed is tried again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.alerting.backoff import LONGEST_ASKED_S, Schedule

schedules = st.builds(
    Schedule,
    attempts=st.integers(1, 20),
    first_s=st.floats(1e-3, 1e6),
    factor=st.floats(1, 1e300),
    largest_s=st.floats(1e-3, 1e6),
)


def test_a_burst_grows_to_its_largest_delay() -> None:
    """Within a burst the delay is multiplied each time, and stays at the largest."""
    schedule = Schedule(attempts=10, first_s=1.0, factor=2.0, largest_s=30.0)
    assert [schedule.delay_s(tried, 0.5) for tried in range(1, 10)] == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0, 30.0]


def test_pauses_between_bursts_grow_to_five_minutes() -> None:
    """After each burst comes a pause, twice as long as the one before, and never more than five minutes."""
    schedule = Schedule()
    assert [schedule.delay_s(3 * bursts, 0.5) for bursts in range(1, 8)] == [30.0, 60.0, 120.0, 240.0, 300.0, 300.0, 300.0]


def test_what_needs_mending_is_tried_slowly_at_once() -> None:
    """A failure that does not pass by itself gets no burst, only pauses."""
    assert [Schedule().delay_s(tried, 0.5, slow=True) for tried in range(1, 7)] == [30.0, 60.0, 120.0, 240.0, 300.0, 300.0]


@pytest.mark.parametrize(("asked", "wanted"), [(7.0, 7.0), (0.5, 1.0), (86_400.0, LONGEST_ASKED_S)])
def test_the_other_side_may_ask_for_more_time(asked: float, wanted: float) -> None:
    """A longer wait is granted, up to an hour; a shorter one changes nothing."""
    assert Schedule().delay_s(1, 0.5, asked_s=asked) == wanted


@given(schedules, st.integers(1, 10**9), st.floats(0, 1), st.booleans())
def test_every_delay_is_finite_and_within_ten_percent(schedule: Schedule, tried: int, random: float, slow: bool) -> None:
    """Whatever is configured, and however often it failed: no overflow, never 0, never more than the largest delay and a tenth."""
    delay = schedule.delay_s(tried, random, slow=slow)
    plain = schedule.delay_s(tried, 0.5, slow=slow)
    assert 0 < delay <= 1.1 * max(schedule.largest_s, schedule.largest_pause_s) + 1e-9
    assert 0.9 * plain - 1e-9 <= delay <= 1.1 * plain + 1e-9
