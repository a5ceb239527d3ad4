"""Anomalies: facts about single events, as columns on the hot path and as one struct towards people."""

from dataclasses import dataclass, replace
from enum import StrEnum

import msgspec
import numpy as np

from sentinel.core.batch import Bool, Float64, Int8, Int32


class Severity(StrEnum):
    """How far beyond the boundary: info < 1.5 <= warning < 3 <= critical, in units of the threshold."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


SEVERITIES = tuple(Severity)


class DetectorName(StrEnum):
    """The detectors."""

    ZSCORE = "zscore"
    IQR = "iqr"
    MAD = "mad"
    CUSUM = "cusum"
    THRESHOLD = "threshold"
    LEVEL = "level"
    RATE = "rate"
    SILENCE = "silence"
    DRIFT = "drift"
    USAGE = "usage"
    MULTIVARIATE = "multivariate"


DETECTORS = (DetectorName.ZSCORE, DetectorName.IQR, DetectorName.MAD, DetectorName.CUSUM, DetectorName.THRESHOLD)
"""Those that judge single events, in the order of their numbers in columns. The others judge time windows (`sentinel.detection.ticks`)."""


@dataclass(frozen=True, slots=True)
class AnomalyBatch:
    """The anomalies of one batch as columns of a, ordered by event, metric, detector.

    Attributes:
        ids: deterministic id of each.
        event: int32[a], index into the batch.
        metric: int8[a], index into METRICS; detector: int8[a], index into DETECTORS.
        severity: int8[a], index into SEVERITIES.
        value, score: float64[a]; a score of 1.0 lies exactly at the threshold.
        expected, lower, upper: float64[a], centre and band of that detector; NaN where it has none.
        mean, sd: float64[a], the baseline before the event; samples: int32[a], how many samples it had.
        window: the configured window size.
    """

    ids: list[str]
    event: Int32
    metric: Int8
    detector: Int8
    severity: Int8
    value: Float64
    score: Float64
    expected: Float64
    lower: Float64
    upper: Float64
    mean: Float64
    sd: Float64
    samples: Int32
    window: int

    def __len__(self) -> int:
        return len(self.ids)

    def of_events(self, keep: Bool) -> "AnomalyBatch":
        """The anomalies of the events where `keep` (bool[n]) is true, as of the batch that has only these."""
        chosen = np.flatnonzero(keep[self.event])
        columns = ("metric", "detector", "severity", "value", "score", "expected", "lower", "upper", "mean", "sd", "samples")
        return replace(
            self,
            ids=[self.ids[i] for i in chosen.tolist()],
            event=(np.cumsum(keep) - 1)[self.event[chosen]].astype(np.int32),
            **{name: getattr(self, name)[chosen] for name in columns},
        )


class Contributor(msgspec.Struct, frozen=True, kw_only=True):
    """One value of a dimension that had a larger part in an anomaly than it usually has.

    Attributes:
        dimension: `user`, `finish_reason`, `prompt_version`, `model`, `provider` and the like.
        value: of the dimension; users by their pseudonym.
        share: of the events of the anomaly's time, 0 to 1.
        usual: the share it has usually, 0 to 1; None when nothing is known.
    """

    dimension: str
    value: str
    share: float
    usual: float | None = None


class Anomaly(msgspec.Struct, frozen=True, kw_only=True):
    """One anomaly as the API and the store's readers give it.

    Of an event, `timestamp` is the event's; of a time window, it is the end of the tick that told, and `since` is where it began.

    Attributes:
        metric: a measured column, or of time windows also `requests_per_minute`, `error_rate` and the like.
        contributors: who had the largest part in it, strongest first; at most a few.
        exemplars: trace ids of events to look at; at most a few.
        markers: ids of the deploys, prompt versions and price changes that may explain it.
    """

    id: str
    timestamp: str
    service: str
    model: str
    metric: str
    detector: str
    type: str
    severity: str
    value: float
    expected: float | None
    lower: float | None
    upper: float | None
    score: float
    baseline_mean: float | None
    baseline_stddev: float | None
    z_score: float | None
    samples: int
    window: int
    direction: str
    confidence: float
    explanation: str
    event_id: str | None
    trace_id: str | None
    partition: str
    offset: int
    tenant: str = "default"
    since: str | None = None
    contributors: list[Contributor] = []
    exemplars: list[str] = []
    markers: list[str] = []
