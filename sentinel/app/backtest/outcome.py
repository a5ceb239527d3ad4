"""What one configuration would have done: what fired, and what people would have been told."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sentinel.alerting.intake import rules_of
from sentinel.alerting.sightings import SEVERITY_INDEX
from sentinel.app.backtest.alerts import PastAlert, PastAlerts
from sentinel.app.backtest.rates import Rate, weekly
from sentinel.app.backtest.replay import Found
from sentinel.app.backtest.sieve import Account
from sentinel.app.backtest.tally import Fired, Kind, Tally
from sentinel.app.backtest.worthy import worth_of, worthy
from sentinel.config.schema import Config


@dataclass(frozen=True, slots=True)
class Row:
    """What fired of one kind, and how many alerts it was the strongest anomaly of."""

    kind: Kind
    fired: Fired
    alerts: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """The whole of it for one configuration.

    Attributes:
        name: of the configuration, for people.
        account: what was read for it.
        alerts: by the time they began; the first MOST_ALERTS of them.
        by_severity: all alerts, in the order of SEVERITIES; messages: how often each receiver is told.
        rows: what fired, the noisiest first.
        window_ns: how long an alert may be quiet before it ends, in event time.
        all_before_ns: event time before which every alert is among `alerts`; None when all are.
    """

    name: str
    account: Account
    alerts: list[PastAlert]
    by_severity: list[int]
    messages: int
    rows: list[Row]
    window_ns: int
    all_before_ns: int | None = None

    @property
    def total(self) -> int:
        """All alerts."""
        return sum(self.by_severity)

    @property
    def rate(self) -> Rate:
        """Alerts a week."""
        return weekly(self.total, self.account.length_ns)

    def weekly(self, count: int) -> float:
        """What a number of alerts means for a week."""
        return weekly(count, self.account.length_ns).weekly


class Observer:
    """Watches one configuration.

    Args:
        config: what it is.
    """

    def __init__(self, config: Config) -> None:
        self._worth = worth_of(config.alerting)
        self._tally = Tally()
        self._alerts = PastAlerts(rules_of(config.alerting, ()), SEVERITY_INDEX[config.alerting.min_severity])

    def see(self, found: Found) -> None:
        """Count what fired, and make alerts of it."""
        self._tally.events(found.batch, found.anomalies)
        for anomaly in found.windows:
            self._tally.window(anomaly)
        self._alerts.see(worthy(found, self._worth), found.watermark_ns)

    def outcome(self, name: str, account: Account) -> Outcome:
        """What came of it, once everything was seen."""
        past, alerts = self._alerts, self._alerts.finished()
        rows = _rows(self._tally.fired, alerts)
        return Outcome(name, account, alerts, past.by_severity, past.messages, rows, past.rules.window_ns, past.all_before_ns)


def _rows(fired: dict[Kind, Fired], alerts: Sequence[PastAlert]) -> list[Row]:
    told = Counter(Kind(alert.subject.series, alert.subject.type, alert.strongest.detector) for alert in alerts)
    rows = [Row(kind, what, told[kind]) for kind, what in fired.items()]
    return sorted(rows, key=lambda row: (-row.alerts, -row.fired.total, row.kind))
