"""What fired: anomalies counted by series, type and detector. Memory is bounded, whatever names the events carry."""

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from sentinel.alerting.sightings import SEVERITY_INDEX
from sentinel.core.anomaly import DETECTORS, SEVERITIES, Anomaly, AnomalyBatch
from sentinel.core.batch import OVERFLOW, CleanBatch, SeriesKey
from sentinel.core.explain import anomaly_type
from sentinel.core.metrics import METRICS
from sentinel.core.timestamp import nanoseconds

MOST_KINDS: Final = 20_000
"""Different series, types and detectors that are told apart; what comes beyond is counted as of `__other__`."""


class Kind(NamedTuple):
    """What is counted together."""

    series: SeriesKey
    type: str
    detector: str


@dataclass(slots=True)
class Fired:
    """How often, how severe, when: event times of the first and the last."""

    first_ns: int
    last_ns: int
    by_severity: list[int]

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.by_severity)


class Tally:
    """Counts anomalies."""

    def __init__(self) -> None:
        self.fired: dict[Kind, Fired] = {}

    def events(self, batch: CleanBatch, anomalies: AnomalyBatch) -> None:
        """Anomalies of single events."""
        if not len(anomalies):
            return
        code = (batch.series[anomalies.event].astype(np.int64) * len(METRICS) + anomalies.metric) * len(DETECTORS) + anomalies.detector
        order = np.argsort(code, kind="stable")
        for mine in np.split(order, np.flatnonzero(np.diff(code[order])) + 1):
            one, times = mine[0], batch.ts_ns[anomalies.event[mine]]
            detector = DETECTORS[anomalies.detector[one]]
            kind = Kind(batch.names[batch.series[anomalies.event[one]]], anomaly_type(METRICS[anomalies.metric[one]], detector), detector)
            counts = np.bincount(anomalies.severity[mine], minlength=len(SEVERITIES)).tolist()
            self._add(kind, int(times.min()), int(times.max()), counts)

    def window(self, anomaly: Anomaly) -> None:
        """The anomaly of a time window."""
        at = nanoseconds(anomaly.timestamp)
        counts = [int(index == SEVERITY_INDEX[anomaly.severity]) for index in range(len(SEVERITIES))]
        self._add(Kind(SeriesKey(anomaly.tenant, anomaly.service, anomaly.model), anomaly.type, anomaly.detector), at, at, counts)

    def _add(self, kind: Kind, first_ns: int, last_ns: int, counts: list[int]) -> None:
        if kind not in self.fired and len(self.fired) >= MOST_KINDS:
            kind = kind._replace(series=OVERFLOW)
        known = self.fired.get(kind)
        if known is None:
            self.fired[kind] = Fired(first_ns, last_ns, counts)
            return
        known.first_ns, known.last_ns = min(known.first_ns, first_ns), max(known.last_ns, last_ns)
        known.by_severity = [before + more for before, more in zip(known.by_severity, counts, strict=True)]
