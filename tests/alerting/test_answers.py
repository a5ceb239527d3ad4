"""What a webhook's answer means, and how long it asks us to wait."""

from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.alerting.answers import judge
from sentinel.alerting.backoff import LONGEST_ASKED_S
from sentinel.alerting.errors import GoneError, RefusedError
from sentinel.alerting.retry_after import asked_s
from sentinel.core.errors import PermanentError, RetryableError

NOW_S = 1_700_000_000.0


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_success_is_2xx(status: int) -> None:
    """Any of them is a delivery."""
    assert judge(status, None, "a.example") is None


@pytest.mark.parametrize("status", range(100, 600))
def test_no_answer_loses_an_alert(status: int) -> None:
    """But for 410, whatever is no success is tried again: a wrong URL or secret can be mended."""
    error = judge(status, None, "a.example")
    if 200 <= status < 300:
        assert error is None
    else:
        assert isinstance(error, PermanentError) == (status == 410)
        assert isinstance(error, GoneError) == (status == 410)
        assert status == 410 or isinstance(error, RetryableError)
        assert str(status) in str(error)


@pytest.mark.parametrize(("status", "slow"), [(301, True), (400, True), (401, True), (404, True), (408, False), (425, False), (429, False)])
def test_what_a_person_must_mend_is_told_apart(status: int, slow: bool) -> None:
    """Redirects and refusals are tried slowly, what says "later" is tried soon."""
    assert isinstance(judge(status, None, "a.example"), RefusedError) == slow


@pytest.mark.parametrize(("status", "counts"), [(429, True), (503, True), (500, False), (502, False)])
def test_retry_after_counts_where_it_has_a_meaning(status: int, counts: bool) -> None:
    """With 429 and 503 only."""
    error = judge(status, 9.0, "a.example")
    assert isinstance(error, RetryableError)
    assert (error.after_s == 9.0) == counts


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        (None, None), ("", None), ("0", 0.0), (" 30 ", 30.0), ("999999999999999999999", LONGEST_ASKED_S), ("-5", None), ("1.5", None),
        ("٣", None), ("soon", None), ("x" * 10_000, None), ("Wed, 99 Foo 2015 07:28:00 GMT", None), ("1e9", None),
    ],
)  # fmt: skip
def test_seconds_and_nonsense(header: str | None, wanted: float | None) -> None:
    """Whole seconds are taken up to an hour, anything that cannot be read is as if it was not there."""
    assert asked_s(header, NOW_S) == wanted


@pytest.mark.parametrize(("after_s", "wanted"), [(90, 90.0), (-90, 0.0), (10**6, LONGEST_ASKED_S)])
@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=2))])
def test_dates(after_s: int, wanted: float, zone: timezone) -> None:
    """An HTTP date is a time from now, not negative, and an hour at most."""
    when = datetime.fromtimestamp(NOW_S + after_s, tz=zone)
    assert asked_s(format_datetime(when), NOW_S) == wanted


@given(st.text(max_size=70))
def test_no_header_breaks_it(header: str) -> None:
    """Whatever the other side sends, the result is nothing or a time within an hour."""
    seconds = asked_s(header, NOW_S)
    assert seconds is None or 0 <= seconds <= LONGEST_ASKED_S
