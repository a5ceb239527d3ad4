"""The circuit breaker: what it lets through, and when."""

from hypothesis import given
from hypothesis import strategies as st

from sentinel.alerting.backoff import LONGEST_ASKED_S
from sentinel.alerting.breaker import Breaker, Circuit


def test_it_opens_after_failures_in_a_row_only() -> None:
    """A success between failures starts the count anew."""
    breaker = Breaker(threshold=3)
    for failed in (True, True, False, True, True):
        breaker.failed(0.0) if failed else breaker.succeeded()
    assert breaker.state(0.0) is Circuit.CLOSED
    breaker.failed(0.0)
    assert breaker.state(0.0) is Circuit.OPEN


def test_failures_that_come_late_do_not_prolong_it() -> None:
    """A hundred messages that were under way fail together: it is open once, for the first time span."""
    breaker = Breaker(threshold=5, first_open_s=5.0)
    for _ in range(100):
        breaker.failed(0.0)
    assert breaker.wait_s(0.0) == 5.0


def test_each_failed_trial_doubles_the_time_up_to_a_limit() -> None:
    """5, 10, 20, 40 and then always 60 seconds."""
    breaker, now_s, waits = Breaker(threshold=1), 0.0, []
    for _ in range(6):
        breaker.failed(now_s)
        waits.append(breaker.wait_s(now_s))
        now_s += waits[-1]
        assert breaker.state(now_s) is Circuit.HALF_OPEN
    assert waits == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]


def test_one_success_closes_it_and_forgets() -> None:
    """After a successful trial the next outage begins with the first time span again."""
    breaker = Breaker(threshold=1)
    breaker.failed(0.0)
    breaker.failed(5.0)
    breaker.succeeded()
    assert breaker.state(5.0) is Circuit.CLOSED
    breaker.failed(6.0)
    assert breaker.wait_s(6.0) == 5.0


def test_a_receiver_that_asks_for_time_gets_it_at_once() -> None:
    """Retry-After opens it after one failure, and for an hour at most."""
    breaker = Breaker()
    breaker.failed(100.0, asked_s=7.0)
    assert breaker.wait_s(100.0) == 7.0
    breaker.failed(100.0, asked_s=10**9)
    assert breaker.wait_s(100.0) == LONGEST_ASKED_S


@given(st.lists(st.tuples(st.floats(0, 1e4), st.booleans(), st.none() | st.floats(0, 1e6)), max_size=60))
def test_it_always_comes_back(steps: list[tuple[float, bool, float | None]]) -> None:
    """Whatever happened, it lets something through within an hour."""
    breaker, now_s = Breaker(), 0.0
    for passed_s, went_well, asked_s in steps:
        now_s += passed_s
        breaker.succeeded() if went_well else breaker.failed(now_s, asked_s)
        assert 0 <= breaker.wait_s(now_s) <= LONGEST_ASKED_S + 1e-6
        assert (breaker.state(now_s) is Circuit.OPEN) == (breaker.wait_s(now_s) > 0)
