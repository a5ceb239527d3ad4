"""What went wrong is counted exactly and told in bounded words."""

import logging

import pytest

from llm_sentinel.delivery import NAMED_IDS, REASONS, DeliveryError, Stats, Tally


def test_counts_are_kept_apart() -> None:
    """Each fate has its own number."""
    tally = Tally(lambda _: None)
    for _ in range(5):
        tally.accepted()
    tally.delivered(2)
    tally.failed("late", ["a"])
    tally.dropped("full", "b")
    tally.invalid("latency_ms: is missing", told=True)
    assert tally.stats(buffered=2) == Stats(accepted=5, delivered=2, failed=1, dropped=1, invalid=1, buffered=2)


def test_what_happens_for_one_reason_is_told_once() -> None:
    """A thousand losses are one call with the exact number and the first hundred ids."""
    told: list[DeliveryError] = []
    tally = Tally(told.append)
    for i in range(1_000):
        tally.dropped("the buffer is full", f"e{i}")
    tally.trouble("no broker")
    tally.tell(now=True)
    tally.tell(now=True)
    assert told == [DeliveryError("the buffer is full", 1_000, tuple(f"e{i}" for i in range(NAMED_IDS))), DeliveryError("no broker")]
    assert str(told[0]) == "the buffer is full (1000 events lost)"


def test_reasons_are_bounded() -> None:
    """However many ways there are to fail, memory is not spent on them."""
    told: list[DeliveryError] = []
    tally = Tally(told.append)
    for i in range(1_000):
        tally.failed(f"reason {i}", [f"e{i}"])
    tally.tell(now=True)
    assert len(told) == REASONS + 1
    assert sum(error.lost for error in told) == 1_000


def test_it_is_told_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not more often than once a second, unless asked to."""
    clock = [100.0]
    monkeypatch.setattr("llm_sentinel.delivery.time.monotonic", lambda: clock[0])
    told: list[DeliveryError] = []
    tally = Tally(told.append)
    tally.trouble("x")
    tally.tell()
    assert not told
    clock[0] += 1.0
    tally.tell()
    assert told == [DeliveryError("x")]


def test_a_callback_that_raises_is_survived(caplog: pytest.LogCaptureFixture) -> None:
    """It is the application's mistake, and delivery goes on."""

    def on_error(_: DeliveryError) -> None:
        raise RuntimeError("oops")

    tally = Tally(on_error)
    tally.trouble("x")
    tally.tell(now=True)
    assert "on_error raised" in caplog.text


def test_without_a_callback_a_warning_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """By the package's own logger, which an application may configure."""
    tally = Tally(None)
    tally.failed("refused", ["a"], 3)
    tally.tell(now=True)
    assert caplog.record_tuples == [("llm_sentinel", logging.WARNING, "refused (3 events lost)")]
