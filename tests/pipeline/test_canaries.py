"""Canaries in the middle and in the loop: known by their id alone, out of everything people see, and holding nothing up."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sentinel.config.schema import Config, Embedded
from sentinel.core.batch import PartitionId
from sentinel.core.canary import CANARY, Canary, canary_alert, canary_id, canary_key, canary_record, is_canary
from sentinel.core.delivery import Delivery
from sentinel.core.query import AnomalyQuery, TelemetryQuery, TimeRange
from sentinel.core.reject import DeadLetter
from sentinel.ingestion.sanitize import Sanitizer
from sentinel.observability.metrics import Metrics
from sentinel.pipeline.process import Rules, clean_together, process
from sentinel.pipeline.restore import Checkpoints
from sentinel.pipeline.run import Pipeline
from sentinel.pipeline.shard import Shard
from sentinel.pipeline.sinks import Sinks
from sentinel.storage.embedded import EmbeddedStore
from sentinel.testing.fakes import START_NS, ListSink, ManualClock, ScriptedSource

LOG, OTHER = PartitionId("test", "script", 0), PartitionId("test", "script", 1)
KEY = canary_key(b"k" * 32)


def rules(key: bytes | None = KEY) -> Rules:
    """The default rules, of an installation with this key."""
    config = Config()
    ingestion = config.ingestion
    sanitizer = Sanitizer(ingestion.parsing, ingestion.validation, config.privacy, ingestion.dead_letters, b"k" * 32)
    return Rules(ingestion.parsing, ingestion.validation, sanitizer, key)


def event(i: int, **more: object) -> bytes:
    """Event number i."""
    return json.dumps({"event_id": f"e{i}", "service_name": "chat", "model_name": "m", "latency_ms": 100 + i % 7, **more}).encode()


def canary(nonce: str = "one", log: PartitionId = LOG, key: bytes = KEY) -> bytes:
    """The record of a canary."""
    return canary_record(canary_id(key, log, nonce), START_NS, 1.0)


def forged(event_id: object) -> bytes:
    """An event under the reserved name."""
    return event(0, service_name=CANARY.service, model_name=CANARY.model, event_id=event_id)


def delivery(*records: bytes, log: PartitionId = LOG) -> Delivery:
    """Records of one log from offset 0 on."""
    n = len(records)
    return Delivery(log, list(records), np.arange(n), np.full(n, START_NS), START_NS, 1, sum(map(len, records)))


def shard() -> Shard:
    """An empty state."""
    return Shard(LOG, 1, Config().detection, 100)


def test_a_canary_is_taken_out_and_all_others_are_as_without_it() -> None:
    """The state of the partition, to the byte, is that of the log without the canary; it counts as filtered."""
    with_canary, without = shard(), shard()
    seen = process(delivery(event(0), canary(), event(1), canary("two")), with_canary, rules())
    process(replace(delivery(event(0), event(1)), offsets=np.array([0, 2])), without, rules())
    assert (seen.received, len(seen.batch), seen.filtered, seen.duplicates) == (4, 2, 2, 0)
    assert [(one.source, one.offset, one.event_id) for one in seen.canaries] == [
        (LOG, 1, canary_id(KEY, LOG, "one")),
        (LOG, 3, canary_id(KEY, LOG, "two")),
    ]
    assert CANARY not in seen.batch.names
    with_canary.next_offset = without.next_offset
    assert with_canary.copied().blob() == without.copied().blob()


@pytest.mark.parametrize(
    "record",
    [
        forged("e1"),
        forged(canary_id(canary_key(b"x" * 32), LOG, "one")),
        forged(canary_id(KEY, OTHER, "one")),
        forged(canary_id(KEY, LOG, "one").upper()),
        forged(canary_id(KEY, LOG, "one") + "a"),
        forged("canary--"),
        forged("canary-\u00e9-\u00e9"),
        forged(None),
        forged(7),
    ],
)
def test_the_reserved_name_alone_makes_no_canary(record: bytes) -> None:
    """An event under that name, with an id of another key, of another partition or of none, is stored and judged like any other."""
    seen = process(delivery(record), shard(), rules())
    assert (seen.received, len(seen.batch), seen.filtered, list(seen.canaries)) == (1, 1, 0, [])
    assert seen.batch.names == (CANARY,)


def test_another_service_with_the_id_of_a_canary_is_an_event() -> None:
    """Whoever copies an id cannot make events vanish with it."""
    seen = process(delivery(event(0, event_id=canary_id(KEY, LOG, "one"))), shard(), rules())
    assert (len(seen.batch), list(seen.canaries)) == (1, [])


def test_without_a_key_there_are_no_canaries() -> None:
    """Whoever reads the log offline sees all of it."""
    seen = process(delivery(canary()), shard(), rules(None))
    assert (len(seen.batch), list(seen.canaries)) == (1, [])


def test_partitions_that_are_cleaned_together_keep_their_own() -> None:
    """Each canary counts where it stood, and only there."""
    both = [delivery(event(0), canary()), delivery(canary("two", OTHER), canary(), event(1), log=OTHER)]
    first, second = clean_together(both, rules())
    assert (first.received, len(first.batch), first.filtered) == (2, 1, 1)
    assert (second.received, len(second.batch), second.filtered) == (3, 2, 1)
    assert [(one.source, one.offset) for one in (*first.canaries, *second.canaries)] == [(LOG, 1), (OTHER, 0)]


def test_a_canary_becomes_the_same_alert_on_every_replay() -> None:
    """Its ids follow from where it stood and what it is called, not from when it was read."""
    (one,) = process(delivery(canary()), shard(), rules()).canaries
    (again,) = process(delivery(canary()), shard(), rules()).canaries
    assert canary_alert(one, "r") == canary_alert(again, "r")
    assert canary_alert(one, "r").notification_id != canary_alert(one._replace(event_id="x"), "r").notification_id
    assert canary_alert(one, "r").anomalies[0].event_id == one.event_id


def test_only_one_form_of_an_id_is_known() -> None:
    """What is compared is the whole id."""
    own = canary_id(KEY, LOG, "one")
    assert is_canary(KEY, LOG, own)
    assert not any(is_canary(KEY, LOG, other) for other in (None, "", "canary-one", own[:-1], f" {own}"))


class Waiting:
    """Somebody who waits for canaries: which came, and where the store stood then."""

    def __init__(self, store: EmbeddedStore) -> None:
        self.store = store
        self.came: list[Canary] = []

    def stored(self, canaries: Sequence[Canary]) -> None:
        """Note them."""
        self.came += canaries


async def test_the_loop_tells_of_canaries_that_are_stored(tmp_path: Path) -> None:
    """A canary counts as filtered, the position moves past it, nobody sees it, and the mark of time does not know it."""
    config, metrics, clock, letters = Config(), Metrics(), ManualClock(), ListSink[DeadLetter]()
    store = EmbeddedStore(Embedded(), tmp_path / "sentinel.db")
    await store.open()
    waiting = Waiting(store)
    keeper = Checkpoints(None, config.detection, 100, metrics)
    sinks = Sinks(store, letters, canaries=waiting)
    pipeline = Pipeline(config, rules(), sinks, keeper, metrics, clock, ThreadPoolExecutor(1))
    source = ScriptedSource([[event(0)], [canary()], [event(1), canary("two")]], pipeline, LOG)
    await source.open()
    await pipeline.run([source])
    assert [one.offset for one in waiting.came] == [1, 3]
    account = pipeline.ledger.accounts[LOG]
    assert (account.received, account.stored, account.filtered, account.in_flight, account.imbalance) == (4, 2, 2, 0, 0)
    assert await store.position(LOG) == 4
    assert letters.written == []
    ever = TimeRange(0, 2 * START_NS)
    page = await store.telemetry(TelemetryQuery(range=ever))
    assert {row["service_name"] for row in page.items} == {"chat"}
    assert await store.anomalies(AnomalyQuery(range=ever)) == []
    await store.close()
