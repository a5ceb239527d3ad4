"""Where the past is read from: files, the embedded store, a Kafka topic; and what is counted instead of judged."""

import asyncio
import gzip
import os
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from past_inputs import HOUR_NS, KEY, MINUTE_NS, NOW_NS, START_NS, ListInput, file_past, ignore, past_of, record, write

from sentinel.app.backtest.inputs import BacktestError, FileInput, Part, Span
from sentinel.app.backtest.reading import Trial, go_over
from sentinel.app.backtest.replay import Found, Replay, standing_still
from sentinel.app.backtest.sieve import Account, Sieve
from sentinel.app.backtest.stored import StoreInput
from sentinel.app.backtest.topic import TopicInput
from sentinel.config.schema import Config, Embedded, Ingestion, Kafka, Parsing, Privacy
from sentinel.core.batch import CleanBatch, PartitionId
from sentinel.core.delivery import Delivery
from sentinel.core.ports import StoreWrite
from sentinel.pipeline.process import Cleaned
from sentinel.storage.embedded import EmbeddedStore
from sentinel.testing import store_events
from tools.servers.kafka import Broker


class Kept:
    """A watcher that keeps the events and the marks it is shown."""

    def __init__(self) -> None:
        self.ids: list[str | None] = []
        self.times: list[int] = []
        self.watermarks: list[int] = []

    def see(self, found: Found) -> None:
        """Keep."""
        self.ids += found.batch.event_ids
        self.times += found.batch.ts_ns.tolist()
        self.watermarks.append(found.watermark_ns)


def lines(source: FileInput) -> list[bytes]:
    """All lines an input gives."""
    return [line for part in source.parts() if isinstance(part.events, Delivery) for line in part.events.records if line is not None]


def judged(path: Path, span: Span | None = None) -> tuple[Account, Kept]:
    """A file gone over with the defaults."""
    kept = Kept()
    (account,) = go_over(file_past(path, span), [Trial(Config(), [kept])], ignore)
    return account, kept


# ------------------------------------------------------------------------------------------------------------------------ files


def test_plain_and_gzip_give_the_same_lines(tmp_path: Path) -> None:
    """Whatever the file is called: its first bytes decide. Offsets are line numbers, and the share that is read ends at one."""
    records = [record(i) for i in range(12_000)]
    plain = write(tmp_path / "events.jsonl", records)
    packed = tmp_path / "events"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    for path in (plain, packed):
        source = FileInput([path], 1_000_000, NOW_NS)
        parts = list(source.parts())
        assert lines(source) == records
        offsets = np.concatenate([part.events.offsets for part in parts])
        assert np.array_equal(offsets, np.arange(12_000))
        shares = [part.read for part in parts]
        assert shares == sorted(shares)
        assert shares[-1] == 1.0
        assert max(len(part.events.offsets) for part in parts) <= 5_000


def test_several_files_are_logs_of_their_own(tmp_path: Path) -> None:
    """One after the other, with shares of all their bytes together."""
    paths = [write(tmp_path / name, [record(i) for i in range(10)]) for name in ("a", "b")]
    parts = list(FileInput(paths, 1_000_000, NOW_NS).parts())
    assert [part.events.source.topic for part in parts] == [f"file:{path.resolve()}" for path in paths]
    assert [part.read for part in parts] == [0.5, 1.0]


def test_a_pipe_can_be_read(tmp_path: Path) -> None:
    """What another program writes, for whoever does not want a file of it."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    records = [record(i) for i in range(100)]

    writer = threading.Thread(target=write, args=(pipe, records))
    writer.start()
    source = FileInput([pipe], 1_000_000, NOW_NS)
    assert lines(source) == records
    assert not source.rereadable
    writer.join()


def test_what_cannot_be_read_is_named_with_a_cure(tmp_path: Path) -> None:
    """A missing file, a directory, a damaged and a truncated archive."""
    with pytest.raises(BacktestError, match=r"cannot read .*nowhere\.jsonl: no such file or directory\. Give --input a file"):
        FileInput([tmp_path / "nowhere.jsonl"], 1_000, NOW_NS)
    with pytest.raises(BacktestError, match="it is a directory"):
        FileInput([tmp_path], 1_000, NOW_NS)
    packed = gzip.compress(b"\n".join(record(i) for i in range(20_000)))
    (tmp_path / "cut.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(BacktestError, match=r"cut\.gz ends in the middle, after line [1-9][0-9,]*: get a whole copy"):
        list(FileInput([tmp_path / "cut.gz"], 1_000, NOW_NS).parts())
    broken = bytearray(packed)
    broken[len(broken) // 2] ^= 0xFF
    (tmp_path / "broken.gz").write_bytes(broken)
    with pytest.raises(BacktestError, match=r"cannot read .*broken\.gz behind line"):
        list(FileInput([tmp_path / "broken.gz"], 1_000, NOW_NS).parts())


def test_bad_lines_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    """They are no reason to stop; their text is not quoted."""
    path = write(tmp_path / "events", [record(0), b'{"secret": "sk-12', record(1), b"[1]", b'{"service_name": "chat"}', record(2)])
    account, kept = judged(path)
    assert kept.ids == ["e0", "e1", "e2"]
    assert account.events == 3
    assert account.rejected == {"malformed_json": 1, "not_an_object": 1, "missing_field": 1}
    assert account.first_reject is not None
    assert account.first_reject.startswith("line 2: malformed_json: ")
    assert "sk-12" not in account.first_reject


def test_events_without_a_time_are_left_out(tmp_path: Path) -> None:
    """In a file nobody knows when they were: they would stand at the time of reading, and make all others late."""
    untimed = [record(i, timestamp=None) for i in range(3, 6)]
    account, kept = judged(write(tmp_path / "events", [record(0), *untimed, record(1)]))
    assert kept.ids == ["e0", "e1"]
    assert (account.events, account.timeless) == (2, 3)
    with pytest.raises(BacktestError, match=r"no event of .* has a timestamp"):
        judged(write(tmp_path / "events", untimed))


def test_the_asked_time_counts(tmp_path: Path) -> None:
    """From its start on and before its end; the others are counted. An empty choice says between which times the events lie."""
    path = write(tmp_path / "events", [record(i) for i in range(10)])
    account, kept = judged(path, Span(START_NS + 3_000_000_000, START_NS + 6_000_000_000))
    assert kept.ids == ["e3", "e4", "e5"]
    assert (account.events, account.outside, account.length_ns) == (3, 7, 2_000_000_000)
    with pytest.raises(BacktestError, match=r"they lie between 2026-01-15T00:00:00.000Z and 2026-01-15T00:00:09.000Z"):
        judged(path, Span(START_NS + HOUR_NS, None))


def test_nothing_to_judge_says_why(tmp_path: Path) -> None:
    """An empty file, and one of something else."""
    with pytest.raises(BacktestError, match="holds no events within the beginning to the end"):
        judged(write(tmp_path / "events", []))
    with pytest.raises(BacktestError, match=r"no record of .* can be an event: line 1: .* See docs/events\.md"):
        judged(write(tmp_path / "events", [b"a,b,c", b"1,2,3"]))


def test_configurations_that_clean_alike_share_the_work(tmp_path: Path) -> None:
    """Others have an account of their own."""
    one, same = Config(), Config(state_dir="elsewhere")
    other = Config(ingestion=Ingestion(parsing=Parsing(max_record_bytes=2_048)))
    assert Sieve(one, Span(), KEY).fits(same)
    assert not Sieve(one, Span(), KEY).fits(other)
    assert not Sieve(one, Span(), KEY).fits(Config(privacy=Privacy(capture="redacted")))
    path = write(tmp_path / "events", [record(0), record(1, metadata={"k": "x" * 4_000})])
    accounts = go_over(file_past(path), [Trial(config, []) for config in (one, same, other)], ignore)
    assert accounts[0] is accounts[1]
    assert [account.events for account in accounts] == [2, 2, 1]
    assert accounts[2].rejected == {"too_large": 1}


# ------------------------------------------------------------------------------------------------------------------- time marks


def test_time_marks_are_given_where_time_stands_still() -> None:
    """Before the event that ends a gap of more than a minute, and never later than what follows; shorter gaps need none."""
    seconds = np.array([0, 10, 30, 300, 290, 301, 360], np.int64) * 1_000_000_000 + START_NS
    batch = replace(store_events.events(7), ts_ns=seconds)
    replay = Replay(Config())
    marked = [(len(found.batch), found.watermark_ns - START_NS) for found in replay.see(Cleaned(7, batch, [], 0), 7)]
    late = Config().detection.ticks.lateness_secs
    assert marked == [(3, 30_000_000_000), (0, (290 - late) * 1_000_000_000), (4, 360_000_000_000)]


def test_a_broken_clock_makes_no_mark() -> None:
    """One event from tomorrow is no gap: the others would all be late. At the end of a batch nobody can tell, so none is made either."""
    minute = MINUTE_NS
    ahead = np.array([0, 1, 1_500, 2, 3], np.int64) * minute + START_NS
    assert standing_still(ahead, START_NS - minute // 2).tolist() == []
    assert standing_still(np.array([1_500]) * minute + START_NS, START_NS).tolist() == []
    assert standing_still(np.array([30]) * minute + START_NS, START_NS).tolist() == [0]
    assert standing_still(np.array([1_500, 1_501]) * minute + START_NS, START_NS).tolist() == [0]
    assert standing_still(np.array([5, 6]) * minute + START_NS, 0).tolist() == []


def test_logs_that_would_have_gone_on_are_marked_at_the_end() -> None:
    """A partition whose series have fallen silent is not forgotten; a file may just have been cut off there."""
    topic = replace(store_events.events(10), source=PartitionId("c", "t", 0))
    file = replace(store_events.events(10), source=PartitionId("c", "file:/x", 0))
    kept = Kept()
    past = replace(past_of(ListInput(Part(topic, 0.5), Part(file, 1.0))), end_ns=store_events.START_NS + HOUR_NS)
    go_over(past, [Trial(Config(), [kept])], ignore)
    late = Config().detection.ticks.lateness_secs * 1_000_000_000
    assert kept.watermarks[2:] == [store_events.START_NS + HOUR_NS - late]


def test_looking_more_often_shows_the_same_events() -> None:
    """With a limit on the time that is shown at once, what is shown is cut there and nowhere else."""
    batch = store_events.events(100)
    replay = Replay(Config(), every_ns=10_000_000_000)
    shown = [found.batch for found in replay.see(Cleaned(100, batch, [], 0), 100)]
    assert [i for part in shown for i in part.event_ids] == batch.event_ids
    assert all(len({ts // 10_000_000_000 for ts in part.ts_ns.tolist()}) == 1 for part in shown)
    assert len(shown) == 10


# ------------------------------------------------------------------------------------------------------------------------ store


def stored(path: Path, *batches: CleanBatch) -> Path:
    """A store with these batches."""

    async def fill() -> None:
        store = EmbeddedStore(Embedded(), path)
        await store.open()
        await store.write([StoreWrite(batch, store_events.anomalies(batch), batch.source, int(batch.offsets[-1]) + 1) for batch in batches])
        await store.close()

    asyncio.run(fill())
    return path


def test_the_store_gives_its_rows_log_by_log_in_order_of_time(tmp_path: Path) -> None:
    """Everything scores need is as it was; the shares add up."""
    chat = store_events.events(7_000, names=(store_events.CHAT, store_events.SEARCH))
    early = store_events.events(10, source=PartitionId("kafka", "llm.telemetry", 1), start_ns=store_events.START_NS - HOUR_NS)
    parts = list(StoreInput(stored(tmp_path / "s.db", chat, early)).parts())
    batches = [part.events for part in parts if isinstance(part.events, CleanBatch)]
    assert [batch.source.partition for batch in batches] == [1, 0, 0]
    together = np.concatenate([batch.metrics for batch in batches[1:]])
    assert np.array_equal(together, chat.metrics, equal_nan=True)
    assert [i for batch in batches[1:] for i in batch.event_ids] == chat.event_ids
    names = [batch.names[code] for batch in batches[1:] for code in batch.series.tolist()]
    assert names == [chat.names[code] for code in chat.series.tolist()]
    assert [round(part.read, 3) for part in parts][-1] == 1.0


def test_the_store_is_read_while_the_daemon_writes_it_and_is_not_changed(tmp_path: Path) -> None:
    """The daemon's lock is not asked for."""

    async def both() -> int:
        store = EmbeddedStore(Embedded(), tmp_path / "s.db")
        await store.open()
        batch = store_events.events(10)
        await store.write([StoreWrite(batch, store_events.anomalies(batch), batch.source, 10)])
        read = await asyncio.to_thread(lambda: [len(part.events.offsets) for part in StoreInput(tmp_path / "s.db").parts()])
        await store.close()
        return sum(read)

    assert asyncio.run(both()) == 10


def test_a_store_that_is_not_there_or_is_none(tmp_path: Path) -> None:
    """Each says what to do."""
    with pytest.raises(BacktestError, match=r"there is no store .*s\.db: the daemon makes it"):
        StoreInput(tmp_path / "s.db")
    (tmp_path / "s.db").write_bytes(b"no database at all, but long enough to be looked at" * 100)
    with pytest.raises(BacktestError, match=r"cannot read the store .*s\.db"):
        list(StoreInput(tmp_path / "s.db").parts())


# ------------------------------------------------------------------------------------------------------------------------ Kafka


@pytest.mark.kafka
async def test_a_range_of_a_topic_is_read_without_a_group(kafka: Broker, topic: Callable[..., Awaitable[str]]) -> None:
    """Every record of the asked log time, partitions side by side in order of time, and no group is left behind."""
    name = await topic(3)
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap)
    await producer.start()
    for i in range(900):
        await producer.send(name, record(i), partition=i % 3, timestamp_ms=START_NS // 1_000_000 + i * 1_000)
    await producer.stop()
    config = Kafka(brokers=[kafka.bootstrap], topic=name, max_poll_records=50)

    def gone_over(span: Span) -> tuple[Account, Kept]:
        kept = Kept()
        (account,) = go_over(past_of(TopicInput(config, span, NOW_NS)), [Trial(Config(), [kept])], ignore)
        return account, kept

    account, kept = await asyncio.to_thread(gone_over, Span())
    assert account.events == 900
    assert sorted(kept.times) == [START_NS + i * 1_000_000_000 for i in range(900)]
    assert max(first - second for first, second in zip(kept.times, kept.times[1:], strict=False)) < 400 * 1_000_000_000
    _, kept = await asyncio.to_thread(gone_over, Span(START_NS + 100_500_000_000, START_NS + 200 * 1_000_000_000))
    assert sorted(kept.ids) == sorted(f"e{i}" for i in range(101, 200))
    with pytest.raises(BacktestError, match=f"the Kafka topic {name} holds no events"):
        await asyncio.to_thread(gone_over, Span(START_NS + HOUR_NS))
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    assert await admin.list_consumer_group_offsets(config.group_id) == {}
    await admin.close()
