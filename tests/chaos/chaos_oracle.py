"""What must have come of a topic: told by the product's own pure functions in one thread, and by the plain reader of the simulation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from chaos_topic import Log, Message
from simulated_oracle import Partition
from simulated_replica import state_of

from sentinel.alerting.episodes import Episode, step
from sentinel.alerting.intake import rules_of
from sentinel.alerting.sightings import Subject, alert_worthy, sightings
from sentinel.config.schema import Config
from sentinel.core.alert import Worth
from sentinel.core.batch import PartitionId
from sentinel.core.delivery import Delivery
from sentinel.ingestion.sanitize import Sanitizer
from sentinel.pipeline.process import Rules, process
from sentinel.pipeline.shard import Shard

RECEIVER = "rabbitmq"
PORTION = 5_000
Place = tuple[int, int]
"""Partition and offset."""


@dataclass
class Outcome:
    """What came of a topic, or must have.

    Attributes:
        rows: by place, what is stored: event id, service, latency.
        letters: by place, the code of the dead letter.
        anomalies: by id, how often it is there.
        notifications: ids of messages.
        alerts: by id, how many anomalies it counts, and its severity.
        states: by partition, windows, remembered ids and place in the log.
    """

    rows: dict[Place, tuple[str | None, str, float]] = field(default_factory=dict)
    letters: dict[Place, str] = field(default_factory=dict)
    anomalies: dict[str, int] = field(default_factory=dict)
    notifications: set[str] = field(default_factory=set)
    alerts: dict[str, tuple[int, int]] = field(default_factory=dict)
    states: dict[int, dict[str, object]] = field(default_factory=dict)

    def differences(self, found: "Outcome") -> list[str]:
        """Where another one differs, in words; empty when it does not."""
        pairs: Sequence[tuple[str, Any, Any]] = [
            ("rows", self.rows, found.rows),
            ("dead letters", self.letters, found.letters),
            ("anomalies", self.anomalies, found.anomalies),
            ("notifications", dict.fromkeys(self.notifications, 1), dict.fromkeys(found.notifications, 1)),
            ("alerts", self.alerts, found.alerts),
        ]
        told = [text for what, expected, seen in pairs if (text := _difference(what, expected, seen))]
        if self.states and found.states:
            told += [text for partition, state in self.states.items() if (text := _state(partition, state, found.states.get(partition)))]
        return told


@dataclass(frozen=True)
class Verdict:
    """What the oracles say.

    Attributes:
        wrong: broken promises; empty when all is well.
        records: in the topic.
        expected: what must have come of them.
        letters_twice, told_twice: repeats of dead letters and of messages; each carries the id of the first.
    """

    wrong: list[str]
    records: int
    expected: Outcome
    letters_twice: int
    told_twice: int

    def figures(self) -> str:
        """In one line."""
        stored, buried = len(self.expected.rows), len(self.expected.letters)
        return (
            f"{self.records:,} records = {stored:,} stored + {buried:,} dead letters + {self.records - stored - buried:,} duplicates; "
            f"{len(self.expected.anomalies):,} anomalies, {len(self.expected.alerts):,} alerts, "
            f"{len(self.expected.notifications):,} messages; repeats: {self.told_twice} messages, {self.letters_twice} dead letters; "
            f"{len(self.wrong)} wrong"
        )


def by_plain_reading(cluster: str, topic: str, log: Log) -> Outcome:
    """As anybody would read the documentation, without a line of the product."""
    outcome = Outcome()
    for partition, messages in log.items():
        found = Partition(cluster, topic, partition, RECEIVER).read((message.offset, message.value) for message in messages)
        outcome.rows |= {(partition, offset): row for offset, row in found.rows.items()}
        outcome.letters |= {(partition, offset): code for offset, code in found.letters.items()}
        outcome.anomalies |= dict.fromkeys(found.anomalies, 1)
        outcome.notifications |= found.notifications
        outcome.alerts |= found.alerts
    return outcome


def by_the_product(cluster: str, topic: str, log: Log, config: Config) -> Outcome:
    """The product's pure functions over the whole log, one partition after the other."""
    ingestion, outcome = config.ingestion, Outcome()
    sanitizer = Sanitizer(ingestion.parsing, ingestion.validation, config.privacy, ingestion.dead_letters, b"k" * 32)
    rules = Rules(ingestion.parsing, ingestion.validation, sanitizer)
    for partition, messages in log.items():
        shard = Shard(PartitionId(cluster, topic, partition), 0, config.detection, ingestion.dedupe.window_events)
        teller = _Teller(config)
        for start in range(0, len(messages), PORTION):
            _read(messages[start : start + PORTION], shard, rules, teller, outcome)
        outcome.notifications |= teller.notifications
        outcome.alerts |= teller.alerts
        outcome.states[partition] = state_of(shard)
    return outcome


def state_in(blob: bytes, source: PartitionId, config: Config, end: int) -> dict[str, object]:
    """What a checkpoint holds."""
    shard = Shard(source, 0, config.detection, config.ingestion.dedupe.window_events)
    shard.load(blob, config.ingestion.dedupe.window_events, end)
    return state_of(shard)


class _Teller:
    """Episodes and messages of one partition."""

    def __init__(self, config: Config) -> None:
        section = config.alerting
        self._worth = Worth(section.min_severity, section.event_anomalies, section.costly_event_usd)
        self._rules = rules_of(section, [(RECEIVER, "info")])
        self._known: dict[Subject, Episode] = {}
        self._open = 0
        self.notifications: set[str] = set()
        self.alerts: dict[str, tuple[int, int]] = {}

    def see(self, processed: Any) -> None:
        """A processed delivery."""
        worthy = alert_worthy(processed.batch, processed.anomalies, processed.tick_anomalies, self._worth)
        done = step(self._rules, self._known, self._open, sightings(worthy))
        self._open = done.open_count
        for episode in done.episodes:
            self.alerts[episode.alert_id] = (episode.count, episode.severity)
            if episode.current:
                self._known[episode.subject] = episode
        self.notifications |= {told.alert.notification_id for told in done.told}


def _read(messages: Sequence[Message], shard: Shard, rules: Rules, teller: _Teller, outcome: Outcome) -> None:
    delivery = Delivery(
        source=shard.source,
        records=[message.value for message in messages],
        offsets=np.array([message.offset for message in messages], np.int64),
        timestamps_ns=np.array([message.timestamp_ms for message in messages], np.int64) * 1_000_000,
        received_ns=0,
        epoch=0,
        size_bytes=1,
    )
    processed = process(delivery, shard, rules)
    partition, batch = shard.source.partition, processed.batch
    for i, offset in enumerate(batch.offsets.tolist()):
        outcome.rows[partition, offset] = (batch.event_ids[i], batch.names[batch.series[i]].service, float(batch.metrics[i, 0]))
    outcome.letters |= {(partition, letter.offset): letter.code.value for letter in processed.dead_letters}
    outcome.anomalies |= dict.fromkeys(processed.anomalies.ids, 1)
    teller.see(processed)


def _difference(what: str, expected: Mapping[Any, Any], found: Mapping[Any, Any]) -> str:
    missing = sorted(expected.keys() - found.keys())
    surplus = sorted(found.keys() - expected.keys())
    other = [f"{key}: {expected[key]} -> {found[key]}" for key in expected.keys() & found.keys() if expected[key] != found[key]]
    if not (missing or surplus or other):
        return ""
    return f"{what}: {len(missing)} lost {missing[:3]}, {len(surplus)} too much {surplus[:3]}, {len(other)} other {other[:3]}"


def _state(partition: int, expected: Mapping[str, object], found: Mapping[str, object] | None) -> str:
    if found is None:
        return f"state of partition {partition}: there is no checkpoint at the end of the log"
    parts = [name for name, value in expected.items() if found.get(name) != value]
    return f"state of partition {partition}: other {', '.join(parts)}" if parts else ""
