"""Alarms about the daemon itself: from what was seen of it, second by second, to what people are told. Pure.

A condition becomes an alarm when it has lasted for its time, and the alarm ends when the condition has been gone for `quiet_secs`. In
between it is one alarm, however often the condition comes and goes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from sentinel.config.sections_alarms import Alarms as Limits
from sentinel.core.anomaly import Severity


class Condition(StrEnum):
    """What can be wrong with a daemon."""

    LEDGER_IMBALANCE = "ledger_imbalance"
    AUTH_FAILED = "auth_failed"
    STORE_HELD = "store_held"
    DEAD_LETTERS_HELD = "dead_letters_held"
    ALERTS_HELD = "alerts_held"
    SOURCE_HELD = "source_held"
    STATE_UNSAVED = "state_unsaved"
    LAG_GROWING = "lag_growing"
    WATERMARK_OLD = "watermark_old"
    CANARY_SILENT = "canary_silent"


SEVERITY: Final = {
    Condition.LEDGER_IMBALANCE: Severity.CRITICAL,
    Condition.AUTH_FAILED: Severity.CRITICAL,
    Condition.STORE_HELD: Severity.CRITICAL,
    Condition.DEAD_LETTERS_HELD: Severity.CRITICAL,
    Condition.ALERTS_HELD: Severity.CRITICAL,
    Condition.SOURCE_HELD: Severity.CRITICAL,
    Condition.STATE_UNSAVED: Severity.WARNING,
    Condition.LAG_GROWING: Severity.WARNING,
    Condition.WATERMARK_OLD: Severity.WARNING,
    Condition.CANARY_SILENT: Severity.CRITICAL,
}
NAMED: Final = 3
"""Partitions and reasons an alarm names."""
_SINKS: Final = {"store": Condition.STORE_HELD, "dead letters": Condition.DEAD_LETTERS_HELD, "alerts": Condition.ALERTS_HELD}


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen of the daemon at one moment.

    Attributes:
        now_s: seconds that never go back; now_ns: wall clock.
        imbalances: events that are nowhere, by partition; only those that are not 0.
        held: why a sink takes nothing, by its name in `Progress`.
        refused: why the other side refuses our credentials; None when nobody does.
        faults: why sources cannot be read.
        unsaved: why a partition's state could not be saved, by partition.
        lag_records: largest lag of a partition; None without Kafka.
        watermark_age_s: age of the newest event while there is work in hand; None when there is none.
        silent: what is known of canaries that should have come back.
    """

    now_s: float
    now_ns: int
    imbalances: Mapping[str, int]
    held: Mapping[str, str]
    refused: str | None
    faults: Sequence[str]
    unsaved: Mapping[str, str]
    lag_records: int | None
    watermark_age_s: float | None
    silent: Sequence[str]


@dataclass(frozen=True, slots=True)
class Alarm:
    """A condition that people are told of.

    Attributes:
        begun_ns: wall clock of the first look that showed the condition; with it goes the alarm's id.
        reason: what was seen last, with the cure where one is known.
        ended_ns: when it was over; None while it is not.
    """

    condition: Condition
    begun_ns: int
    reason: str
    ended_ns: int | None = None


@dataclass(slots=True)
class _Seen:
    """A condition that was seen, and may be an alarm already."""

    alarm: Alarm
    since_s: float
    last_s: float
    told: bool = False


class Growth:
    """Whether a number is beyond its limit and does not come down. Once it is, it stays so until the number is within the limit again.

    >>> lag = Growth()
    >>> [lag.holds(n, 10, at, 60) for at, n in [(0, 50), (30, 60), (61, 50), (62, 40), (63, 9)]]
    [False, False, True, True, False]
    >>> [lag.holds(n, 10, at, 60) for at, n in [(70, 50), (100, 40), (131, 30), (190, 30)]]
    [False, False, False, False]
    """

    def __init__(self) -> None:
        self._least: float | None = None
        self._fell_s = 0.0
        self._holds = False

    def holds(self, number: float | None, limit: float, now_s: float, grace_s: float) -> bool:
        """Look at the number; None is within every limit."""
        if number is None or number <= limit:
            self._least, self._holds = None, False
        elif self._least is None or number < self._least:
            self._least, self._fell_s = number, now_s
        elif now_s - self._fell_s >= grace_s:
            self._holds = True
        return self._holds


class Alarms:
    """The alarms of one daemon.

    Args:
        limits: how long is too long, how much too much.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._seen: dict[Condition, _Seen] = {}
        self._before: frozenset[str] = frozenset()
        self._lag, self._age = Growth(), Growth()

    @property
    def on(self) -> list[Alarm]:
        """The alarms that last, in the order of their conditions."""
        return [seen.alarm for condition in Condition if (seen := self._seen.get(condition)) is not None and seen.told]

    def look(self, look: Look) -> list[Alarm]:
        """Take in what was seen. Returns the alarms that have ended with it."""
        reasons = self._reasons(look)
        for condition, reason in reasons.items():
            self._note(condition, reason, look)
        return [alarm for condition in list(self._seen) if (alarm := self._over(condition, reasons, look)) is not None]

    def _note(self, condition: Condition, reason: str, look: Look) -> None:
        seen = self._seen.get(condition)
        if seen is None:
            seen = self._seen[condition] = _Seen(Alarm(condition, look.now_ns, reason), look.now_s, look.now_s)
        seen.alarm = replace(seen.alarm, reason=reason)
        seen.last_s = look.now_s
        seen.told = seen.told or look.now_s - seen.since_s >= self._lasting_s(condition)

    def _over(self, condition: Condition, reasons: Mapping[Condition, str], look: Look) -> Alarm | None:
        """The alarm, when its condition has been gone for long enough; what was no alarm yet is forgotten at once."""
        seen = self._seen[condition]
        if condition in reasons or (seen.told and look.now_s - seen.last_s < self._limits.quiet_secs):
            return None
        del self._seen[condition]
        return replace(seen.alarm, ended_ns=look.now_ns) if seen.told else None

    def _lasting_s(self, condition: Condition) -> float:
        """How long a condition must last before people are told of it; those that judge by themselves need no more."""
        if condition in {*_SINKS.values(), Condition.SOURCE_HELD}:
            return self._limits.held_secs
        return self._limits.unsaved_secs if condition is Condition.STATE_UNSAVED else 0.0

    def _reasons(self, look: Look) -> dict[Condition, str]:
        """The conditions that hold now, each with what was seen."""
        limits = self._limits
        found = {_SINKS[sink]: reason for sink, reason in look.held.items() if sink in _SINKS}
        # What is still nowhere at the next look is no work between two steps.
        lasting = {log: events for log, events in look.imbalances.items() if log in self._before}
        self._before = frozenset(look.imbalances)
        if lasting:
            found[Condition.LEDGER_IMBALANCE] = "events are nowhere: " + _named([f"{events} of {log}" for log, events in lasting.items()])
        if look.refused is not None:
            found[Condition.AUTH_FAILED] = look.refused
        if look.faults:
            found[Condition.SOURCE_HELD] = _named(look.faults)
        if look.unsaved:
            found[Condition.STATE_UNSAVED] = _named([f"{log}: {reason}" for log, reason in look.unsaved.items()])
        if self._lag.holds(look.lag_records, limits.lag_records, look.now_s, limits.growing_secs):
            found[Condition.LAG_GROWING] = f"{look.lag_records:,} records of a partition wait to be read, and they do not become fewer"
        if self._age.holds(look.watermark_age_s, limits.watermark_age_secs, look.now_s, limits.growing_secs):
            found[Condition.WATERMARK_OLD] = (
                f"there is work, and the newest event is {look.watermark_age_s:,.0f} s old and not getting younger"
            )
        if look.silent:
            found[Condition.CANARY_SILENT] = _named(look.silent)
        return found


def _named(reasons: Sequence[str]) -> str:
    """The first few, and how many there are more."""
    more = len(reasons) - NAMED
    return "; ".join(reasons[:NAMED]) + (f"; and {more} more" if more > 0 else "")
