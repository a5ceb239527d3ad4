"""What one run of `make quality` found, and the figures that follow from it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import nan
from typing import Any

import numpy as np

from bench.quality_goals import DENSE_RATE, SPARSE_RATE, Figures
from sentinel.testing.fault_weeks import WeekFault
from sentinel.testing.quality_score import Score, pooled

TIMED = (WeekFault.LATENCY_SPIKE, WeekFault.ERROR_BURST, WeekFault.SILENCE, WeekFault.LATENCY_DRIFT)
"""Kinds of faults whose delay has a goal."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What a detector said about one stream.

    Attributes:
        score: what its alerts are worth.
        anomalies: what it raised before alerts were made of it.
        cpu_s: what that took.
    """

    score: Score
    anomalies: int
    cpu_s: float


@dataclass(frozen=True, slots=True)
class WeekResult:
    """One week with faults.

    Attributes:
        source: who made it; rate: requests a second; seed: its seed; days: its length; events: how many it holds.
        ticks: what the time windows said; textbook: what each per-event detector said, if alerts were made of its anomalies.
        false_types: types of the false alerts.
        page: name of the file with its plots; None when it has none.
    """

    source: str
    rate: float
    seed: int
    days: float
    events: int
    ticks: Judged
    textbook: Mapping[str, Judged]
    false_types: Counter[str]
    page: str | None


@dataclass(frozen=True, slots=True)
class FleetResult:
    """Some healthy series.

    Attributes:
        series: how many; series_days: their days after the first; events: of all days.
        false: alerts of these days by type; learning: alerts of the first days by type.
        cpu_s: what that took.
    """

    series: int
    series_days: float
    events: int
    false: Counter[str]
    learning: Counter[str]
    cpu_s: float


@dataclass(frozen=True, slots=True)
class CleanResult:
    """One clean stream: its events, and the alerts by type, those of the first day too."""

    kind: str
    events: int
    alerts: Counter[str]
    cpu_s: float


Result = WeekResult | FleetResult | CleanResult | dict[str, float]
"""What one task gives; the last are the scores of a public benchmark."""


@dataclass(slots=True)
class Results:
    """Everything that was measured; `nab` holds scores by name."""

    weeks: list[WeekResult] = field(default_factory=list)
    fleets: list[FleetResult] = field(default_factory=list)
    clean: list[CleanResult] = field(default_factory=list)
    nab: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, result: Result) -> None:
        """Take what one task gave."""
        if isinstance(result, WeekResult):
            self.weeks.append(result)
        elif isinstance(result, FleetResult):
            self.fleets.append(result)
        elif isinstance(result, CleanResult):
            self.clean.append(result)
        else:
            self.nab |= result

    def sources(self) -> list[str]:
        """Who made the weeks, in order."""
        return list(dict.fromkeys(week.source for week in self.weeks))

    def rates(self) -> list[float]:
        """The rates of the weeks, the busiest first."""
        return sorted({week.rate for week in self.weeks}, reverse=True)

    def of(self, source: str, rate: float) -> list[WeekResult]:
        """The weeks of one source at one rate, by seed."""
        return sorted((week for week in self.weeks if week.source == source and week.rate == rate), key=lambda week: week.seed)

    def clean_rates(self) -> dict[str, float]:
        """Alerts per 1,000 events of each clean stream."""
        rates = {}
        for kind in dict.fromkeys(result.kind for result in self.clean):
            parts = [result for result in self.clean if result.kind == kind]
            rates[kind] = 1_000 * sum(part.alerts.total() for part in parts) / sum(part.events for part in parts)
        return rates

    def figures(self) -> list[Figures]:
        """The figures that have goals: a column for each source of weeks, the first with everything that is our own."""
        columns = [Figures(source, self._week_figures(source)) for source in self.sources()]
        others: dict[str, float] = {}
        if self.fleets:
            others["fleet"] = sum(fleet.false.total() for fleet in self.fleets) / sum(fleet.series_days for fleet in self.fleets)
        if self.clean:
            others["clean"] = max(self.clean_rates().values())
        if "standard" in self.nab:
            others["nab"] = self.nab["standard"]
        first = columns[0] if columns else Figures("own simulator", {})
        return [Figures(first.source, {**first.values, **others}), *columns[1:]]

    def _week_figures(self, source: str) -> dict[str, float]:
        values: dict[str, float] = {}
        for rate, prefix in ((DENSE_RATE, ""), (SPARSE_RATE, "sparse ")):
            weeks = self.of(source, rate)
            if not weeks:
                continue
            score = pooled([week.ticks.score for week in weeks])
            values |= {prefix + "recall": score.recall, prefix + "chance": score.chance, prefix + "false": score.false_per_day}
            if rate == DENSE_RATE:
                values["deploy"] = mean(score.after_deploy)
                values |= {str(kind): median_delay(score, kind) for kind in TIMED}
        return values

    def as_json(self) -> dict[str, Any]:
        """The figures as plain values, for a file that later runs are held against."""
        weeks = [
            {
                "source": week.source,
                "rate": week.rate,
                "seed": week.seed,
                "events": week.events,
                **summary(week.ticks),
                "missed": [f"{outcome.fault.kind}" for outcome in week.ticks.score.outcomes if not outcome.found],
                "false_types": dict(week.false_types),
                "textbook": {name: summary(judged) for name, judged in week.textbook.items()},
            }
            for week in self.weeks
        ]
        return {
            "figures": {column.source: dict(column.values) for column in self.figures()},
            "weeks": weeks,
            "clean_per_1k": self.clean_rates(),
            "fleet_false": dict(sum((fleet.false for fleet in self.fleets), Counter[str]())),
            "nab": self.nab,
            "notes": self.notes,
        }


def summary(judged: Judged) -> dict[str, float]:
    """The figures of one stream."""
    score = judged.score
    return {
        "recall": score.recall,
        "chance": score.chance,
        "false_per_day": score.false_per_day,
        "false_per_1k": score.false_per_1k,
        "after_deploy": mean(score.after_deploy),
        "anomalies": judged.anomalies,
        "cpu_s": round(judged.cpu_s, 3),
    }


def recall_of(score: Score, kind: WeekFault) -> float:
    """Share of the faults of one kind that were found; NaN when there were none."""
    return mean([outcome.found for outcome in score.outcomes if outcome.fault.kind is kind])


def median_delay(score: Score, kind: WeekFault) -> float:
    """Seconds until half of the found faults of one kind were told of; NaN when none was found."""
    delays = [outcome.delay_s for outcome in score.outcomes if outcome.fault.kind is kind and outcome.found]
    return float(np.median(delays)) if delays else nan


def mean(values: Sequence[float]) -> float:
    """The mean, NaN of nothing."""
    return float(np.mean(values)) if values else nan
