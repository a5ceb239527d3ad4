"""What people think of anomalies, and how often each detector was right by that."""

from enum import StrEnum
from math import sqrt
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Row, func, select

from sentinel.core.anomaly import SEVERITIES, Anomaly
from sentinel.core.timestamp import rfc3339
from sentinel.state import audit
from sentinel.state.database import StateDatabase
from sentinel.state.rows import upsert
from sentinel.state.tables import FEEDBACK

Z_95: Final = 1.959964
"""Quantile of the normal distribution between whose two values lie 95%."""
MOST_KINDS: Final = 1_000
"""Pairs of detector and type in one answer."""
_SEVERITY_NUMBERS: Final[dict[str, int]] = {str(name): number for number, name in enumerate(SEVERITIES)}


class Verdict(StrEnum):
    """Whether an anomaly was worth telling."""

    TRUE_POSITIVE = "true_positive"
    FALSE_POSITIVE = "false_positive"


class FeedbackRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The last verdict on an anomaly, with what the anomaly was."""

    anomaly_id: str
    verdict: Verdict
    note: str
    given_by: str
    given_at: str
    tenant: str
    service: str
    model: str
    metric: str
    detector: str
    type: str
    severity: str


class Precision(msgspec.Struct, frozen=True, kw_only=True):
    """How often a detector was right with one type of anomaly, by the verdicts of people.

    Attributes:
        precision: true positives among all that were judged.
        lower, upper: where it lies with 95% confidence, were these a random sample. People rarely judge at random.
    """

    detector: str
    type: str
    true_positives: int
    false_positives: int
    precision: float
    lower: float
    upper: float


class Feedback:
    """Verdicts on anomalies.

    Args:
        database: open while it is used.
    """

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    async def give(self, anomaly: Anomaly, verdict: Verdict, note: str, actor: str, now_ns: int) -> FeedbackRecord:
        """Keep a verdict in the place of the one before, and write who gave it. Raises RetryableError."""
        await self._database.run(lambda connection: give(connection, anomaly, verdict, note, actor, now_ns))
        return _record(_row(anomaly, verdict, note, actor, now_ns))

    async def get(self, anomaly_id: str) -> FeedbackRecord | None:
        """The verdict on an anomaly; None when nobody gave one. Raises RetryableError."""
        return await self._database.read(lambda connection: get(connection, anomaly_id))

    async def precision(self) -> list[Precision]:
        """How often each detector was right, by type. Raises RetryableError."""
        return await self._database.read(precision)


def give(connection: Connection, anomaly: Anomaly, verdict: Verdict, note: str, actor: str, now_ns: int) -> None:
    """Keep a verdict in the place of the one before, and write who gave it, in one transaction."""
    before = connection.execute(select(FEEDBACK.c.verdict).where(FEEDBACK.c.anomaly_id == anomaly.id)).scalar()
    upsert(connection, FEEDBACK, [_row(anomaly, verdict, note, actor, now_ns)])
    detail = {"verdict": verdict, "before": before, "detector": str(anomaly.detector), "type": anomaly.type}
    audit.append(connection, audit.Entry(now_ns, actor, "feedback.given", anomaly.id, detail))


def get(connection: Connection, anomaly_id: str) -> FeedbackRecord | None:
    """The verdict on an anomaly; None when nobody gave one."""
    row = connection.execute(select(FEEDBACK).where(FEEDBACK.c.anomaly_id == anomaly_id)).mappings().one_or_none()
    return _record(dict(row)) if row is not None else None


def precision(connection: Connection) -> list[Precision]:
    """How often each detector was right, by type, in the order of their names."""
    right = func.count().filter(FEEDBACK.c.verdict == Verdict.TRUE_POSITIVE)
    asked = select(FEEDBACK.c.detector, FEEDBACK.c.type, right.label("right"), func.count().label("all"))
    grouped = asked.group_by(FEEDBACK.c.detector, FEEDBACK.c.type).order_by(FEEDBACK.c.detector, FEEDBACK.c.type).limit(MOST_KINDS)
    return [_precision(row) for row in connection.execute(grouped)]


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """Where a share lies with 95% confidence, after E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
    Journal of the American Statistical Association 22 (1927). It holds for few trials and at both ends, where the normal one does not.

    >>> [round(bound, 3) for bound in wilson(9, 10)], wilson(0, 0)
    ([0.596, 0.982], (0.0, 1.0))
    """
    if trials == 0:
        return 0.0, 1.0
    share, weight = successes / trials, Z_95**2 / trials
    centre = share + weight / 2
    reach = Z_95 * sqrt((share * (1 - share) + weight / 4) / trials)
    return max(0.0, (centre - reach) / (1 + weight)), min(1.0, (centre + reach) / (1 + weight))


def _precision(row: Row[Any]) -> Precision:
    right, judged = row.right, row.all
    lower, upper = wilson(right, judged)
    return Precision(
        detector=row.detector,
        type=row.type,
        true_positives=right,
        false_positives=judged - right,
        precision=right / judged,
        lower=lower,
        upper=upper,
    )


def _row(anomaly: Anomaly, verdict: Verdict, note: str, actor: str, now_ns: int) -> dict[str, Any]:
    return {
        "anomaly_id": anomaly.id,
        "tenant": anomaly.tenant,
        "service": anomaly.service,
        "model": anomaly.model,
        "metric": anomaly.metric,
        "detector": str(anomaly.detector),
        "type": anomaly.type,
        "severity": _SEVERITY_NUMBERS[anomaly.severity],
        "verdict": verdict.value,
        "note": note,
        "given_by": actor,
        "given_ns": now_ns,
    }


def _record(row: dict[str, Any]) -> FeedbackRecord:
    same = ("anomaly_id", "note", "given_by", "tenant", "service", "model", "metric", "detector", "type")
    return FeedbackRecord(
        verdict=Verdict(row["verdict"]),
        given_at=rfc3339(row["given_ns"]),
        severity=SEVERITIES[row["severity"]].value,
        **{name: row[name] for name in same},
    )
