"""Anomalies on their way to alerts: the few numbers an episode needs of each, and the anomaly itself only when it is told. Pure."""

from collections.abc import Sequence
from typing import Final, NamedTuple, overload

import numpy as np

from sentinel.core.alert import Worth
from sentinel.core.anomaly import DETECTORS, SEVERITIES, Anomaly, AnomalyBatch, Severity
from sentinel.core.batch import Bool, CleanBatch, Int64, SeriesKey
from sentinel.core.explain import anomaly_type, describe
from sentinel.core.metrics import COST, METRICS
from sentinel.core.timestamp import nanoseconds

SEVERITY_INDEX: Final[dict[str, int]] = {severity: index for index, severity in enumerate(SEVERITIES)}
_TYPES: Final = [[anomaly_type(metric, detector) for detector in DETECTORS] for metric in METRICS]


class Subject(NamedTuple):
    """What an alert is about: one type of anomaly in one series."""

    series: SeriesKey
    type: str


class Sighting(NamedTuple):
    """One anomaly as an episode sees it.

    Attributes:
        ts_ns: event time.
        severity: index into SEVERITIES.
        offset: of its record in the log.
        origin, at: where the anomaly itself is.
    """

    subject: Subject
    ts_ns: int
    severity: int
    score: float
    offset: int
    origin: Sequence[Anomaly]
    at: int


class WorthyAnomalies(Sequence[Anomaly]):
    """Chosen anomalies of a batch. An anomaly's sentence costs ten times its numbers, so it is made when somebody looks at it, once.

    Args:
        batch: the events.
        anomalies: what was found in them.
        chosen: int64[k], which of the anomalies.
    """

    def __init__(self, batch: CleanBatch, anomalies: AnomalyBatch, chosen: Int64) -> None:
        self._batch = batch
        self._anomalies = anomalies
        self._chosen = chosen.tolist()
        self._made: dict[int, Anomaly] = {}

    def __len__(self) -> int:
        return len(self._chosen)

    @overload
    def __getitem__(self, index: int) -> Anomaly: ...

    @overload
    def __getitem__(self, index: slice) -> list[Anomaly]: ...

    def __getitem__(self, index: int | slice) -> Anomaly | list[Anomaly]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        row = self._chosen[index]
        if row not in self._made:
            self._made[row] = describe(self._batch, self._anomalies, row)
        return self._made[row]

    def sightings(self) -> list[Sighting]:
        """Their numbers, in order, without making one of them."""
        batch, found, chosen = self._batch, self._anomalies, self._chosen
        event = found.event[chosen]
        columns = (
            batch.series[event],
            found.metric[chosen],
            found.detector[chosen],
            batch.ts_ns[event],
            found.severity[chosen],
            found.score[chosen],
            batch.offsets[event],
        )
        subjects: dict[tuple[int, str], Subject] = {}
        seen = []
        rows = zip(*(column.tolist() for column in columns), strict=True)
        for at, (series, metric, detector, ts_ns, severity, score, offset) in enumerate(rows):
            kind = series, _TYPES[metric][detector]
            subject = subjects.get(kind)
            if subject is None:
                subject = subjects[kind] = Subject(batch.names[series], kind[1])
            seen.append(Sighting(subject, ts_ns, severity, score, offset, self, at))
        return seen


def alert_worthy(batch: CleanBatch, anomalies: AnomalyBatch, told: Sequence[Anomaly], worth: Worth) -> Sequence[Anomaly]:
    """The anomalies that are to become alerts: those of events in their order, then those of time windows in theirs.

    Cost: one comparison of a column when there are none; see `WorthyAnomalies` for the others.

    Args:
        batch: the events.
        anomalies: what was found in them.
        told: what was found in time windows.
        worth: which count.
    """
    least = SEVERITY_INDEX[worth.min_severity]
    counts = anomalies.severity >= least
    if not worth.events:
        counts &= _costly(anomalies, worth.costly_usd)
    of_events = WorthyAnomalies(batch, anomalies, np.flatnonzero(counts))
    of_windows = [anomaly for anomaly in told if SEVERITY_INDEX[anomaly.severity] >= least]
    return [*of_events, *of_windows] if of_windows else of_events


def _costly(anomalies: AnomalyBatch, usd: float | None) -> Bool:
    """bool[a]: what is an alert by itself, because money says so."""
    if usd is None:
        return np.zeros(len(anomalies), np.bool_)
    critical = anomalies.severity == SEVERITY_INDEX[Severity.CRITICAL]
    return np.asarray((anomalies.metric == COST) & critical & (anomalies.value >= usd) & (anomalies.value > anomalies.expected))


def sightings(anomalies: Sequence[Anomaly]) -> list[Sighting]:
    """The numbers of anomalies, in order."""
    if isinstance(anomalies, WorthyAnomalies):
        return anomalies.sightings()
    return [
        Sighting(
            Subject(SeriesKey(anomaly.tenant, anomaly.service, anomaly.model), anomaly.type),
            nanoseconds(anomaly.timestamp),
            SEVERITY_INDEX[anomaly.severity],
            anomaly.score,
            anomaly.offset,
            anomalies,
            index,
        )
        for index, anomaly in enumerate(anomalies)
    ]
