"""Static thresholds: limits that people wrote down, on a percentile, a mean or a rate of a window, for a number of windows in a row.

Windows lie on the clock (a window of five minutes begins at :00, :05 and so on, in UTC) and are sums of panes. A finding begins when a
limit is broken for the configured number of windows, is told again when it becomes critical, and ends after an hour within 70% of the
limit (for lower limits: beyond it by as much). A window with too few samples says nothing. A rate per minute is known for empty windows
too, so `below` on `requests` notices that a series has gone quiet, as soon as time goes on by other series or time marks.

Trust it as far as the limit: it knows no time of day and no usual level.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sentinel.config.sections_usage import ThresholdRule
from sentinel.core.anomaly import Anomaly, DetectorName
from sentinel.core.batch import Float64, Int32, Int64, SeriesKey
from sentinel.core.explain import number
from sentinel.core.metrics import METRIC_INDEX
from sentinel.core.timestamp import rfc3339
from sentinel.detection import quantiles
from sentinel.detection.closing import SECOND_NS, Told, Window, anomaly_of
from sentinel.detection.columns import Columns, Tables
from sentinel.detection.matching import Matcher
from sentinel.detection.panes import EVENTS, SAMPLES, UNITS
from sentinel.detection.telling import Telling

PERCENTILES: Final = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}

TYPE_OF: Final = {
    "latency_ms": "latency_spike",
    "ttft_ms": "latency_spike",
    "time_per_output_token_ms": "latency_spike",
    "prompt_tokens": "token_usage_spike",
    "completion_tokens": "token_usage_spike",
    "total_tokens": "token_usage_spike",
    "cost_usd": "cost_anomaly",
    "error": "error_rate_increase",
}
"""Types of broken upper limits by metric; lower ones are `custom`, and those of requests a surge or a drop."""

UNMEASURED: Final = -1

CLEARLY: Final = 2.0
"""Score of what breaks a limit of zero, of which nothing is a multiple."""

LARGEST_SCORE: Final = 1e9


class Thresholds:
    """The rules on a partition's series. A `WindowDetector` that also wants to see the events, for percentiles.

    Args:
        rules: the rules; an empty list costs nothing.
        pane_ns: length of a pane; every rule's window is a multiple of it.
        open_panes: how many panes are open at once.
    """

    def __init__(self, rules: Sequence[ThresholdRule], pane_ns: int, open_panes: int) -> None:
        self._rules = rules
        self._matchers = [Matcher(rule.service, rule.model) for rule in rules]
        self._pane_ns = pane_ns
        metrics = sorted({METRIC_INDEX[rule.metric] for rule in rules if rule.statistic in PERCENTILES})
        self._metrics = np.array(metrics, np.int32)
        self._buckets = np.zeros((open_panes, 0, quantiles.BUCKETS), np.int32)
        self._gauge_of = np.full((0, len(metrics)), -1, np.int32)
        self._free_gauges: list[int] = []
        shape = (len(rules),)
        self._columns = Columns(
            met=(np.int64, ()), watched=(np.int8, shape), samples=(np.int64, shape), total=(np.int64, shape), broken=(np.int32, shape)
        )
        self._merged: dict[tuple[int, int], npt.NDArray[np.int64]] = {}
        self._telling = Telling(len(rules))

    def observe(self, names: Sequence[SeriesKey], present: Int32, rows: Int32, ts_ns: Int64, metrics: Float64, first_open: int) -> None:
        """See events before their pane closes: int32[n] rows of series, those of `present` among them."""
        if not self._rules:
            return
        self._meet(names, present, (first_open + len(self._buckets)) * self._pane_ns)
        if len(self._metrics):
            quantiles.count(rows, ts_ns, metrics, self._metrics, self._gauge_of, self._pane_ns, first_open, self._buckets)

    def close(self, window: Window) -> list[Anomaly]:
        """Add a pane to the windows of all rules, and judge the windows that end with it."""
        if not self._rules:
            return []
        slot = (window.start_ns // self._pane_ns) % len(self._buckets)
        found = [anomaly for index in range(len(self._rules)) for anomaly in self._go_on(index, window, slot)]
        self._buckets[slot] = 0
        return found

    def forget(self, rows: Int64, services: Int64) -> None:
        """These series were never seen."""
        del services
        if not self._rules:
            return
        self._columns.forget(rows)
        self._telling.forget(rows)
        gone = set(rows.tolist())
        self._merged = {key: counts for key, counts in self._merged.items() if key[1] not in gone}
        gauges = self._gauge_of[rows[rows < len(self._gauge_of)]].ravel()
        self._buckets[:, gauges[gauges >= 0]] = 0
        self._free_gauges += gauges[gauges >= 0].tolist()
        self._gauge_of[rows[rows < len(self._gauge_of)]] = -1

    def accept(self, rows: Int64, services: Int64) -> None:
        """A written limit stays a limit: nothing to accept."""

    def tables(self) -> Tables:
        """All of its state."""
        keys = sorted(self._merged)
        empty = np.zeros((0, quantiles.BUCKETS), np.int64)
        own: Tables = {
            "gauge_of": self._gauge_of.copy(),
            "buckets": self._buckets.copy(),
            "free_gauges": np.array(self._free_gauges, np.int64),
            "merged_of": np.array(keys, np.int64).reshape(-1, 2),
            "merged": np.stack([self._merged[key] for key in keys]) if keys else empty,
            "signature": self._signature(),
        }
        return self._columns.tables() | self._telling.tables("telling.") | own

    def load(self, tables: Mapping[str, npt.NDArray[Any]]) -> None:
        """Become what `tables` was called on; rules that have changed since start anew, all of them."""
        if not np.array_equal(tables.get("signature", np.empty(0)), self._signature()):
            return
        self._columns.load(tables)
        self._telling.load(tables, "telling.")
        self._gauge_of, self._buckets = tables["gauge_of"].copy(), tables["buckets"].copy()
        self._free_gauges = tables["free_gauges"].tolist()
        self._merged = {(int(rule), int(row)): tables["merged"][at].copy() for at, (rule, row) in enumerate(tables["merged_of"])}

    def _signature(self) -> npt.NDArray[np.uint8]:
        """What the state means: the rules, the panes."""
        rules = "\n".join(rule.model_dump_json() for rule in self._rules)
        return np.frombuffer(f"{self._pane_ns} {len(self._buckets)}\n{rules}".encode(), np.uint8)

    # ---------------------------------------------------------------------------------------------------------- who is watched

    def _meet(self, names: Sequence[SeriesKey], present: Int32, now_ns: int) -> None:
        """Find the rules of series that were not met before; from `now_ns` on their windows are whole."""
        self._columns.reserve(len(names))
        self._telling.reserve(len(names))
        met = self._columns["met"]
        for row in present[met[present] == 0].tolist():
            met[row] = now_ns
            for index, matcher in enumerate(self._matchers):
                self._columns["watched"][row, index] = matcher.covers(names[row])
            self._give_gauges(row)

    def _give_gauges(self, row: int) -> None:
        if row >= len(self._gauge_of):
            room = np.full((max(row + 1, 2 * len(self._gauge_of)) - len(self._gauge_of), len(self._metrics)), -1, np.int32)
            self._gauge_of = np.concatenate((self._gauge_of, room))
        for at, metric in enumerate(self._metrics.tolist()):
            if any(self._columns["watched"][row, i] and self._measures(i, metric) for i in range(len(self._rules))):
                self._gauge_of[row, at] = self._gauge()

    def _measures(self, index: int, metric: int) -> bool:
        rule = self._rules[index]
        return rule.statistic in PERCENTILES and METRIC_INDEX[rule.metric] == metric

    def _gauge(self) -> int:
        if not self._free_gauges:
            panes, gauges, buckets = self._buckets.shape
            more = max(4, gauges)
            self._buckets = np.concatenate((self._buckets, np.zeros((panes, more, buckets), np.int32)), axis=1)
            self._free_gauges = list(range(gauges + more - 1, gauges - 1, -1))
        return self._free_gauges.pop()

    # ----------------------------------------------------------------------------------------------------------------- windows

    def _go_on(self, index: int, window: Window, slot: int) -> list[Anomaly]:
        rule = self._rules[index]
        metric = METRIC_INDEX.get(rule.metric, UNMEASURED)
        here = np.flatnonzero(self._columns["watched"][window.rows, index])
        rows = window.rows[here]
        count = window.tally[here, EVENTS if metric == UNMEASURED else SAMPLES.start + metric]
        self._columns["samples"][rows, index] += count
        if metric != UNMEASURED:
            self._columns["total"][rows, index] += window.sums[here, metric]
        if rule.statistic in PERCENTILES:
            self._merge(index, rows, slot)
        if window.end_ns % (rule.window_minutes * 60 * SECOND_NS):
            return []
        found = self._judge(index, window)
        self._columns["samples"][:, index] = 0
        self._columns["total"][:, index] = 0
        self._merged = {key: counts for key, counts in self._merged.items() if key[0] != index}
        return found

    def _merge(self, index: int, rows: Int64, slot: int) -> None:
        at = int(np.searchsorted(self._metrics, METRIC_INDEX[self._rules[index].metric]))
        for row in rows.tolist():
            counts = self._buckets[slot, self._gauge_of[row, at]]
            before = self._merged.get((index, row))
            self._merged[index, row] = counts.astype(np.int64) if before is None else before + counts

    def _judge(self, index: int, window: Window) -> list[Anomaly]:
        rule = self._rules[index]
        rows = np.flatnonzero(self._columns["watched"][:, index])
        samples = self._columns["samples"][rows, index]
        start_ns = window.end_ns - rule.window_minutes * 60 * SECOND_NS
        if rule.statistic != "per_minute":
            judged = samples >= max(rule.min_samples, 1)
        else:
            judged = (self._columns["met"][rows] <= start_ns) | (rule.direction == "above")
        rows, samples = rows[judged], samples[judged]
        value = self._values(index, rows, samples)
        score, severity = _beyond(rule, value)
        broken = self._columns["broken"]
        broken[rows, index] = np.where(score >= 1.0, broken[rows, index] + 1, 0)
        enough = broken[rows, index] >= rule.windows
        over = replace(window, start_ns=start_ns)
        tells = self._telling.step(
            rows, score[:, None], severity[:, None], over, may_begin=enough[:, None], subjects=slice(index, index + 1)
        )
        found = np.flatnonzero(tells).tolist()
        return [
            self._told(index, window, int(rows[at]), float(value[at]), float(score[at]), int(severity[at]), int(samples[at]))
            for at in found
        ]

    def _values(self, index: int, rows: Int64, samples: Int64) -> Float64:
        """float64[r], the rule's statistic of the window that ends, in the metric's unit."""
        rule = self._rules[index]
        if rule.statistic in PERCENTILES:
            share = PERCENTILES[rule.statistic]
            return np.array([quantiles.quantile(self._merged[index, row], share) for row in rows.tolist()], np.float64)
        if rule.metric == "requests":
            return samples / rule.window_minutes
        total = self._columns["total"][rows, index] / UNITS[METRIC_INDEX[rule.metric]]
        values: Float64 = total / (rule.window_minutes if rule.statistic == "per_minute" else samples)
        return values

    def _told(self, index: int, window: Window, row: int, value: float, score: float, severity: int, samples: int) -> Anomaly:
        rule, series = self._rules[index], window.names[row]
        limit = _limit(rule, severity)
        since_ns = int(self._telling.since_ns(np.array([row]))[0, index]) - (rule.windows - 1) * rule.window_minutes * 60 * SECOND_NS
        kind = f"{rule.metric} per minute" if rule.statistic == "per_minute" else f"{rule.statistic} of {rule.metric}"
        times = "" if rule.windows == 1 else f" for {rule.windows} windows"
        sentence = (
            f"{kind} of {series.service} / {series.model} is {number(value)}, {rule.direction} the limit {number(limit)} of rule "
            f"{rule.name!r}, over {rule.window_minutes} minutes{times} ({number(samples)} samples), since {rfc3339(since_ns)}."
        )
        return anomaly_of(
            window,
            Told(
                series=series,
                metric=f"{rule.metric}_{rule.statistic}",
                subject=rule.name,
                type=_type(rule),
                detector=DetectorName.THRESHOLD,
                value=value,
                score=score,
                severity=severity,
                lower=limit if rule.direction == "below" else None,
                upper=limit if rule.direction == "above" else None,
                samples=samples,
                since_ns=since_ns,
                explanation=sentence,
            ),
        )


def _limit(rule: ThresholdRule, severity: int) -> float:
    """The limit that a severity has."""
    limit = rule.critical if severity == 2 or rule.warning is None else rule.warning
    return limit if limit is not None else float("nan")


def _beyond(rule: ThresholdRule, value: Float64) -> tuple[Float64, npt.NDArray[np.int8]]:
    """float64[r] scores, 1.0 at the first limit, and int8[r] severities: warning, or critical from the critical limit on."""
    first = next(limit for limit in (rule.warning, rule.critical, 0.0) if limit is not None)
    last = rule.critical if rule.critical is not None else np.inf if rule.direction == "above" else -np.inf
    if rule.direction == "above":
        score = value / first if first > 0 else np.where(value > 0, CLEARLY, 0.0)
        critical = value >= last
    else:
        score = first / np.maximum(value, first / LARGEST_SCORE) if first > 0 else np.where(value <= 0, CLEARLY, 0.0)
        critical = value <= last
    return score, np.where(critical, 2, 1).astype(np.int8)


def _type(rule: ThresholdRule) -> str:
    if rule.metric == "requests":
        return "throughput_surge" if rule.direction == "above" else "throughput_drop"
    return TYPE_OF[rule.metric] if rule.direction == "above" else "custom"
