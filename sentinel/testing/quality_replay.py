"""A detector under test: a log goes in as a partition would read it, anomalies come out, and alerts are what people are told of them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final, NamedTuple, Protocol

from sentinel.config.schema import Alerting
from sentinel.core.anomaly import SEVERITIES, Anomaly
from sentinel.core.batch import CleanBatch, Float64, SeriesKey
from sentinel.core.command import Command, Marker, Which
from sentinel.core.flags import learnable
from sentinel.testing.fault_weeks import Injected, WeekFault
from sentinel.testing.quality_columns import NS, START_NS, Mark

MERGE_S: Final = 300.0
"""Anomalies of one type in one series that come so soon after a telling are part of it, as in the default alert rules."""


class Watch(Protocol):
    """What judges a partition over time; `sentinel.detection.over_time.OverTime` is one."""

    def observe(self, batch: CleanBatch, learned: Float64) -> list[Anomaly]:
        """The anomalies that a batch brings to light; called with every batch in log order.

        Args:
            batch: the events.
            learned: float64[n, len(METRICS)], NaN where absent or not to be learned.
        """
        ...

    def mark(self, now_ns: int, offset: int) -> list[Anomaly]:
        """The anomalies that the passing of time brings to light; called only when every event before `now_ns` has been given."""
        ...

    def command(self, command: Command, offset: int) -> list[Anomaly]:
        """Obey what people say."""
        ...


class Order(NamedTuple):
    """A command in a log, before the event at `offset`."""

    command: Command
    offset: int


Step = CleanBatch | Mark | Order
"""What a partition gets."""


class Alert(NamedTuple):
    """What people are told: the first anomaly of those that are merged, and how many these are.

    Attributes:
        at_s: its time, in seconds since the stream began.
        anomaly: the first.
        merged: how many anomalies it stands for.
    """

    at_s: float
    anomaly: Anomaly
    merged: int


def replay(watch: Watch, log: Iterable[Step], after: Callable[[Step], None] | None = None) -> list[Anomaly]:
    """All anomalies of a log, in the order in which they were found; `after`, when given, is called after every step."""
    found: list[Anomaly] = []
    for step in log:
        if isinstance(step, Mark):
            found += watch.mark(step.now_ns, step.offset)
        elif isinstance(step, Order):
            found += watch.command(step.command, step.offset)
        else:
            found += watch.observe(step, learnable(step.metrics, step.flags))
        if after is not None:
            after(step)
    return found


def announced(log: Iterable[CleanBatch | Mark], faults: Iterable[Injected]) -> Iterator[Step]:
    """The log with a marker before each deploy, as a pipeline that deploys would give it."""
    due = [fault for fault in faults if fault.kind is WeekFault.DEPLOY]
    for step in log:
        now_ns, offset = (step.now_ns, step.offset) if isinstance(step, Mark) else (int(step.ts_ns[-1]), int(step.offsets[0]))
        while due and now_ns >= START_NS + due[0].start_s * NS:
            deploy = due.pop(0)
            ts_ns = START_NS + int(deploy.start_s * NS)
            yield Order(Marker(kind="deploy", ts_ns=ts_ns, id=f"deploy-{ts_ns}", which=Which(), text="A new version."), offset)
        yield step


def alerts_of(anomalies: Sequence[Anomaly], *, merge_s: float = MERGE_S, min_severity: str | None = None) -> list[Alert]:
    """What people are told of anomalies: each telling counts, also the further ones of a trouble that goes on.

    Args:
        anomalies: in any order.
        merge_s: see `MERGE_S`.
        min_severity: the least severe that people are told of; that of the default configuration when None.
    """
    least = SEVERITIES.index(Alerting().min_severity if min_severity is None else min_severity)
    told: list[Alert] = []
    last: dict[tuple[SeriesKey, str], int] = {}
    for at_s, anomaly in sorted(((seconds_of(anomaly), anomaly) for anomaly in anomalies), key=lambda pair: pair[0]):
        if SEVERITIES.index(anomaly.severity) < least:
            continue
        subject = SeriesKey(anomaly.tenant, anomaly.service, anomaly.model), anomaly.type
        place = last.get(subject)
        if place is not None and at_s - told[place].at_s <= merge_s:
            told[place] = told[place]._replace(merged=told[place].merged + 1)
        else:
            last[subject] = len(told)
            told.append(Alert(at_s, anomaly, 1))
    return told


def seconds_of(anomaly: Anomaly) -> float:
    """When it was, in seconds since `START_NS`."""
    return datetime.fromisoformat(anomaly.timestamp).timestamp() - START_NS / NS
