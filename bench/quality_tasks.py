"""The parts of `make quality` that run side by side: each makes a stream and says what the detectors' alerts about it are worth."""

import importlib.util
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Literal, NamedTuple

import numpy as np

from bench.quality_bands import BandTrace
from bench.quality_page import WeekReport, week_page
from bench.quality_plot import Band
from bench.quality_results import CleanResult, FleetResult, Judged, Result, WeekResult
from sentinel.config.schema import Cusum, Detection, DetectorChoice, Iqr, Mad, Zscore
from sentinel.config.section import MetricName
from sentinel.core.batch import Float64
from sentinel.detection.baselines import Baselines
from sentinel.detection.gauge import GAUGE, score_then_learn
from sentinel.detection.over_time import OverTime
from sentinel.testing.fault_weeks import SERIES, Injected, Week, WeekFault, fault_week
from sentinel.testing.nab import Recording, best_threshold, recordings, score_at
from sentinel.testing.quality_columns import LOG, Columns, columns_of, log_of
from sentinel.testing.quality_replay import MERGE_S, Alert, alerts_of, announced, replay
from sentinel.testing.quality_score import LEARNING_S, Verdict, scored, verdict_on
from sentinel.testing.quality_streams import clean_stream, healthy_fleet

TEXTBOOK: Final[tuple[DetectorChoice, ...]] = ("zscore", "iqr", "mad", "cusum")
TEXTBOOK_METRICS: Final[list[MetricName]] = ["latency_ms", "total_tokens", "cost_usd", "error"]
"""All four detectors watch all of these here."""
CHUNK: Final = 5_000
DAY_S: Final = 86_400.0

OWN, OTHER = "own simulator", "second maker"
OTHER_STREAMS: Final = Path(__file__).resolve().parents[2] / "shared" / "bench" / "fault_stream.py"
"""A second maker of fault weeks, used when it is there."""
OTHER_KINDS: Final = {"hang_20pct": WeekFault.HANG, "error_slowburn": WeekFault.SLOW_BURN, "throughput_zero": WeekFault.SILENCE}


class Task(NamedTuple):
    """One part: its name, a guess of its seconds, and what to call with which arguments."""

    name: str
    cost: float
    work: Literal["week", "fleet", "clean", "nab"]
    arguments: Mapping[str, Any]

    def run(self) -> Result:
        """Do it."""
        works: dict[str, Any] = {"week": week, "fleet": fleet, "clean": clean, "nab": nab}
        result: Result = works[self.work](**self.arguments)
        return result


def week(source: str, seed: int, days: int, rate: float, kinds: tuple[WeekFault, ...], out: Path | None, *, announce: bool) -> WeekResult:
    """One week of faults, its deploy announced by a marker or not; writes its page into `out`."""
    made = fault_week(seed, days=days, rate=rate, kinds=kinds) if source == OWN else other_week(seed, days, rate)
    columns = made.columns
    alerts, judged, bands = watched(made, look=out is not None, announce=announce)
    textbook = {detector: textbook_judged(made, detector) for detector in TEXTBOOK}
    page = None
    if out is not None:
        title = f"Week of the {source}, {rate:g} requests/s, seed {seed}"
        page = f"{source.split(maxsplit=1)[0]}-{rate:g}-{seed}.html"
        (out / page).write_text(week_page(WeekReport(title, made, alerts, judged.score, bands)), encoding="utf-8")
    false = Counter(alert.anomaly.type for alert in alerts if verdict_on(alert.at_s, made.faults) is Verdict.FALSE)
    return WeekResult(source, rate, seed, made.total_s / DAY_S, len(columns), judged, textbook, false, page)


def watched(made: Week, *, look: bool, announce: bool) -> tuple[list[Alert], Judged, Mapping[str, Band]]:
    """What the time windows say about a week, and what they expected, if one wants to look at it."""
    watch = OverTime(Detection(), LOG)
    trace = BandTrace(watch)
    started = time.process_time()
    log = announced(log_of(made.columns, made.total_s), made.faults if announce else ())
    anomalies = replay(watch, log, trace.after if look else None)
    cpu_s = time.process_time() - started
    alerts = alerts_of(anomalies)
    score = scored([alert.at_s for alert in alerts], made.faults, made.total_s, len(made.columns))
    return alerts, Judged(score, len(anomalies), cpu_s), trace.bands()


def textbook_judged(made: Week, detector: DetectorChoice) -> Judged:
    """What one per-event detector says about a week when each of its anomalies may become an alert, merged as all alerts are."""
    started = time.process_time()
    times = fired_s(made.columns, detector)
    cpu_s = time.process_time() - started
    alerts = np.concatenate([told_s(found) for found in times])
    return Judged(scored(alerts, made.faults, made.total_s, len(made.columns)), sum(map(len, times)), cpu_s)


def fired_s(columns: Columns, detector: DetectorChoice) -> list[Float64]:
    """When a textbook detector fired, for each metric, in rising seconds."""
    names = TEXTBOOK_METRICS
    rules = Detection(
        enabled_detectors=[detector],
        zscore=Zscore(metrics=names),
        iqr=Iqr(metrics=names),
        mad=Mad(metrics=names),
        cusum=Cusum(metrics=names),
    )
    baselines = Baselines(rules.model_copy(update={"baseline": rules.baseline.model_copy(update={"metrics": []})}))
    seconds = columns.seconds
    found: dict[int, list[Float64]] = {}
    for first in range(0, len(columns), CHUNK):
        part = slice(first, first + CHUNK)
        for fired in baselines.score_and_update(columns.names, columns.series[part], columns.metrics[part]):
            found.setdefault(fired.metric, []).append(np.sort(seconds[part][fired.event]))
    return [np.concatenate(parts) for parts in found.values()] or [np.empty(0)]


def told_s(found_s: Float64) -> Float64:
    """When people are told of anomalies at these rising times: those that come soon after a telling are part of it."""
    told = []
    at = 0
    while at < len(found_s):
        told.append(found_s[at])
        at = int(np.searchsorted(found_s, found_s[at] + MERGE_S, side="right"))
    return np.array(told)


def fleet(seed: int, series: int, first: int, days: float) -> FleetResult:
    """Some healthy series in one partition."""
    columns = healthy_fleet(seed, series, days, first=first)
    started = time.process_time()
    alerts = alerts_of(replay(OverTime(Detection(), LOG), log_of(columns, days * DAY_S)))
    cpu_s = time.process_time() - started
    false, learning = (Counter(one.anomaly.type for one in alerts if (one.at_s >= LEARNING_S) is later) for later in (True, False))
    return FleetResult(series, series * (days - 1), len(columns), false, learning, cpu_s)


def clean(kind: str, seed: int, events: int) -> CleanResult:
    """One clean stream, the first day too."""
    started = time.process_time()
    alerts = alerts_of(replay(OverTime(Detection(), LOG), log_of(clean_stream(kind, seed, events))))
    return CleanResult(kind, events, Counter(alert.anomaly.type for alert in alerts), time.process_time() - started)


def nab(folder: Path) -> dict[str, float]:
    """The benchmark's scores of the gauge, by name: at the threshold that users get, and at the best one, as published results are.

    Args:
        folder: with the benchmark's `data` and `labels`.
    """
    files = recordings(folder)
    scores = {file.name: gauged(file) for file in files}
    result, best = score_at(files, scores, 1.0), best_threshold(files, scores)
    figures = {"standard": result.scores["standard"], "standard, best threshold": best["standard"][0]}
    for name in ("reward_low_FP_rate", "reward_low_FN_rate"):
        figures |= {name: result.scores[name], f"{name}, best threshold": best[name][0]}
    return figures | {f"windows found of {result.windows}": float(result.found), "false alarms": float(result.false_alarms)}


def gauged(file: Recording) -> Float64:
    """float64[n]: the score of each row of a recording just before it is learned."""
    record = np.zeros(1, GAUGE)[0]
    rows = zip(file.t_s.tolist(), file.values.tolist(), strict=True)
    return np.array([score_then_learn(record, t_s, value, 1.0) for t_s, value in rows])


@cache
def module_at(path: Path) -> ModuleType:
    """A module of a file outside of the packages."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def other_week(seed: int, days: int, rate: float) -> Week:
    """A week of the second maker, in our columns."""
    events, faults = module_at(OTHER_STREAMS).make_stream(seed, days, rate)
    values = {name: events[name] for name in ("latency_ms", "prompt_tokens", "completion_tokens", "cost_usd", "error")}
    values["total_tokens"] = values["prompt_tokens"] + values["completion_tokens"]
    return Week(columns_of(SERIES, events["ts"], **values), injected(faults), float(days * DAY_S))


def injected(faults: Iterable[Mapping[str, Any]]) -> tuple[Injected, ...]:
    """The second maker's labels as ours."""
    return tuple(Injected(OTHER_KINDS.get(one["kind"]) or WeekFault(one["kind"]), one["start"], one["end"]) for one in faults)
