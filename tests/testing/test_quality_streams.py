"""Streams in which nothing is wrong, and how a detector is fed with them."""

import numpy as np
import pytest
from quality_anomalies import found

from sentinel.config.schema import Validation
from sentinel.core.anomaly import Anomaly
from sentinel.core.batch import CleanBatch, Float64, SeriesKey
from sentinel.core.command import Command, Marker
from sentinel.core.flags import Flag, implausible_flag
from sentinel.core.metrics import ERROR, LATENCY, METRIC_INDEX, PROMPT_TOKENS
from sentinel.testing.fault_weeks import Injected, WeekFault
from sentinel.testing.quality_columns import NS, START_NS, Mark, batch_of, columns_of, log_of
from sentinel.testing.quality_replay import MERGE_S, Step, alerts_of, announced, replay, seconds_of
from sentinel.testing.quality_streams import CLEAN, FAILING, LEVELS, POSITIVE, clean_stream, healthy_fleet


@pytest.mark.parametrize("kind", CLEAN)
def test_a_clean_stream_has_its_distribution_and_no_other(kind: str) -> None:
    """The same arguments give the same events; values are what a producer may send; the wanted shape is there."""
    columns, again, limits = clean_stream(kind, 1, 20_000), clean_stream(kind, 1, 20_000), Validation()
    np.testing.assert_array_equal(columns.metrics, again.metrics)
    assert len(columns) == 20_000
    assert columns.seconds[-1] == pytest.approx(20_000, rel=0.03)
    assert limits.min_latency_ms <= columns.metrics[:, LATENCY].min() <= columns.metrics[:, LATENCY].max() <= limits.max_latency_ms
    assert columns.metrics[:, PROMPT_TOKENS].max() <= limits.max_tokens
    for name in LEVELS:
        values = columns.metrics[:, METRIC_INDEX[name]]
        assert np.isfinite(values).all()
        assert (np.ptp(values) > 0) == (kind in POSITIVE and kind != "constant")
    wanted = float(kind.split()[1]) if kind in FAILING else 0.0
    assert columns.metrics[:, ERROR].mean() == pytest.approx(wanted, rel=0.1, abs=0.001)


def test_distributions_are_as_they_are_named() -> None:
    """Sigma, shape and the share of zeros are those of the name."""
    latency, prompts = (
        lambda kind: clean_stream(kind, 2, 50_000).metrics[:, LATENCY],
        lambda kind: clean_stream(kind, 2, 50_000).metrics[:, PROMPT_TOKENS],
    )
    assert np.log(latency("lognormal 1.5")).std() == pytest.approx(1.5, rel=0.02)
    assert np.mean(prompts("zero-inflated 95%") == 0) == pytest.approx(0.95, abs=0.01)
    shape = latency("gamma 2.0")
    assert shape.mean() ** 2 / shape.var() == pytest.approx(2.0, rel=0.05)


def test_a_healthy_series_depends_on_its_number_alone() -> None:
    """A fleet can be cut into partitions: each series has the same events in whatever company."""
    together, apart = healthy_fleet(1, 4, 0.5), healthy_fleet(1, 2, 0.5, first=2)
    assert together.names[2:] == apart.names
    for number in (0, 1):
        np.testing.assert_array_equal(together.metrics[together.series == number + 2], apart.metrics[apart.series == number])
    assert (np.diff(together.ts_ns) >= 0).all()
    assert len({np.count_nonzero(together.series == number) for number in range(4)}) == 4


# -------------------------------------------------------------------------------------------------------- replay and alerts


class Recorder:
    """A watch that notes what it is given, and finds something at every mark and in every batch."""

    def __init__(self) -> None:
        self.learned: list[Float64] = []
        self.marks: list[tuple[int, int]] = []
        self.commands: list[tuple[Command, int]] = []

    def observe(self, batch: CleanBatch, learned: Float64) -> list[Anomaly]:
        """Note what was to be learned."""
        self.learned.append(learned)
        return [found((int(batch.ts_ns[-1]) - START_NS) / NS)]

    def mark(self, now_ns: int, offset: int) -> list[Anomaly]:
        """Note the mark."""
        self.marks.append((now_ns, offset))
        return [found((now_ns - START_NS) / NS, "silence")]

    def command(self, command: Command, offset: int) -> list[Anomaly]:
        """Note the command."""
        self.commands.append((command, offset))
        return []


def test_a_replay_gives_everything_in_order() -> None:
    """The watch gets every batch and every mark, and all that it finds is handed on in that order."""
    columns = columns_of(SeriesKey("default", "chat", "m"), np.array([0.0, 1.0, 31.0]), latency_ms=np.array([5.0, 6.0, 7.0]))
    watch, steps = Recorder(), list[Step]()
    anomalies = replay(watch, log_of(columns, 40.0, mark_s=10.0), steps.append)
    assert [type(step) for step in steps] == [CleanBatch, Mark, Mark, CleanBatch]
    assert watch.marks == [(START_NS + second * NS, 2) for second in (11, 21)]
    assert [len(part) for part in watch.learned] == [2, 1]
    assert [(seconds_of(one), one.type) for one in anomalies] == [
        (1.0, "latency_spike"),
        (11.0, "silence"),
        (21.0, "silence"),
        (31.0, "latency_spike"),
    ]


def test_a_deploy_can_be_announced() -> None:
    """The marker comes before the first event of the deploy, or the first time mark after it, and once."""
    columns = columns_of(SeriesKey("default", "chat", "m"), np.array([0.0, 1.0, 31.0, 32.0]), latency_ms=np.ones(4))
    for start_s, offset in ((15.0, 2), (31.5, 2), (39.0, 4)):
        watch = Recorder()
        faults = [Injected(WeekFault.HANG, 0.0, 5.0), Injected(WeekFault.DEPLOY, start_s, 60.0)]
        replay(watch, announced(log_of(columns, 60.0, mark_s=10.0), faults))
        [(command, at)] = watch.commands
        assert isinstance(command, Marker)
        assert (command.kind, command.ts_ns, at) == ("deploy", START_NS + int(start_s * NS), offset)
    assert [type(step) for step in announced(log_of(columns, 30.0, mark_s=10.0), [])] == [CleanBatch, Mark, Mark, CleanBatch]


def test_what_must_not_be_learned_is_hidden_from_the_watch() -> None:
    """Implausible values and values of events that are too old reach the watch as absent."""
    columns = columns_of(SeriesKey("default", "chat", "m"), np.array([0.0, 1.0]), latency_ms=np.array([5.0, 6.0]))
    batch = batch_of(columns, 0, 2)
    batch.flags[:] = [implausible_flag(LATENCY), Flag.TOO_OLD]
    watch = Recorder()
    replay(watch, [batch, Mark(START_NS + 5 * NS, 2)])
    assert np.isnan(watch.learned[0][:, LATENCY]).all()


def test_each_telling_is_an_alert() -> None:
    """What comes within five minutes of a telling is part of it; a trouble that goes on is told, and counted, again."""
    alerts = alerts_of([found(at_s) for at_s in (0.0, 100.0, MERGE_S, MERGE_S + 1, 2 * MERGE_S, 5_000.0)])
    assert [(alert.at_s, alert.merged) for alert in alerts] == [(0.0, 3), (MERGE_S + 1, 2), (5_000.0, 1)]


def test_other_series_and_types_are_other_alerts() -> None:
    """Only the same type in the same series is merged, whatever the order in which anomalies were found."""
    anomalies = [found(2.0, "silence"), found(1.0, service="search"), found(0.0), found(3.0)]
    alerts = alerts_of(anomalies)
    assert [(alert.at_s, alert.anomaly.service, alert.anomaly.type, alert.merged) for alert in alerts] == [
        (0.0, "chat", "latency_spike", 2),
        (1.0, "search", "latency_spike", 1),
        (2.0, "chat", "silence", 1),
    ]


def test_people_are_told_of_what_is_severe_enough() -> None:
    """The default configuration decides from which severity on people are told, unless another is asked for."""
    anomalies = [found(0.0, severity="info"), found(1_000.0), found(2_000.0, severity="critical")]
    assert [alert.anomaly.severity for alert in alerts_of(anomalies)] == ["warning", "critical"]
    assert len(alerts_of(anomalies, min_severity="info")) == 3
    assert len(alerts_of(anomalies, min_severity="critical")) == 1
