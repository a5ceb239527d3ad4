"""Verdicts on anomalies and markers: kept, audited, and counted as statistics ask for."""

from math import sqrt
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from sqlalchemy import insert

from sentinel.core.anomaly import Anomaly
from sentinel.core.command import AcceptRegime, Marker, Which
from sentinel.state import audit
from sentinel.state.database import StateDatabase
from sentinel.state.feedback import MOST_KINDS, Feedback, Verdict, wilson
from sentinel.state.markers import Markers
from sentinel.state.tables import FEEDBACK
from sentinel.testing.store_events import tick_anomaly

TRUE, FALSE = Verdict.TRUE_POSITIVE, Verdict.FALSE_POSITIVE


def of(number: int, detector: str = "rate", kind: str = "error_rate_increase") -> Anomaly:
    """One of several anomalies."""
    return tick_anomaly(number, id=f"anomaly-{number}", detector=detector, type=kind)


async def test_a_verdict_comes_back_with_what_it_was_about(state: StateDatabase) -> None:
    """Also when the anomaly itself is no longer stored; an anomaly nobody judged has none."""
    book = Feedback(state)
    given_now = await book.give(of(1), FALSE, "a load test, see 日本", "kid1", 5_000_000_000)
    found = await book.get("anomaly-1")
    assert found == given_now
    assert found is not None
    assert (found.verdict, found.note, found.given_by, found.given_at) == (
        FALSE,
        "a load test, see 日本",
        "kid1",
        "1970-01-01T00:00:05.000Z",
    )
    assert (found.service, found.model, found.metric, found.severity) == ("chat-api", "gpt-4", "error_rate", "warning")
    assert await book.get("anomaly-2") is None


async def test_the_last_verdict_counts_and_every_one_is_audited(state: StateDatabase) -> None:
    """A change of mind replaces the verdict; the audit log has both, with the one before, and not the note."""
    book = Feedback(state)
    await book.give(of(1), FALSE, "first", "kid1", 1)
    await book.give(of(1), TRUE, "second", "kid2", 2)
    found = await book.get("anomaly-1")
    assert found is not None
    assert (found.verdict, found.note, found.given_by) == (TRUE, "second", "kid2")
    (counted,) = await book.precision()
    assert (counted.true_positives, counted.false_positives) == (1, 0)
    newest, before = await state.read(lambda connection: audit.latest(connection, 9))
    assert (newest.actor, newest.action, newest.target) == ("kid2", "feedback.given", "anomaly-1")
    assert newest.detail == {"verdict": "true_positive", "before": "false_positive", "detector": "rate", "type": "error_rate_increase"}
    assert before.detail["before"] is None
    assert await state.read(audit.verify) is None


async def test_precision_is_by_detector_and_type(state: StateDatabase) -> None:
    """Each pair has its own counts, share and interval, in the order of their names."""
    book = Feedback(state)
    assert await book.precision() == []
    kinds = [("rate", "silence", TRUE)] * 9 + [("rate", "silence", FALSE)] + [("level", "silence", FALSE)] * 2 + [("rate", "budget", TRUE)]
    for number, (detector, kind, verdict) in enumerate(kinds):
        await book.give(of(number, detector, kind), verdict, "", "kid", number)
    found = {(one.detector, one.type): one for one in await book.precision()}
    assert list(found) == [("level", "silence"), ("rate", "budget"), ("rate", "silence")]
    good = found["rate", "silence"]
    assert (good.true_positives, good.false_positives, good.precision) == (9, 1, 0.9)
    assert (round(good.lower, 3), round(good.upper, 3)) == (0.596, 0.982)
    bad = found["level", "silence"]
    assert (bad.precision, bad.lower) == (0.0, 0.0)
    assert 0.5 < bad.upper < 1


async def test_an_answer_is_bounded(state: StateDatabase) -> None:
    """However many kinds there are: their names may come from detectors of others."""
    row = dict.fromkeys(("tenant", "service", "model", "metric", "detector", "note", "given_by"), "x")
    rows = [row | {"anomaly_id": str(i), "type": str(i), "severity": 0, "verdict": TRUE, "given_ns": i} for i in range(MOST_KINDS + 5)]
    await state.run(lambda connection: connection.execute(insert(FEEDBACK), rows) and None)
    assert len(await Feedback(state).precision()) == MOST_KINDS


@given(st.integers(0, 500), st.integers(1, 500))
def test_the_interval_is_wilsons(successes: int, failures: int) -> None:
    """At its ends the score test just accepts what was seen; beyond them it does not."""
    trials = successes + failures
    lower, upper = wilson(successes, trials)
    seen, z = successes / trials, NormalDist().inv_cdf(0.975)
    assert 0.0 <= lower <= seen < upper < 1.0
    for end in (lower, upper) if successes else (upper,):
        assert abs(seen - end) / sqrt(end * (1 - end) / trials) == pytest.approx(z, rel=1e-5)


# ----------------------------------------------------------------------------------------------------------------- markers


def marker(number: int, **changes: object) -> Marker:
    """One of several markers."""
    made = Marker(kind="deploy", ts_ns=number * 1_000_000_000, id=f"marker-{number}", which=Which(service="chat"), text="v2")
    return structs.replace(made, **changes)


async def test_markers_are_listed_newest_first(state: StateDatabase) -> None:
    """By the time they are about, up to a limit, with who made them."""
    book = Markers(state)
    for number in (2, 1, 3):
        await book.add(marker(number), f"kid{number}", 7_000_000_000)
    found = await book.recent(2)
    assert [(one.id, one.made_by) for one in found] == [("marker-3", "kid3"), ("marker-2", "kid2")]
    assert (found[0].kind, found[0].timestamp, found[0].service, found[0].model, found[0].text) == (
        "deploy",
        "1970-01-01T00:00:03.000Z",
        "chat",
        None,
        "v2",
    )


async def test_the_same_marker_again_changes_nothing(state: StateDatabase) -> None:
    """It stays as it was, and is audited once."""
    book = Markers(state)
    first = await book.add(marker(1), "kid1", 1)
    assert await book.add(marker(1, text="other"), "kid2", 2) == first
    assert [one.text for one in await book.recent(9)] == ["v2"]
    (entry,) = await state.read(lambda connection: audit.latest(connection, 9))
    assert (entry.actor, entry.action, entry.target, entry.detail["kind"]) == ("kid1", "marker.made", "marker-1", "deploy")


async def test_an_accepted_normal_is_audited(state: StateDatabase) -> None:
    """Who accepted what; names that were not given stand as all."""
    await Markers(state).accepted(AcceptRegime(which=Which(service="chat")), "kid1", 1)
    (entry,) = await state.read(lambda connection: audit.latest(connection, 9))
    assert (entry.actor, entry.action, entry.target) == ("kid1", "baseline.accepted", "default/chat/*")
    assert entry.detail["service"] == "chat"
