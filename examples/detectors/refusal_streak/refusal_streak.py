"""More refused answers in a row than the usual rate of refusals explains.

A moderation rule that is too broad, or a prompt that trips it, shows as one refusal after the other while latency, tokens and errors look
healthy. With a usual rate p of refusals, an answer begins k of them in a row with a chance of at most p ** k; a streak is told when that is
below `chance`. So a series that refuses often needs a longer streak, and nothing has to be tuned to it.
"""

from collections.abc import Sequence
from math import log

import numpy as np
from pydantic import Field

from sentinel.detection.port import DetectorBatch, Finding, Parameters, State

SERIES = np.dtype([("answers", "f8"), ("refusals", "f8"), ("streak", "i8"), ("since_ns", "i8"), ("told", "i8")])
TOLD_AT = (1.0, 1.5, 3.0)  # where severity rises: a streak is told once for each


class Settings(Parameters):
    """When a streak is told."""

    chance: float = Field(default=1e-6, gt=0, le=0.01)
    """Chance, per answer, of being told of a streak on healthy traffic."""
    memory: int = Field(default=10_000, ge=100)
    """Answers that the usual rate rests on; older ones count half, then a quarter, and so on."""
    reasons: list[str] = Field(default=["content_filter", "refusal", "safety"])
    """Finish reasons that mean a refusal."""


class RefusalStreak:
    """Counts, in each series, answers, refusals, and the refusals in a row."""

    parameters = Settings

    def __init__(self, parameters: Settings) -> None:
        self._settings = parameters
        self._series = np.zeros(0, SERIES)

    def observe(self, batch: DetectorBatch) -> Sequence[Finding]:
        """Judge each answer, then learn it. Requests without a finish reason, such as failed ones, are no answers."""
        new = len(batch.names) - len(self._series)
        self._series = np.concatenate([self._series, np.zeros(max(new, 0), SERIES)])
        found = []
        for event, reason in enumerate(batch.dimension("finish_reason")):
            if reason is None:
                continue
            row = self._series[batch.series[event]]
            if reason not in self._settings.reasons:
                self._end(row)
                continue
            row["since_ns"] = row["since_ns"] if row["streak"] else batch.ts_ns[event]
            row["streak"] += 1
            if finding := self._judged(row, event, batch):
                found.append(finding)
        return found

    def mark(self, now_ns: int) -> Sequence[Finding]:
        """Time alone says nothing about refusals."""
        del now_ns
        return ()

    def export(self) -> State:
        """One record a series."""
        return {"series": self._series.copy()}

    def load(self, state: State) -> None:
        """Go on from these records."""
        if "series" not in state or state["series"].dtype != SERIES:
            raise ValueError("these are not the records of this version")
        self._series = state["series"].copy()

    def _judged(self, row: np.void, event: int, batch: DetectorBatch) -> Finding | None:
        """The streak so far, when it has just passed a boundary."""
        rate = (row["refusals"] + 3) / (row["answers"] + 6)  # none in n answers still allows a rate of 3 / n
        longest = log(self._settings.chance) / log(rate)
        score = row["streak"] / longest
        passed = sum(score >= boundary for boundary in TOLD_AT)
        if passed <= row["told"]:
            return None
        row["told"] = passed
        number = int(batch.series[event])
        _, service, model = batch.names[number]
        return Finding(
            event=event,
            series=number,
            metric="refusal_streak",
            value=row["streak"],
            score=score,
            lower=0.0,
            upper=longest,
            since_ns=row["since_ns"],
            samples=int(row["answers"]),
            sentence=f"{service} / {model} refused {row['streak']} answers in a row, where {rate:.2%} are refused usually.",
        )

    def _end(self, row: np.void) -> None:
        """An answer that is no refusal: the streak is over, and learned unless it was told."""
        row["answers"] += 1 if row["told"] else 1 + row["streak"]
        row["refusals"] += 0 if row["told"] else row["streak"]
        row["streak"] = row["told"] = 0
        if row["answers"] > self._settings.memory:
            row["answers"] /= 2
            row["refusals"] /= 2
