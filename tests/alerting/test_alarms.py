"""When a condition of the daemon becomes an alarm, and when the alarm is over: plain values, no clock."""

from dataclasses import replace
from typing import Any

import pytest

from sentinel.alerting.alarm_alerts import TITLES
from sentinel.alerting.alarms import SEVERITY, Alarm, Alarms, Condition, Look
from sentinel.config.sections_alarms import Alarms as Limits

START_NS = 1_700_000_000_000_000_000
CALM = Look(
    now_s=0.0,
    now_ns=START_NS,
    imbalances={},
    held={},
    refused=None,
    faults=[],
    unsaved={},
    lag_records=None,
    watermark_age_s=None,
    silent=[],
)
HOLDS: list[tuple[Condition, dict[str, Any], float]] = [
    (Condition.AUTH_FAILED, {"refused": "no"}, 0.0),
    (Condition.STORE_HELD, {"held": {"store": "down"}}, 60.0),
    (Condition.DEAD_LETTERS_HELD, {"held": {"dead letters": "down"}}, 60.0),
    (Condition.ALERTS_HELD, {"held": {"alerts": "down"}}, 60.0),
    (Condition.SOURCE_HELD, {"faults": ["brokers: none answers"]}, 60.0),
    (Condition.STATE_UNSAVED, {"unsaved": {"c/t/0": "disk full"}}, 300.0),
    (Condition.LAG_GROWING, {"lag_records": 100_001}, 60.0),
    (Condition.WATERMARK_OLD, {"watermark_age_s": 301.0}, 60.0),
    (Condition.CANARY_SILENT, {"silent": ["no canary came back from c/t/0"]}, 0.0),
]
"""Conditions, what shows them, and how long they last before they are alarms by default, in seconds."""


class Watched:
    """Looks at one daemon, at any times."""

    def __init__(self, **limits: Any) -> None:
        self.alarms = Alarms(Limits(**limits))

    def at(self, second: float, **seen: Any) -> list[Alarm]:
        """A look: the alarms it ended."""
        return self.alarms.look(replace(CALM, now_s=second, now_ns=START_NS + int(second * 1e9), **seen))

    def on(self) -> list[Condition]:
        """What is an alarm now."""
        return [alarm.condition for alarm in self.alarms.on]


@pytest.mark.parametrize(("condition", "seen", "after_s"), HOLDS)
def test_a_condition_becomes_an_alarm_after_its_time(condition: Condition, seen: dict[str, Any], after_s: float) -> None:
    """Not before, and then at once; the alarm bears the time of the first look that showed it, and the reason."""
    watched = Watched()
    if after_s:
        watched.at(10, **seen)
        watched.at(10 + after_s - 1, **seen)
        assert watched.on() == []
    watched.at(10 + after_s, **seen)
    assert watched.on() == [condition]
    (alarm,) = watched.alarms.on
    late = condition in {Condition.LAG_GROWING, Condition.WATERMARK_OLD}
    assert alarm.begun_ns == START_NS + int((10 + after_s * late) * 1e9)
    assert alarm.reason


@pytest.mark.parametrize(
    ("key", "value", "seen", "second"),
    [
        ("held_secs", 5.0, {"held": {"store": "down"}}, 5),
        ("unsaved_secs", 7.0, {"unsaved": {"c/t/0": "full"}}, 7),
        ("lag_records", 10, {"lag_records": 11}, 60),
        ("watermark_age_secs", 2.0, {"watermark_age_s": 3.0}, 60),
        ("growing_secs", 3.0, {"lag_records": 100_001}, 3),
    ],
)
def test_every_limit_acts(key: str, value: float, seen: dict[str, Any], second: float) -> None:
    """With a lower limit there is an alarm where the default has none."""
    found = []
    for limits in ({}, {key: value}):
        watched = Watched(**limits)
        watched.at(0, **seen)
        watched.at(second, **seen)
        found.append(bool(watched.on()))
    assert found == [False, True]


def test_an_imbalance_has_to_be_seen_twice_in_a_row_in_one_partition() -> None:
    """A single look between two steps is no alarm, and neither are two partitions one after the other; what grows is one."""
    watched = Watched()
    watched.at(0, imbalances={"c/t/0": 1})
    watched.at(1, imbalances={"c/t/1": 1})
    watched.at(2)
    watched.at(3, imbalances={"c/t/0": 1})
    assert watched.on() == []
    watched.at(4, imbalances={"c/t/0": 2})
    assert watched.on() == [Condition.LEDGER_IMBALANCE]
    assert watched.alarms.on[0].reason == "events are nowhere: 2 of c/t/0"


def test_an_alarm_ends_once_its_condition_has_been_gone_for_a_while() -> None:
    """A condition that comes and goes is one alarm; `quiet_secs` says how long it must be gone."""
    watched = Watched(quiet_secs=20.0)
    watched.at(0, refused="no")
    assert watched.at(19) == []
    watched.at(20, refused="still no")
    assert watched.at(39) == []
    (over,) = watched.at(40)
    assert (over.condition, over.begun_ns, over.ended_ns, over.reason) == (
        Condition.AUTH_FAILED,
        START_NS,
        START_NS + 40_000_000_000,
        "still no",
    )
    assert watched.on() == []
    watched.at(41, refused="again")
    assert watched.alarms.on[0].begun_ns == START_NS + 41_000_000_000


def test_what_was_no_alarm_yet_begins_anew() -> None:
    """A sink that is held now and then, each time for less than the limit, is none."""
    watched = Watched()
    for start in range(0, 300, 50):
        watched.at(start, held={"store": "slow"})
        watched.at(start + 40, held={"store": "slow"})
        watched.at(start + 45)
    assert watched.on() == []


def test_what_comes_down_is_no_alarm() -> None:
    """A daemon that catches up is left alone, however far behind it is; one that is an alarm stays one until it is within the limit."""
    watched = Watched()
    for second in range(0, 200, 10):
        watched.at(second, lag_records=1_000_000 - second, watermark_age_s=90_000.0 - second)
    assert watched.on() == []
    watched.at(400, lag_records=1_000_000)
    assert watched.on() == [Condition.LAG_GROWING]
    watched.at(500, lag_records=200_000)
    assert watched.on() == [Condition.LAG_GROWING]
    watched.at(501, lag_records=100_000)
    assert [alarm.condition for alarm in watched.at(600, lag_records=0)] == [Condition.LAG_GROWING]


def test_an_idle_daemon_is_not_late() -> None:
    """Without work the age of the newest event says nothing."""
    watched = Watched()
    for second in range(0, 600, 10):
        watched.at(second, watermark_age_s=None)
    assert watched.on() == []


def test_many_reasons_are_a_few_and_a_number() -> None:
    """However many partitions are concerned, what people read is short."""
    watched = Watched()
    watched.at(0, silent=[f"partition {i}" for i in range(100)])
    assert watched.alarms.on[0].reason == "partition 0; partition 1; partition 2; and 97 more"


def test_every_condition_has_a_severity_and_a_title() -> None:
    """None is forgotten where one is added."""
    assert set(SEVERITY) == set(TITLES) == set(Condition)
