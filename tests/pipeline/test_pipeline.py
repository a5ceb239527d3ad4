"""The loop between scripted sources and a real store: order, back-pressure, failures, epochs, drain."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from sentinel.config.schema import Baseline, Config, Dedupe, Detection, Embedded, Ingestion
from sentinel.config.schema import Pipeline as PipelineSection
from sentinel.core.alert import AlertWrite, Worth
from sentinel.core.batch import PartitionId
from sentinel.core.errors import DrainError, PermanentError, RetryableError, SentinelError
from sentinel.core.ports import AlertSink, Store, StoreWrite
from sentinel.core.query import AnomalyQuery, TelemetryQuery, TimeRange
from sentinel.core.refusal import Refusal, RefusedError
from sentinel.core.reject import DeadLetter
from sentinel.ingestion.sanitize import Sanitizer
from sentinel.observability.metrics import Metrics
from sentinel.pipeline.process import Rules
from sentinel.pipeline.restore import Checkpoints
from sentinel.pipeline.run import Pipeline
from sentinel.pipeline.sinks import Sinks
from sentinel.storage.checkpoints import DirectoryCheckpoints
from sentinel.storage.embedded import EmbeddedStore
from sentinel.testing.fakes import START_NS, FailingStore, ListSink, ManualClock, ScriptedSource, Step

LOG = PartitionId("test", "script", 0)
EVER = TimeRange(0, START_NS * 2)


def event(i: int, **more: object) -> bytes:
    """Event number i in the flat dialect."""
    fields = {"event_id": f"e{i}", "service_name": "chat", "model_name": "m", "latency_ms": 100 + i % 7, "prompt_tokens": 10}
    return json.dumps({**fields, **more}).encode()


class Bench:
    """A pipeline with everything real but source, dead letters and clock."""

    def __init__(
        self,
        path: Path,
        config: Config,
        failures: list[SentinelError] | None = None,
        wrap: Callable[[EmbeddedStore], Store] = lambda store: store,
        alerts: AlertSink | None = None,
    ) -> None:
        self.config = config
        self.clock = ManualClock()
        self.metrics = Metrics()
        self.store = EmbeddedStore(Embedded(), path / "sentinel.db")
        self.letters: ListSink[DeadLetter] = ListSink()
        self.checkpoints = DirectoryCheckpoints(path / "checkpoints")
        store: Store = FailingStore(self.store, failures) if failures else wrap(self.store)
        ingestion = config.ingestion
        sanitizer = Sanitizer(ingestion.parsing, ingestion.validation, config.privacy, ingestion.dead_letters, b"k" * 32)
        rules = Rules(ingestion.parsing, ingestion.validation, sanitizer)
        saved = self.checkpoints if config.detection.baseline.enable_persistence else None
        keeper = Checkpoints(saved, config.detection, ingestion.dedupe.window_events, self.metrics)
        self.pipeline = Pipeline(config, rules, Sinks(store, self.letters, alerts), keeper, self.metrics, self.clock, ThreadPoolExecutor(1))

    async def source(self, script: list[Any]) -> ScriptedSource:
        """A source with this script, opened."""
        source = ScriptedSource(script, self.pipeline, LOG)
        await source.open()
        return source

    async def run(self, script: list[Any]) -> ScriptedSource:
        """Walk a whole script."""
        source = await self.source(script)
        await self.pipeline.run([source])
        return source

    async def rows(self) -> list[dict[str, Any]]:
        """All stored events by offset."""
        page = await self.store.telemetry(TelemetryQuery(range=EVER, limit=100_000))
        return sorted(page.items, key=lambda row: row["offset"])


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """A bench with the default configuration and its store open."""
    made = Bench(tmp_path, Config())
    await made.store.open()
    yield made
    await made.store.close()


async def test_everything_is_stored_dead_lettered_or_counted(bench: Bench) -> None:
    """Good, bad, repeated and absent records: each has its place, the ledger balances, acks come in order."""
    script = [[event(0), b"{nope", event(1)], [event(1), None, event(2)], [event(3)]]
    source = await bench.run(script)
    assert [row["offset"] for row in await bench.rows()] == [0, 2, 5, 6]
    assert [letter.code for letter in bench.letters.written] == ["malformed_json", "tombstone"]
    assert source.positions == [3, 6, 7]
    account = bench.pipeline.ledger.accounts[LOG]
    assert (account.received, account.stored, account.dead_lettered, account.duplicate, account.in_flight) == (7, 4, 2, 1, 0)
    assert account.imbalance == 0


async def test_dead_letters_are_written_before_the_position_moves(tmp_path: Path) -> None:
    """A store that fails for good after the dead letters: nothing is acked, and the bad record is not lost."""
    bench = Bench(tmp_path, Config(), [PermanentError("no")])
    await bench.store.open()
    source = await bench.source([[b"bad"], Step.WAIT])
    with pytest.raises(PermanentError):
        await bench.pipeline.run([source])
    assert len(bench.letters.written) == 1
    assert source.acked == []
    assert await bench.store.position(LOG) is None
    await bench.store.close()


async def test_a_store_that_is_down_is_waited_for(tmp_path: Path) -> None:
    """Retryable failures: the same write again, with growing waits and the reason in the health; then everything is there once."""
    failures: list[SentinelError] = [RetryableError("disk full")] * 4
    bench = Bench(tmp_path, Config(), failures)
    await bench.store.open()
    seen: list[list[str]] = []
    sleep = bench.clock.sleep

    async def watch(seconds: float) -> None:
        seen.append(bench.pipeline.progress.reasons())
        await sleep(seconds)

    bench.clock.sleep = watch  # type: ignore[method-assign]
    await bench.run([[event(i) for i in range(5)]])
    assert seen == [["store: disk full"]] * 4
    assert bench.pipeline.progress.reasons() == []
    assert bench.clock.slept == pytest.approx([0.1, 0.2, 0.4, 0.8], rel=0.26)
    assert len(await bench.rows()) == 5
    await bench.store.close()


async def test_dead_letters_that_cannot_be_written_hold_the_rows(bench: Bench) -> None:
    """The dead-letter sink is down: rows wait behind it, nothing is acked before."""
    bench.letters.failures = [RetryableError("down", after_s=3.0)]
    source = await bench.run([[event(0), b"bad"]])
    assert bench.clock.slept == [3.0]
    assert (len(bench.letters.written), source.positions) == (1, [2])


async def test_a_full_queue_pauses_the_source(tmp_path: Path) -> None:
    """Past the byte limit the source is paused while the store is stuck, and resumed once half is written."""
    bench = Bench(tmp_path, Config(pipeline=PipelineSection(queue_max_bytes=65_536)))
    await bench.store.open()
    _, stuck = stick(bench)
    source = await bench.source([[event(i * 100 + j, request_id="r" * 90) for j in range(100)] for i in range(20)])
    running = asyncio.create_task(bench.pipeline.run([source]))
    await source.first_pause.wait()
    assert bench.metrics.backpressure_paused._value.get() == 1
    assert 65_536 < bench.pipeline.in_flight_bytes < 2 * 65_536
    stuck.set()
    await running
    assert bench.metrics.backpressure_paused._value.get() == 0
    assert len(await bench.rows()) == 2000
    assert bench.pipeline.in_flight_bytes == 0
    await bench.store.close()


async def test_work_of_a_lost_partition_is_dropped(tmp_path: Path) -> None:
    """Revoked and regained while work is in flight: the old work is neither stored nor acked, and leaves the ledger."""
    bench = Bench(tmp_path, Config(), [RetryableError("down", after_s=0.0)] * 3)
    await bench.store.open()
    source = await bench.source([[event(0)], [event(1)], Step.REVOKE, [event(2)]])
    await bench.pipeline.run([source])
    offsets = [row["offset"] for row in await bench.rows()]
    assert 2 in offsets
    assert source.positions[-1] == 3
    total = bench.pipeline.ledger.total()
    assert (total.imbalance, total.in_flight) == (0, 0)
    assert total.received == total.stored == len(offsets) == len(source.acked)
    await bench.store.close()


async def test_state_goes_on_after_a_restart(tmp_path: Path) -> None:
    """Stopped in the middle and started again: the same anomalies, ids included, as in one go."""
    values = [100 + (i * 37) % 11 for i in range(400)]
    values[150] = values[350] = 5000
    script = [[event(i, latency_ms=value) for i, value in list(enumerate(values))[a : a + 50]] for a in range(0, 400, 50)]
    config = Config(detection=Detection(baseline=Baseline(window_size=60)))
    ids: dict[str, list[str]] = {}
    for name, runs in {"whole": [script], "halves": [script[:5], script]}.items():
        for part in runs:
            bench = Bench(tmp_path / name, config)
            await bench.store.open()
            await bench.run(list(part))
            ids[name] = [a.id for a in await bench.store.anomalies(AnomalyQuery(range=EVER, limit=1000))]
            assert len(await bench.rows()) == sum(map(len, part))
            await bench.store.close()
    assert sorted(ids["whole"]) == sorted(ids["halves"])
    assert len(ids["whole"]) >= 2


@pytest.mark.parametrize("persist", [True, False])
async def test_a_crash_without_a_checkpoint_relearns_from_rows(tmp_path: Path, *, persist: bool) -> None:
    """No checkpoint on disk: windows come back from the rows; with enable_persistence false they start empty."""
    config = Config(detection=Detection(baseline=Baseline(enable_persistence=persist)))
    first = Bench(tmp_path, config)
    await first.store.open()
    await first.run([[event(i) for i in range(80)]])
    await first.store.close()
    for key in first.checkpoints.list(""):
        first.checkpoints.delete(key)
    second = Bench(tmp_path, config)
    await second.store.open()
    await second.source([[event(i) for i in range(80)]])
    shard = second.pipeline.shards[LOG]
    assert shard.next_offset == 80
    assert [view.samples for view in shard.baselines.views(range(1), lambda _k, m: m == "latency_ms")] == ([80] if persist else [])
    await second.store.close()


async def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path: Path) -> None:
    """The newest blob is damaged: the one before is used, the rest is learned again from rows, and it is counted."""
    config = Config(detection=Detection(baseline=Baseline(update_interval_secs=0.001)))
    first = Bench(tmp_path, config)
    await first.store.open()
    source = await first.source([[event(i) for i in range(50)], [event(i) for i in range(50, 80)]])
    first.clock.advance(1)
    await first.pipeline.run([source])
    await first.store.close()
    keys = first.checkpoints.list("")
    newest = keys[-1]
    blob = first.checkpoints.get(newest)
    assert blob is not None
    assert len(keys) == 2
    first.checkpoints.put(newest, blob[:-5] + b"XXXXX")
    second = Bench(tmp_path, config)
    await second.store.open()
    await second.source([])
    (view,) = second.pipeline.shards[LOG].baselines.views(range(1), lambda _k, m: m == "latency_ms")
    assert view.samples == 80
    assert second.metrics.checkpoint_errors.labels("load")._value.get() == 1
    await second.store.close()


async def test_repeats_are_recognised_after_a_restart_and_only_within_the_window(tmp_path: Path) -> None:
    """Event ids are part of the state; dedupe.window_events bounds them, 0 turns it off."""
    stored: dict[int, int] = {}
    for window in (100, 2, 0):
        config = Config(ingestion=Ingestion(dedupe=Dedupe(window_events=window)))
        for script in ([[event(i) for i in range(10)]], [[event(i) for i in range(10)], [event(i) for i in range(10)]]):
            bench = Bench(tmp_path / str(window), config)
            await bench.store.open()
            await bench.run(list(script))
            stored[window] = len(await bench.rows())
            await bench.store.close()
    assert stored == {100: 10, 2: 20, 0: 20}


async def test_stop_drains_what_was_read(bench: Bench) -> None:
    """Told to stop: what was read is stored and acked, the state saved, and nothing new is read."""
    source = await bench.source([[event(0), event(1)], Step.WAIT, [event(2)]])
    running = asyncio.create_task(bench.pipeline.run([source]))
    await source.first_ack.wait()
    bench.pipeline.stop()
    await running
    assert [row["offset"] for row in await bench.rows()] == [0, 1]
    assert bench.checkpoints.list("") != []


def stick(bench: Bench) -> tuple[asyncio.Event, asyncio.Event]:
    """Make the store's writes wait: the first event is set when one has begun, the second lets them through."""
    write, begun, through = bench.store.write, asyncio.Event(), asyncio.Event()

    async def wait_and_write(items: Sequence[StoreWrite]) -> None:
        begun.set()
        await through.wait()
        await write(items)

    bench.store.write = wait_and_write  # type: ignore[method-assign]
    return begun, through


async def test_a_drain_that_cannot_end_gives_up_in_time(tmp_path: Path) -> None:
    """Told to stop while the store is stuck: the drain ends at its deadline and says what is left; nothing is acked, nothing lost."""
    bench = Bench(tmp_path, Config(pipeline=PipelineSection(drain_timeout_secs=0.05)))
    await bench.store.open()
    begun, _ = stick(bench)
    source = await bench.source([[event(0)], Step.WAIT])
    running = asyncio.create_task(bench.pipeline.run([source]))
    await begun.wait()
    bench.pipeline.stop()
    with pytest.raises(DrainError, match="1 events were not stored"):
        await running
    assert source.acked == []
    assert await bench.store.position(LOG) is None
    assert bench.checkpoints.list("") == []
    await bench.store.close()


async def test_inputs_that_end_by_themselves_have_all_the_time_they_need(tmp_path: Path) -> None:
    """The limit of the drain is for a stop: a slow store at the natural end of the inputs loses nothing."""
    bench = Bench(tmp_path, Config(pipeline=PipelineSection(drain_timeout_secs=0.001)), [RetryableError("down")] * 30)
    await bench.store.open()
    source = await bench.run([[event(0)]])
    assert source.positions == [1]
    assert len(await bench.rows()) == 1
    await bench.store.close()


async def test_a_store_that_fails_for_good_during_the_drain_is_told(tmp_path: Path) -> None:
    """The inputs have ended and the last write fails for good: its error comes out, not a clean end."""
    bench = Bench(tmp_path, Config(), [RetryableError("down"), PermanentError("broken")])
    await bench.store.open()
    source = await bench.source([[event(0)]])
    with pytest.raises(PermanentError, match="broken"):
        await bench.pipeline.run([source])
    assert source.acked == []
    await bench.store.close()


async def test_a_state_that_a_failure_has_touched_is_not_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The middle fails after it has remembered ids: no checkpoint keeps them, and the next start stores these events."""
    bench = Bench(tmp_path, Config())
    await bench.store.open()

    def broken(*_args: object) -> None:
        raise KeyError("a value of an event")

    with monkeypatch.context() as patch:
        patch.setattr("sentinel.pipeline.process.judge", broken)
        with pytest.raises(PermanentError, match="KeyError") as failure:
            await bench.run([[event(0)]])
    assert "a value of an event" not in str(failure.value)
    assert bench.checkpoints.list("") == []
    await bench.store.close()
    again = Bench(tmp_path, Config())
    await again.store.open()
    await again.run([[event(0)]])
    assert len(await again.rows()) == 1
    await again.store.close()


async def test_dead_letters_are_written_in_bounded_parts(bench: Bench) -> None:
    """A flood of bad records: no write holds more than a part of it, so that a repeat is bounded too."""
    await bench.run([[b"bad"] * 2_500])
    assert (len(bench.letters.written), bench.letters.writes) == (2_500, 3)


async def test_one_failing_source_ends_the_run_with_its_reason(bench: Bench) -> None:
    """A source that fails for good: the others are drained, and its error comes out."""
    source = await bench.source([[event(0)], PermanentError("source broke")])
    with pytest.raises(PermanentError, match="source broke"):
        await bench.pipeline.run([source])
    assert len(await bench.rows()) == 1


async def test_a_stall_is_told(bench: Bench) -> None:
    """Work in hand that does not move for stall_secs: not healthy, and a restart would help."""
    bench.pipeline.progress.started()
    bench.clock.advance(29)
    assert bench.pipeline.progress.stalled() == []
    bench.clock.advance(2)
    assert bench.pipeline.progress.stalled() == ["no progress for 31 s with 1 deliveries in hand"]
    bench.pipeline.progress.held("store", "down")
    assert bench.pipeline.progress.stalled() == []
    assert bench.pipeline.progress.reasons() == ["store: down"]


class RefusingStore:
    """A store that never takes the events at some offsets, as InfluxDB does; the rest of a write is stored by the real one."""

    def __init__(self, store: EmbeddedStore, offsets: set[int]) -> None:
        self.store = store
        self.offsets = offsets
        self.position = store.position
        self.replay = store.replay
        self.open = store.open
        self.close = store.close

    async def write(self, items: Sequence[StoreWrite]) -> None:
        """Refuse, as long as a refused event is among the rows."""
        refusals = [
            Refusal(item.source, offset, 0, "a field has another type", "point", 5)
            for item in items
            for offset in item.batch.offsets.tolist()
            if offset in self.offsets
        ]
        if refusals:
            raise RefusedError(refusals)
        await self.store.write(items)


async def test_an_event_the_store_refuses_is_a_dead_letter_and_nothing_else_is(tmp_path: Path) -> None:
    """The refused event costs itself alone: the rest is stored, the position moves, and the accounts balance."""
    bench = Bench(tmp_path, Config(), wrap=lambda store: RefusingStore(store, {3, 7}))
    await bench.store.open()
    source = await bench.run([[event(i) for i in range(6)], [event(i) for i in range(6, 10)]])
    assert [row["offset"] for row in await bench.rows()] == [0, 1, 2, 4, 5, 6, 8, 9]
    letters = [(letter.offset, letter.code.value, letter.record) for letter in bench.letters.written]
    assert sorted(letters) == [(3, "refused_by_store", "point"), (7, "refused_by_store", "point")]
    account = bench.pipeline.ledger.accounts[LOG]
    assert (account.stored, account.dead_lettered, account.imbalance) == (8, 2, 0)
    assert source.positions == [6, 10]
    assert await bench.store.position(LOG) == 10
    await bench.store.close()


class NotedAlerts(ListSink[AlertWrite]):
    """An `AlertSink` that notes what it is told; with a failure after it, as a crash between alerts and rows looks to it."""

    def __init__(self) -> None:
        super().__init__()
        self.rewound: list[tuple[PartitionId, int]] = []
        self.worth = Worth("info", events=True, costly_usd=None)

    async def rewind(self, source: PartitionId, offset: int) -> None:
        """Note it."""
        self.rewound.append((source, offset))


@pytest.mark.parametrize(
    ("stored", "committed", "rereadable", "rewound"),
    [
        (3, None, True, None),  # a file: the same lines come again at the same offsets
        (3, None, False, 3),  # the HTTP queue: others come at the offsets that were not stored
        (0, None, False, 0),
        (0, None, True, 0),  # nobody knows the log
        (0, 7, True, None),  # the group has read it before: a replica with a store of its own takes over
    ],
)
async def test_progress_of_alerts_goes_back_only_where_other_records_come(
    tmp_path: Path, stored: int, committed: int | None, rereadable: bool, rewound: int | None
) -> None:
    """What alerts remember of offsets that were never stored is undone where other events will have these offsets, and only there."""
    alerts = NotedAlerts()
    bench = Bench(tmp_path, Config(), alerts=alerts)
    await bench.store.open()
    if stored:
        await bench.run([[event(i) for i in range(stored)]])
        alerts.rewound.clear()
    await bench.pipeline.assigned(LOG, committed, 2, rereadable=rereadable)
    assert alerts.rewound == ([] if rewound is None else [(LOG, rewound)])
    await bench.store.close()


async def test_two_tenants_may_use_the_same_event_ids(bench: Bench) -> None:
    """An id is one of its tenant's: another tenant's event with the same id is no repeat."""
    await bench.run([[event(1, tenant="a"), event(1, tenant="b")], [event(1, tenant="a"), event(1)]])
    assert [row["tenant"] for row in await bench.rows()] == ["a", "b", "default"]
    assert bench.pipeline.ledger.accounts[LOG].duplicate == 1
