"""Time windows of one partition: what they tell of, once; nothing of it depends on batches, order within lateness, or restarts."""

import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from sentinel.config.schema import Detection
from sentinel.config.sections_ticks import Ticks as Section
from sentinel.core.anomaly import Anomaly
from sentinel.core.batch import CleanBatch, SeriesKey
from sentinel.core.command import AcceptRegime, Marker, Which
from sentinel.core.errors import SnapshotError
from sentinel.core.flags import learnable
from sentinel.core.jit import JIT_DISABLED
from sentinel.detection.ticks import Ticks
from sentinel.testing.quality_columns import LOG, NS, START_NS, Columns, batch_of, columns_of, log_of, merged
from sentinel.testing.quality_replay import replay

pytestmark = pytest.mark.skipif(JIT_DISABLED, reason="tens of thousands of events are for compiled kernels")

CHAT = SeriesKey("default", "chat", "m")
HOUR_S = 3_600.0
QUIET_S = 8 * HOUR_S
"""So long everything is as ever."""
TOLD = {"warning", "critical"}


def traffic(seconds: float, seed: int = 1, name: SeriesKey = CHAT, rate: float = 0.5, **factors: Any) -> Columns:
    """Requests at random with lognormal latency; after QUIET_S latency, errors, tokens are multiplied or replaced as `factors` say."""
    rng = np.random.default_rng(seed)
    at = np.sort(rng.uniform(0, seconds, int(seconds * rate)))
    n, later = len(at), at >= QUIET_S
    latency = 800.0 * np.exp(rng.normal(0, 0.4, n)) * np.where(later, factors.get("latency", 1.0), 1.0)
    prompt = np.round(300.0 * np.exp(rng.normal(0, 0.5, n)) * np.where(later, factors.get("prompt", 1.0), 1.0))
    error = (rng.random(n) < np.where(later, factors.get("errors", 0.005), 0.005)).astype(float)
    completion = np.round(200.0 * np.exp(rng.normal(0, 0.5, n)))
    return columns_of(name, at, latency_ms=latency, prompt_tokens=prompt, completion_tokens=completion, error=error, cost_usd=prompt * 1e-5)


def anomalies(columns: Columns, until_s: float | None = None, **ticks: Any) -> list[Anomaly]:
    """What is found in a log as a daemon that keeps up would read it."""
    return replay(Ticks(Detection(ticks=Section(**ticks)), LOG), log_of(columns, until_s))


def types(found: Sequence[Anomaly]) -> list[str]:
    """Of what people would be told."""
    return [one.type for one in found if one.severity in TOLD]


@pytest.fixture(scope="module")
def slow() -> Columns:
    """Eight hours as ever, then three of latency three times as high."""
    return traffic(QUIET_S + 3 * HOUR_S, latency=3.0)


def observed(ticks: Ticks, batch: CleanBatch) -> list[Anomaly]:
    """What a batch brings to light."""
    return ticks.observe(batch, learnable(batch.metrics, batch.flags))


# ------------------------------------------------------------------------------------------------------------- what is told


def test_a_level_that_moves_is_told_once_and_then_is_normal(slow: Columns) -> None:
    """Within minutes, once, with what was expected, what came, since when; a lasting one becomes one regime change and no more alerts."""
    found = anomalies(slow)
    (told,) = [one for one in found if one.severity in TOLD]
    assert (told.type, told.metric, told.direction, told.series if hasattr(told, "series") else told.service) == (
        "latency_spike",
        "latency_ms",
        "above",
        "chat",
    )
    assert told.expected is not None
    assert told.value > 2 * told.expected
    assert told.score >= 1.0
    assert told.since is not None
    assert "chat / m" in told.explanation
    assert [one.type for one in found if one.type == "regime_change"] == ["regime_change"]


@pytest.mark.parametrize(
    ("factors", "wanted"),
    [({"errors": 0.3}, "error_rate_increase"), ({"prompt": 4.0}, "input_drift"), ({}, None)],
    ids=["failures", "prompts", "nothing"],
)
def test_each_kind_has_its_type(factors: dict[str, float], wanted: str | None) -> None:
    """Failures and longer prompts are told by their type, and a healthy day is not told of at all."""
    found = types(anomalies(traffic(QUIET_S + HOUR_S, 2, **factors)))
    assert (wanted is None and not found) or wanted in found or "token_usage_spike" in found


def test_silence_of_one_and_of_all() -> None:
    """A series that stops while its neighbour speaks is told by name; nothing is told while nobody marks the time."""
    stops = traffic(QUIET_S, 3, SeriesKey("default", "stops", "m"))
    goes_on = traffic(QUIET_S + HOUR_S, 4, SeriesKey("default", "goes-on", "m"))
    found = [one for one in anomalies(merged([stops, goes_on]), QUIET_S + HOUR_S) if one.type == "silence"]
    assert [one.service for one in found] == ["stops"]
    unmarked = replay(Ticks(Detection(), LOG), log_of(stops, QUIET_S + HOUR_S, mark_s=float("inf")))
    assert "silence" not in types(unmarked)


def test_what_to_look_at() -> None:
    """Exemplar traces are those of events of the finding; there are a few at most."""
    slow = traffic(QUIET_S + HOUR_S, 12, latency=20.0)
    batch = batch_of(slow, 0, len(slow))
    traces = [f"trace-{i}" for i in range(len(batch))]
    ticks = Ticks(Detection(), LOG)
    (told,) = [one for one in observed(ticks, replace(batch, trace_ids=traces)) if one.severity in TOLD]
    began = int(np.searchsorted(slow.seconds, QUIET_S)) - 100
    assert 0 < len(told.exemplars) <= 5
    assert all(int(trace.removeprefix("trace-")) >= began for trace in told.exemplars)


def test_one_outlier_does_not_poison_what_is_usual() -> None:
    """An absurd value every ten minutes: the expectation stays what most requests take."""
    columns = traffic(QUIET_S, 5)
    columns.metrics[::300, 0] = 250_000.0
    ticks = Ticks(Detection(), LOG)
    observed(ticks, batch_of(columns, 0, len(columns)))
    (band,) = [one for one in ticks.bands() if one.quantity == "latency_ms"]
    assert 500 < band.expected < 1_500


# ----------------------------------------------------------------------------------------------------------------- the laws


def test_fifty_cuts_a_restart_anywhere_and_shuffles_give_the_same(slow: Columns) -> None:
    """Random batches, a checkpoint at each fifth cut, events shuffled within the lateness bound: the same anomalies with the same ids."""
    whole = [one.id for one in replay(Ticks(Detection(), LOG), [batch_of(slow, 0, len(slow))])]
    assert whole
    rng = random.Random(7)  # noqa: S311  reproducible cuts
    for round_ in range(50):
        cuts = sorted({0, len(slow), *(rng.randrange(len(slow)) for _ in range(6))})
        ticks, found = Ticks(Detection(), LOG), []
        for number, (first, last) in enumerate(pairwise(cuts)):
            found += observed(ticks, batch_of(slow, first, last))
            if (round_ + number) % 5 == 0:
                after = Ticks(Detection(), LOG)
                after.load(ticks.tables(), ticks.names)
                ticks = after
        assert [one.id for one in found] == whole


def test_order_within_the_lateness_bound_makes_no_difference(slow: Columns) -> None:
    """Events that come up to four seconds late are judged in order of their own time."""
    jitter = np.random.default_rng(8).uniform(0, 4.0, len(slow))
    order = np.argsort(slow.seconds + jitter, kind="stable")
    late = Columns(slow.names, slow.series[order], slow.ts_ns[order], slow.metrics[order], slow.outcome[order], slow.user[order])
    ids = [{one.id for one in replay(Ticks(Detection(), LOG), [batch_of(columns, 0, len(slow))])} for columns in (slow, late)]
    assert ids[0] == ids[1]


def test_a_state_of_other_rules_is_refused(slow: Columns) -> None:
    """Tables that do not fit are an error, and change nothing."""
    ticks = Ticks(Detection(), LOG)
    observed(ticks, batch_of(slow, 0, 100))
    tables = ticks.tables()
    del tables["clock"]
    with pytest.raises(SnapshotError):
        Ticks(Detection(), LOG).load(tables, ticks.names)


def test_series_beyond_the_limit_share_one() -> None:
    """More names than `max_series`: the state does not grow, and the rest share `__other__`."""
    columns = merged([traffic(HOUR_S / 4, i, SeriesKey("default", f"s{i:02}", "m")) for i in range(6)])
    ticks = Ticks(Detection(ticks=Section(max_series=3)), LOG)
    observed(ticks, batch_of(columns, 0, len(columns)))
    assert len(ticks.names) == 4
    assert [name.service for name in ticks.names][-1] == "__other__"


# -------------------------------------------------------------------------------------------------------------- each key acts


def test_what_is_switched_off_or_too_small_is_not_told(slow: Columns) -> None:
    """`enabled: false` tells nothing; a share of failures below `least_change.error_points` is nothing to tell of."""
    assert anomalies(slow, enabled=False) == []
    failing = traffic(QUIET_S + HOUR_S, 2, errors=0.3)
    assert "error_rate_increase" in types(anomalies(failing))
    assert "error_rate_increase" not in types(anomalies(failing, least_change={"error_points": 90.0}))


@pytest.mark.parametrize(
    ("key", "value"),
    [("tick_secs", 60), ("sensitivity", "low"), ("false_alarm_days", 100_000.0)],
)
def test_keys_that_change_when_and_how_sure(slow: Columns, key: str, value: object) -> None:
    """Another length, strictness or patience gives another moment or another score for the same trouble."""
    usual, other = (next(one for one in found if one.severity in TOLD) for found in (anomalies(slow), anomalies(slow, **{key: value})))
    assert (usual.timestamp, usual.score, usual.offset) != (other.timestamp, other.score, other.offset)


def test_accept_minutes_is_when_a_shift_is_normal(slow: Columns) -> None:
    """The regime change comes later the longer a level has to stay."""
    early, late = (
        next(one.timestamp for one in anomalies(slow, accept_minutes=minutes) if one.type == "regime_change") for minutes in (30, 120)
    )
    assert early < late


def test_hold_minutes_is_how_long_trouble_may_come_back() -> None:
    """Two bursts of failures an hour apart: fewer alerts when the hold spans both."""
    columns = traffic(QUIET_S + 3 * HOUR_S, 9)
    for start in (QUIET_S, QUIET_S + HOUR_S):
        during = (columns.seconds >= start) & (columns.seconds < start + 600)
        columns.metrics[during, -1] = 1.0
    often, seldom = (types(anomalies(columns, hold_minutes=minutes)).count("error_rate_increase") for minutes in (10, 600))
    assert often > seldom == 1


def test_lateness_secs_is_how_late_events_may_come(slow: Columns) -> None:
    """Events that come up to a minute late: in the order of their time with a minute's patience, counted as late without."""
    order = np.argsort(slow.seconds + np.random.default_rng(11).uniform(0, 60.0, len(slow)), kind="stable")
    late = Columns(slow.names, slow.series[order], slow.ts_ns[order], slow.metrics[order], slow.outcome[order], slow.user[order])
    patient, hasty = (Ticks(Detection(ticks=Section(lateness_secs=seconds)), LOG) for seconds in (60, 0))
    for ticks in (patient, hasty):
        observed(ticks, batch_of(late, 0, len(late)))
    assert patient.late == 0
    assert hasty.late > len(late) // 4


def test_tell_falls_names_what_may_not_fall() -> None:
    """A fall of latency is told only where it is named."""
    columns = traffic(QUIET_S + HOUR_S, 10, latency=0.3)
    assert "latency_ms" not in {one.metric for one in anomalies(columns) if one.severity in TOLD}
    assert "latency_ms" in {one.metric for one in anomalies(columns, tell_falls=["latency_ms"]) if one.severity in TOLD}


# ----------------------------------------------------------------------------------------------------------------- commands


def test_a_marker_is_linked_and_an_accepted_regime_is_normal(slow: Columns) -> None:
    """After a deploy was marked, what is told names it; accepting makes the level normal at once."""
    cut = int(np.searchsorted(slow.seconds, QUIET_S))
    ticks = Ticks(Detection(ticks=Section(marker_minutes=60.0)), LOG)
    found = observed(ticks, batch_of(slow, 0, cut))
    ticks.command(Marker(kind="deploy", ts_ns=START_NS + int(QUIET_S * NS), id="deploy-1", which=Which(service="chat")), cut)
    found += observed(ticks, batch_of(slow, cut, cut + 1_800))
    assert [one.markers for one in found if one.type == "latency_spike"] == [["deploy-1"]]
    ticks.command(AcceptRegime(which=Which(service="chat")), cut + 1_800)
    assert types(observed(ticks, batch_of(slow, cut + 1_800, len(slow)))) == []
