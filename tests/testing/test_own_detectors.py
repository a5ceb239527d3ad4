"""The suite that detectors of others run, over those of our own: behind the same port, by way of two adapters."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from sentinel.config.schema import Detection
from sentinel.config.sections_ticks import Ticks
from sentinel.config.sections_usage import Watching
from sentinel.core.anomaly import Anomaly
from sentinel.core.batch import CleanBatch, Float64, PartitionId, SeriesKey, by_appearance
from sentinel.core.detector import Detector, DetectorBatch, Finding, State
from sentinel.core.errors import SnapshotError
from sentinel.core.metrics import METRIC_NAMES
from sentinel.detection import snapshot
from sentinel.detection.baselines import Baselines
from sentinel.detection.over_time import OverTime
from sentinel.detection.watch import Watch
from sentinel.testing.detector_streams import Stream, faults
from sentinel.testing.detector_suite import CHECKS, Case, Check

LOG = PartitionId("kafka", "llm.telemetry", 0)
Tables = dict[str, npt.NDArray[Any]]


class EventDetectors:
    """The four textbook detectors and their windows."""

    def __init__(self, rules: Detection) -> None:
        self.rules = rules
        self.baselines = Baselines(rules)

    def observe(self, batch: DetectorBatch) -> Sequence[Finding]:
        """What fired, one finding for each detector."""
        names, codes = by_appearance(batch.names, batch.series)
        return [
            Finding(
                event=int(event),
                series=int(batch.series[event]),
                metric=METRIC_NAMES[fired.metric],
                value=float(fired.value[i]),
                score=float(fired.score[i]),
                expected=float(fired.expected[i]),
                lower=float(fired.lower[i]),
                upper=float(fired.upper[i]),
                samples=int(fired.stats.n[i]),
                sentence=f"Detector {fired.detector} fired.",
            )
            for fired in self.baselines.score_and_update(names, codes, batch.metrics)
            for i, event in enumerate(fired.event.tolist())
        ]

    def mark(self, now_ns: int) -> Sequence[Finding]:
        """They know no time."""
        del now_ns
        return ()

    def export(self) -> State:
        """A whole checkpoint."""
        return {"checkpoint": np.frombuffer(snapshot.copied(self.baselines, LOG, 0, 0, ()).blob(), np.uint8)}

    def load(self, state: State) -> None:
        """From a whole checkpoint."""
        if "checkpoint" not in state:
            raise ValueError("there is no checkpoint")
        self.baselines, _ = snapshot.decode(state["checkpoint"].tobytes(), self.rules, LOG)


class Judge(Protocol):
    """What judges a partition over time."""

    def observe(self, batch: CleanBatch, learned: Float64) -> list[Anomaly]:
        """Events."""
        ...

    def mark(self, now_ns: int, offset: int) -> list[Anomaly]:
        """A time mark."""
        ...


class TimeDetectors:
    """What judges over time, as one detector: offsets count the events.

    An anomaly's offset is that of the event it is about, which may have waited for its turn since a batch before. So everything found is
    handed over when `WAIT` more events have come: at a place that does not depend on batches.

    Args:
        judge: without state.
        export: its tables.
        load: gives it tables back; raises SnapshotError when they do not fit.
    """

    WAIT = 300

    def __init__(self, judge: Judge, export: Callable[[], Tables], load: Callable[[Tables], None]) -> None:
        self.judge = judge
        self.seen = 0
        self.numbers: dict[tuple[str, str], int] = {}
        self.found: list[tuple[int, Anomaly]] = []
        self._export, self._load = export, load

    def observe(self, batch: DetectorBatch) -> Sequence[Finding]:
        """What was found about events some time ago."""
        first, self.seen = self.seen, self.seen + len(batch)
        self.numbers |= {(name.service, name.model): number for number, name in enumerate(batch.names)}
        self._keep(self.judge.observe(clean_batch(batch, first), batch.metrics))
        due = [(at, anomaly) for at, anomaly in self.found if at < self.seen]
        self.found = [(at, anomaly) for at, anomaly in self.found if at >= self.seen]
        return [self._finding(anomaly, at - first) for at, anomaly in due]

    def mark(self, now_ns: int) -> Sequence[Finding]:
        """What a time mark brings to light is handed over in the same way."""
        self._keep(self.judge.mark(now_ns, self.seen))
        return ()

    def export(self) -> State:
        """All tables, and what has been found."""
        kept = msgspec.json.encode((self.seen, list(self.numbers), self.found))
        return {"kept": np.frombuffer(kept, np.uint8), **self._export()}

    def load(self, state: State) -> None:
        """The same back."""
        tables = dict(state)
        if "kept" not in tables:
            raise ValueError("there is nothing of it")
        kept = msgspec.json.decode(tables.pop("kept").tobytes(), type=tuple[int, list[tuple[str, str]], list[tuple[int, Anomaly]]])
        self.seen, names, self.found = kept
        self.numbers = {name: number for number, name in enumerate(names)}
        try:
            self._load(tables)
        except SnapshotError as error:
            raise ValueError(str(error)) from error

    def _keep(self, told: Sequence[Anomaly]) -> None:
        self.found = sorted([*self.found, *((one.offset + self.WAIT, one) for one in told)], key=lambda one: (one[0], one[1].id))

    def _finding(self, anomaly: Anomaly, event: int) -> Finding:
        """An anomaly, all of it in the sentence, so that everything is compared."""
        return Finding(
            event=event,
            series=self.numbers.get((anomaly.service, anomaly.model), 0),
            metric=anomaly.metric,
            value=anomaly.value,
            score=max(anomaly.score, 1.0),
            sentence=msgspec.json.encode(anomaly).decode(),
            type=anomaly.type,
            samples=anomaly.samples,
            confidence=anomaly.confidence,
        )


def clean_batch(batch: DetectorBatch, first: int) -> CleanBatch:
    """The events as the pipeline has them, from offset `first` on."""
    n = len(batch)
    names, series = by_appearance(batch.names, batch.series)
    return CleanBatch(
        source=LOG,
        received_ns=0,
        index=np.arange(n, dtype=np.int32),
        offsets=np.arange(first, first + n),
        subs=np.zeros(n, np.int32),
        ts_ns=batch.ts_ns,
        log_ns=batch.ts_ns,
        names=tuple(SeriesKey(*name) for name in names),
        series=series,
        metrics=batch.metrics,
        flags=np.zeros(n, np.int32),
        dialects=np.zeros(n, np.int8),
        dimension_sets=batch.dimension_sets,
        dimensions=batch.dimensions,
        users=batch.users,
        user=batch.user,
        personal=batch.personal,
        event_ids=[None] * n,
        trace_ids=[None] * n,
        extra=[None] * n,
        findings={},
    )


TEXTBOOK_PER_1000 = 250.0
"""Four detectors on up to three metrics each, at textbook settings, are loud on skewed traffic: see docs/detection.md."""

WATCHING = {
    "drift": {"warm_up_hours": 1, "min_psi": 0.1},
    "abuse": {"min_requests": 10, "min_tokens": 10_000, "min_cost_usd": 1.0, "max_users": 64},
    "thresholds": [
        {"name": "slow", "metric": "latency_ms", "statistic": "p95", "warning": 3_000.0},
        {"name": "failing", "metric": "error", "critical": 0.5},
        {"name": "quiet", "metric": "requests", "statistic": "per_minute", "direction": "below", "warning": 0.2},
    ],
    "budgets": [{"name": "day", "limit_usd": 20.0, "period": "day", "per": "service"}],
}
"""Everything over minutes and hours, set so that hours are enough to hear of it; static limits are broken on healthy traffic too."""


def textbook() -> Detector:
    """The detectors of single events, with windows that fill."""
    return EventDetectors(Detection.model_validate({"baseline": {"window_size": 200}}))


def ticks() -> Detector:
    """What judges over seconds."""
    judge = OverTime(Detection(), LOG)
    return TimeDetectors(judge, judge.tables, judge.load)


def watch() -> Detector:
    """What judges over minutes, hours and days."""
    judge = Watch(Watching.model_validate(WATCHING), Ticks(), LOG)
    return TimeDetectors(judge, judge.tables, judge.load)


def few_faults() -> Stream:
    """The suite's faults, in fewer events."""
    return faults(events=2_000)


def sparse_faults() -> Stream:
    """The suite's faults at half its rate."""
    return faults(events=4_500, gap_s=10.0)


def hours_of_faults() -> Stream:
    """The suite's faults, slowly."""
    return faults(events=1_500, gap_s=80.0)


CASES: dict[str, Case] = {
    "textbook": Case(textbook, faults=few_faults, quiet_per_1000=TEXTBOOK_PER_1000, bytes_per_series=131_072),
    "ticks": Case(ticks, faults=sparse_faults),
    "watch": Case(watch, faults=hours_of_faults, quiet_per_1000=1.0),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_our_own_detectors_keep_what_others_promise(check: Check, case: Case) -> None:
    """Batches, checkpoints, clocks, memory, silence: one law for detectors of others and for those in the package."""
    check(case)
