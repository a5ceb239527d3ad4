"""What came of a backtest, for programs."""

from collections.abc import Sequence
from typing import Any

import msgspec

from sentinel.app.backtest.alerts import PastAlert
from sentinel.app.backtest.compare import Changes
from sentinel.app.backtest.outcome import Outcome, Row
from sentinel.app.backtest.rates import WEEK_NS
from sentinel.app.backtest.sieve import Account
from sentinel.app.backtest.tune import Candidate
from sentinel.core.anomaly import SEVERITIES
from sentinel.core.timestamp import rfc3339

SECOND_NS = 1_000_000_000


def report_data(source: str, outcome: Outcome, other: Outcome | None, changes: Changes | None) -> dict[str, Any]:
    """Everything, as an object of JSON.

    Args:
        source: what was read.
        outcome: of the configuration.
        other: of the one it is compared with.
        changes: between the two.
    """
    data: dict[str, Any] = {"source": source, "read": account_data(outcome.account), "outcome": outcome_data(outcome)}
    if other is not None and changes is not None:
        pairs = [{"alert": alert_data(before), "severity": SEVERITIES[after.severity]} for before, after in changes.severities]
        data |= {
            "against": outcome_data(other),
            "appear": alerts_data(changes.appear),
            "disappear": alerts_data(changes.disappear),
            "other_severity": pairs,
        }
    return data


def account_data(account: Account) -> dict[str, Any]:
    """What was read, and what became of it."""
    return {
        "events": account.events,
        "series": len(account.series),
        "first": None if account.first_ns is None else rfc3339(account.first_ns),
        "last": None if account.last_ns is None else rfc3339(account.last_ns),
        "days": round(account.length_ns / (86_400 * SECOND_NS), 3),
        "rejected": dict(account.rejected),
        "first_reject": account.first_reject,
        "without_timestamp": account.timeless,
        "outside_asked_time": account.outside,
        "filtered": account.filtered,
    }


def outcome_data(outcome: Outcome) -> dict[str, Any]:
    """One configuration's alerts, and what fired."""
    rate = outcome.rate
    return {
        "configuration": outcome.name,
        "alerts_total": outcome.total,
        "by_severity": dict(zip(SEVERITIES, outcome.by_severity, strict=True)),
        "messages": outcome.messages,
        "alerts_per_week": round(rate.weekly, 3),
        "interval_90": [round(rate.low, 3), round(rate.high, 3)],
        "extrapolated": outcome.account.length_ns < WEEK_NS,
        "alerts": alerts_data(outcome.alerts),
        "fired": [_row_data(row, outcome) for row in outcome.rows],
    }


def candidate_data(candidate: Candidate, account: Account) -> dict[str, Any]:
    """A setting that was tried."""
    return {
        "change": candidate.change,
        "sensitivity": candidate.setting.detecting.sensitivity,
        "least_change_factor": candidate.setting.detecting.factor,
        "min_severity": candidate.setting.min_severity,
        "window_secs": candidate.setting.window_secs,
        "event_anomalies": candidate.setting.event_anomalies,
        "alerts_total": candidate.total,
        "by_severity": dict(zip(SEVERITIES, candidate.by_severity, strict=True)),
        "alerts_per_week": round(candidate.rate.weekly, 3),
        "interval_90": [round(candidate.rate.low, 3), round(candidate.rate.high, 3)],
        "extrapolated": account.length_ns < WEEK_NS,
        "lost_by_severity": dict(zip(SEVERITIES, candidate.lost_by_severity, strict=True)),
        "lost": alerts_data(candidate.lost),
    }


def alerts_data(alerts: Sequence[PastAlert]) -> list[dict[str, Any]]:
    """Alerts, by the time they began."""
    return [alert_data(alert) for alert in alerts]


def alert_data(alert: PastAlert) -> dict[str, Any]:
    """One alert, its strongest anomaly included."""
    series = alert.subject.series
    return {
        "alert_id": alert.alert_id,
        "tenant": series.tenant,
        "service": series.service,
        "model": series.model,
        "type": alert.subject.type,
        "severity": SEVERITIES[alert.severity],
        "started_at": rfc3339(alert.started_ns),
        "last_seen_at": rfc3339(alert.last_seen_ns),
        "count": alert.count,
        "messages": alert.messages,
        "title": alert.title,
        "description": alert.description,
        "strongest": msgspec.to_builtins(alert.strongest),
    }


def _row_data(row: Row, outcome: Outcome) -> dict[str, Any]:
    series = row.kind.series
    return {
        "tenant": series.tenant,
        "service": series.service,
        "model": series.model,
        "type": row.kind.type,
        "detector": row.kind.detector,
        "alerts": row.alerts,
        "alerts_per_week": round(outcome.weekly(row.alerts), 3),
        "anomalies": row.fired.total,
        "by_severity": dict(zip(SEVERITIES, row.fired.by_severity, strict=True)),
        "first": rfc3339(row.fired.first_ns),
        "last": rfc3339(row.fired.last_ns),
    }
