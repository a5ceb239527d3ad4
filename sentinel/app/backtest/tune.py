"""Settings that alert no more often than people want, found by trying all of them on the past, and what each of them would lose."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Final, Literal, get_args

from sentinel.alerting.intake import rules_of
from sentinel.alerting.sightings import SEVERITY_INDEX
from sentinel.app.backtest.alerts import PastAlert, PastAlerts
from sentinel.app.backtest.compare import changes
from sentinel.app.backtest.rates import Rate, weekly
from sentinel.app.backtest.reading import Past, Progress, Trial, go_over
from sentinel.app.backtest.replay import Found
from sentinel.app.backtest.sieve import Account
from sentinel.app.backtest.worthy import worth_of, worthy
from sentinel.config.schema import Config
from sentinel.config.sections_alerting import Deduplication, Level
from sentinel.config.sections_ticks import LeastChange
from sentinel.core.anomaly import SEVERITIES

Sensitivity = Literal["high", "medium", "low"]

WINDOWS_S: Final = (300.0, 1_800.0, 3_600.0)
"""How long an alert may be quiet and still be the same one: five minutes, half an hour, an hour."""


@dataclass(frozen=True, slots=True, order=True)
class Detecting:
    """What is tuned of detection.

    Attributes:
        sensitivity: `detection.ticks.sensitivity`.
        factor: every key of `detection.ticks.least_change` so many times what is configured.
    """

    sensitivity: Sensitivity
    factor: int

    def applied(self, config: Config) -> Config:
        """A configuration with it."""
        ticks = config.detection.ticks
        ticks = ticks.model_copy(update={"sensitivity": self.sensitivity, "least_change": scaled(ticks.least_change, self.factor)})
        return config.model_copy(update={"detection": config.detection.model_copy(update={"ticks": ticks})})


@dataclass(frozen=True, slots=True, order=True)
class Setting:
    """What is tuned.

    Attributes:
        detecting: what is tuned of detection.
        min_severity: `alerting.min_severity`.
        window_secs: `alerting.deduplication.window_secs`.
        event_anomalies: `alerting.event_anomalies`.
    """

    detecting: Detecting
    min_severity: Level
    window_secs: float
    event_anomalies: bool

    @classmethod
    def of(cls, config: Config) -> "Setting":
        """That of a configuration."""
        repeats, alerting = config.alerting.deduplication or Deduplication(), config.alerting
        return cls(Detecting(config.detection.ticks.sensitivity, 1), alerting.min_severity, repeats.window_secs, alerting.event_anomalies)

    def change(self, config: Config) -> dict[str, Any]:
        """The keys that are to be changed in a configuration to have this setting, nested as they are there."""
        now, ticks, alerting = Setting.of(config), dict[str, Any](), dict[str, Any]()
        if self.detecting.sensitivity != now.detecting.sensitivity:
            ticks["sensitivity"] = self.detecting.sensitivity
        if self.detecting.factor != 1:
            ticks["least_change"] = scaled(config.detection.ticks.least_change, self.detecting.factor).model_dump()
        if self.min_severity != now.min_severity:
            alerting["min_severity"] = self.min_severity
        if self.event_anomalies != now.event_anomalies:
            alerting["event_anomalies"] = self.event_anomalies
        if self.window_secs != now.window_secs:
            alerting["deduplication"] = {"window_secs": self.window_secs}
        return ({"detection": {"ticks": ticks}} if ticks else {}) | ({"alerting": alerting} if alerting else {})

    def distance(self, other: "Setting") -> int:
        """How many things are different."""
        return sum(
            (
                self.detecting.sensitivity != other.detecting.sensitivity,
                self.detecting.factor != other.detecting.factor,
                self.min_severity != other.min_severity,
                self.window_secs != other.window_secs,
                self.event_anomalies != other.event_anomalies,
            )
        )


def scaled(least: LeastChange, factor: int) -> LeastChange:
    """Least changes so many times as large; a factor of traffic by its distance from no change.

    >>> twice = scaled(LeastChange(), 2)
    >>> twice.latency_pct, twice.traffic_factor
    (20.0, 3.0)
    """
    larger = {name: value * factor for name, value in least.model_dump().items()}
    return LeastChange(**larger | {"traffic_factor": 1 + (least.traffic_factor - 1) * factor})


@dataclass(frozen=True, slots=True)
class Candidate:
    """A setting that was tried.

    Attributes:
        change: the keys to change to have it, as they nest in the configuration.
        by_severity: its alerts, in the order of SEVERITIES; rate: how many these are a week.
        lost: alerts of the configuration as it is that this setting has not.
    """

    setting: Setting
    change: dict[str, Any]
    by_severity: list[int]
    rate: Rate
    lost: list[PastAlert]

    @property
    def total(self) -> int:
        """All its alerts."""
        return sum(self.by_severity)

    @property
    def lost_by_severity(self) -> list[int]:
        """The lost ones, in the order of SEVERITIES."""
        return [sum(alert.severity == index for alert in self.lost) for index in range(len(SEVERITIES))]

    @property
    def loss(self) -> tuple[int, ...]:
        """How bad the loss is: the most severe count first."""
        return tuple(reversed(self.lost_by_severity))


@dataclass(frozen=True, slots=True)
class Tuning:
    """What came of it.

    Attributes:
        account: what was read.
        current: the configuration as it is.
        candidates: all that were tried, those with most alerts first.
        chosen: the one that loses least among those that alert no more often than wanted; None when all alert more often.
    """

    account: Account
    current: Candidate
    candidates: list[Candidate]
    chosen: Candidate | None

    @property
    def worth_showing(self) -> list[Candidate]:
        """Those that no other one beats in both respects, and the configuration as it is; of equals, the one that changes least."""
        kept: dict[tuple[int, tuple[int, ...]], Candidate] = {}
        for one in sorted(self.candidates, key=lambda one: one.setting.distance(self.current.setting)):
            if not any(_beats(other, one) for other in self.candidates):
                kept.setdefault((one.total, one.loss), one)
        return [one for one in self.candidates if one is self.current or one in kept.values()]


class _Folds:
    """Watches one way of detecting, and makes alerts of what it finds in several ways."""

    def __init__(self, config: Config, settings: Iterable[Setting]) -> None:
        self.alerts = {setting: _past_alerts(config, setting) for setting in settings}
        # Severities are left to the alerts: what is worthy is worked out once for all of them.
        worth = replace(worth_of(config.alerting), min_severity="info")
        self._worths = {setting.event_anomalies: replace(worth, events=setting.event_anomalies) for setting in self.alerts}

    def see(self, found: Found) -> None:
        """Make alerts."""
        seen = {events: worthy(found, worth) for events, worth in self._worths.items()}
        for setting, alerts in self.alerts.items():
            alerts.see(seen[setting.event_anomalies], found.watermark_ns)


def tune(past: Past, config: Config, most_weekly: float, progress: Progress) -> Tuning:
    """Try every setting on the past, in one pass.

    Args:
        past: what to try them on.
        config: the configuration as it is.
        most_weekly: alerts a week that people want at most.
        progress: told how far it has come.

    Raises BacktestError when there is nothing to judge, and what the input raises.
    """
    now = Setting.of(config)
    ways = ways_of(now.detecting.sensitivity)
    folds = [_Folds(config, _settings(way, now)) for way in ways]
    trials = [Trial(way.applied(config), [fold]) for way, fold in zip(ways, folds, strict=True)]
    account = go_over(past, trials, progress)[0]
    tried = {setting: alerts for fold in folds for setting, alerts in fold.alerts.items()}
    told = {setting: alerts.finished() for setting, alerts in tried.items()}
    all_before_ns = min((alerts.all_before_ns for alerts in tried.values() if alerts.all_before_ns is not None), default=None)
    candidates = []
    for setting, alerts in tried.items():
        slack_ns = int(max(setting.window_secs, now.window_secs) * 1e9)
        lost = changes(told[now], told[setting], slack_ns, all_before_ns).disappear
        candidates.append(Candidate(setting, setting.change(config), alerts.by_severity, weekly(alerts.total, account.length_ns), lost))
    candidates.sort(key=lambda one: (-one.total, one.loss, one.setting))
    current = next(one for one in candidates if one.setting == now)
    return Tuning(account, current, candidates, _chosen(candidates, current, most_weekly))


def ways_of(sensitivity: Sensitivity) -> list[Detecting]:
    """The ways of detecting to try, each of which costs a run of its own: from sharper than any to milder than any.

    >>> [(way.sensitivity, way.factor) for way in ways_of("medium")]
    [('high', 1), ('medium', 1), ('medium', 2), ('low', 1), ('low', 2), ('low', 4)]
    """
    factors = {sensitivity: (1, 2)} | {"low": (1, 2, 4)}
    return [Detecting(one, factor) for one in get_args(Sensitivity) for factor in factors.get(one, (1,))]


def _chosen(candidates: Sequence[Candidate], current: Candidate, most_weekly: float) -> Candidate | None:
    """The one that loses least, then changes least, then tells most."""
    quiet = [one for one in candidates if one.rate.weekly <= most_weekly]
    return min(quiet, key=lambda one: (one.loss, one.setting.distance(current.setting), -one.total), default=None)


def _beats(one: Candidate, other: Candidate) -> bool:
    """Whether it is as quiet and loses as little, and better in one of the two."""
    return one.total <= other.total and one.loss <= other.loss and (one.total, one.loss) != (other.total, other.loss)


def _settings(detecting: Detecting, now: Setting) -> list[Setting]:
    """The settings to try with one way of detecting: nobody is to hear of what they do not want to hear of now."""
    severities = [level for level in get_args(Level) if SEVERITY_INDEX[level] >= SEVERITY_INDEX[now.min_severity]]
    windows = sorted({now.window_secs, *(window for window in WINDOWS_S if window > now.window_secs)})
    events = sorted({False, now.event_anomalies})
    return [Setting(detecting, *rest) for rest in product(severities, windows, events)]


def _past_alerts(config: Config, setting: Setting) -> PastAlerts:
    repeats = (config.alerting.deduplication or Deduplication()).model_copy(update={"window_secs": setting.window_secs})
    alerting = config.alerting.model_copy(update={"deduplication": repeats})
    return PastAlerts(rules_of(alerting, ()), SEVERITY_INDEX[setting.min_severity])
