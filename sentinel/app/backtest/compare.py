"""Which alerts one configuration has and another one has not."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sentinel.alerting.sightings import Subject
from sentinel.app.backtest.alerts import PastAlert


@dataclass(frozen=True, slots=True)
class Changes:
    """What another configuration would change, each by time.

    Attributes:
        appear: alerts that only the other one has; disappear: those it has not.
        severities: alerts both have with different severities, as pairs.
    """

    appear: list[PastAlert]
    disappear: list[PastAlert]
    severities: list[tuple[PastAlert, PastAlert]]


def changes(before: Sequence[PastAlert], after: Sequence[PastAlert], slack_ns: int, all_before_ns: int | None = None) -> Changes:
    """What is different between the alerts of two configurations on the same events.

    Two alerts are the same when they are about the same and their troubles overlap in time: another threshold makes an alert begin
    earlier or later, and with it changes its id.

    Args:
        before: alerts of one configuration, by the time they began.
        after: of the other one, likewise.
        slack_ns: troubles that lie no further apart than this overlap.
        all_before_ns: event time before which both are complete; None when they are altogether.
    """
    if all_before_ns is not None:
        before, after = ([alert for alert in alerts if alert.started_ns < all_before_ns] for alerts in (before, after))
    old, new = _Known(before, slack_ns), _Known(after, slack_ns)
    pairs = [(alert, new.same(alert)) for alert in before]
    return Changes(
        appear=[alert for alert in after if old.same(alert) is None],
        disappear=[alert for alert, other in pairs if other is None],
        severities=[(alert, other) for alert, other in pairs if other is not None and other.severity != alert.severity],
    )


class _Known:
    """Alerts by what they are about, to be asked for those that overlap.

    Of those that began early enough, the one that lasted longest decides.
    """

    def __init__(self, alerts: Iterable[PastAlert], slack_ns: int) -> None:
        self._slack_ns = slack_ns
        self._since: dict[Subject, list[int]] = defaultdict(list)
        self._longest: dict[Subject, list[PastAlert]] = defaultdict(list)
        for alert in sorted(alerts, key=lambda alert: alert.since_ns):
            longest = self._longest[alert.subject]
            longest.append(max([*longest[-1:], alert], key=lambda one: one.last_seen_ns))
            self._since[alert.subject].append(alert.since_ns)

    def same(self, alert: PastAlert) -> PastAlert | None:
        """The alert that is the same as this one."""
        at = bisect_right(self._since.get(alert.subject, []), alert.last_seen_ns + self._slack_ns)
        if not at:
            return None
        other = self._longest[alert.subject][at - 1]
        return other if other.last_seen_ns + self._slack_ns >= alert.since_ns else None
