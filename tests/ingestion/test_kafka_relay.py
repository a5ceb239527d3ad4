"""A daemon with Kafka: events over HTTP go through the topic, records that are none go to the dead letters, and all are accounted for."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiokafka.admin import NewTopic
from kafka_bench import QuickClock, admin, dump, produce, section, until, until_committed

from sentinel.app.daemon import Daemon
from sentinel.config.schema import Api, Config, Embedded, Ingestion, Kafka
from sentinel.core.batch import CleanBatch
from sentinel.core.delivery import Delivery
from sentinel.core.errors import FullError
from sentinel.core.query import TelemetryQuery, TimeRange
from sentinel.core.reject import DeadLetter
from sentinel.ingestion import kafka_producer
from sentinel.ingestion.relay import KafkaRelay
from sentinel.storage.embedded import EmbeddedStore
from sentinel.testing.fakes import ListSink
from tools.servers.kafka import Broker

Topic = Callable[..., Awaitable[str]]
EVER = TimeRange(0, 2**62)
SECRETS = ("alice-user", "bob@example.com", "carol@example.com", "sk-proj-Abc123Def456Ghi789Jkl012Mno345Pqr678", "4111 1111 1111 1111")


def event(number: int, **more: object) -> dict[str, Any]:
    """An event of its own id in the flat dialect."""
    return {"event_id": f"e{number}", "service_name": "chat", "model_name": "m", "latency_ms": 100 + number % 7, "prompt_tokens": 10} | more


def records(numbers: Sequence[int]) -> list[bytes]:
    """The events of these numbers as records."""
    return [json.dumps(event(number)).encode() for number in numbers]


class Running:
    """A daemon in this process, and its API."""

    def __init__(self, daemon: Daemon, session: aiohttp.ClientSession) -> None:
        self.daemon = daemon
        self._session = session

    async def post(self, events: object) -> tuple[int, dict[str, Any]]:
        """Hand in events: status and answer."""
        url = f"http://127.0.0.1:{self.daemon.server.port}/api/v1/events"
        async with self._session.post(url, data=json.dumps(events), headers={"Content-Type": "application/json"}) as answer:
            return answer.status, await answer.json(content_type=None)

    async def rows(self) -> list[dict[str, Any]]:
        """All stored events."""
        page = await self.daemon.store.telemetry(TelemetryQuery(range=EVER, limit=100_000))
        return page.items

    async def until_settled(self, received: int) -> None:
        """Wait until so many events were received and none is on its way."""
        ledger = self.daemon.pipeline.ledger
        await until(lambda: ledger.total().received >= received and ledger.total().in_flight == 0)


@asynccontextmanager
async def running(kafka: Kafka, state: Path) -> AsyncIterator[Running]:
    """A daemon that serves, drained and closed at the end."""
    config = Config(state_dir=str(state), ingestion=Ingestion(kafka=kafka), api=Api(bind_addr="127.0.0.1:0"))
    daemon = Daemon(config)
    await daemon.start()
    serving = asyncio.create_task(daemon.serve())
    try:
        async with aiohttp.ClientSession() as session:
            yield Running(daemon, session)
    finally:
        daemon.stop()
        try:
            await serving
        finally:
            await daemon.close()


async def test_events_over_http_lie_sanitized_in_the_topic(kafka: Broker, topic: Topic, tmp_path: Path) -> None:
    """202: the events are in the topic with ids, without personal data; what is no event is a dead letter without it; all is stored."""
    config = section(kafka, await topic())
    planted = {
        "user_id": "alice-user",
        "prompt_text": f"write to bob@example.com, card {SECRETS[4]}",
        "error": f"key {SECRETS[3]} refused",
        "metadata": {"email": "carol@example.com", "note": "from bob@example.com"},
    }
    broken = {"event_id": "bad", "service_name": "chat", "user_id": "alice-user", "prompt_text": "bob@example.com", "latency_ms": "x"}
    async with running(config, tmp_path) as sentinel:
        status, answer = await sentinel.post([event(1, **planted), broken, {**event(2), "event_id": None}])
        assert (status, answer["accepted"], answer["rejected"]) == (202, 2, 1)
        assert [(error["index"], error["code"]) for error in answer["errors"]] == [(1, "wrong_type")]
        lying, letters = await dump(kafka, config.topic, 4), await dump(kafka, config.dead_letter_topic)
        assert len(lying) == 2
        assert len(letters) == 1
        everything = b"\n".join(part or b"" for pair in (*lying, *letters) for part in pair)
        for secret in SECRETS:
            assert secret.encode() not in everything
        ids = {json.loads(value or b"")["event_id"] for _, value in lying}
        assert "e1" in ids
        assert len(ids) == 2
        assert {key for key, _ in lying} == {b"chat:m"}
        assert (await sentinel.post([broken]))[0] == 400
        await sentinel.until_settled(2)
        stored = await sentinel.rows()
        assert {row["event_id"] for row in stored} == ids
        assert [row["user_id"][:3] for row in stored if row["event_id"] == "e1"] == ["p1_"]
    keys = [key for key, _ in await dump(kafka, config.dead_letter_topic)]
    assert len(set(keys)) == 2, "two letters of two requests have two keys"


async def test_events_sent_twice_are_stored_once(kafka: Broker, topic: Topic, tmp_path: Path) -> None:
    """The same ids again, as after an answer that was lost: both are 202, the store has each once, and the repeats are counted."""
    config = section(kafka, await topic())
    async with running(config, tmp_path) as sentinel:
        events = [event(number) for number in range(50)]
        for _ in range(2):
            assert (await sentinel.post(events))[0] == 202
        await sentinel.until_settled(100)
        total = sentinel.daemon.pipeline.ledger.total()
        assert (total.stored, total.duplicate, total.imbalance) == (50, 50, 0)
        assert sorted(row["event_id"] for row in await sentinel.rows()) == sorted(f"e{number}" for number in range(50))


async def test_nothing_answered_202_is_lost_with_the_broker(own_kafka: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed while events come in: answers are 503, and not ready says why; back again, exactly what was 202 - or also more - is stored."""
    monkeypatch.setattr(kafka_producer, "CONFIRM_LIMIT_MS", 1_000)
    await own_kafka.create_topic("t", 2)
    accepted: set[str] = set()
    refused = 0
    async with running(section(own_kafka, "t"), tmp_path) as sentinel:

        async def send(number: int) -> int:
            nonlocal refused
            status, answer = await sentinel.post(event(number))
            if status == 202:
                accepted.add(f"e{number}")
            else:
                refused += 1
                assert status in {429, 503}
                assert "Kafka did not confirm" in answer["detail"]
            return status

        for number in range(20):
            assert await send(number) == 202
        killing = asyncio.create_task(asyncio.to_thread(own_kafka.kill))
        await asyncio.gather(*(send(number) for number in range(20, 60)))
        await killing
        assert await send(60) == 503
        await until(lambda: any("brokers" in reason for reason in sentinel.daemon.context.reasons()), limit_s=6)
        await asyncio.to_thread(own_kafka.start)
        await until(lambda: not sentinel.daemon.context.reasons())
        async with asyncio.timeout(30):
            while await send(100) != 202:
                pass

        stored: set[str] = set()
        async with asyncio.timeout(30):
            while not accepted <= stored:
                stored = {row["event_id"] for row in await sentinel.rows()}
        assert refused
        assert len(await sentinel.rows()) == len(stored)
        assert sentinel.daemon.pipeline.ledger.total().imbalance == 0


async def test_input_beyond_its_limit_is_refused(kafka: Broker, topic: Topic) -> None:
    """Bytes that await their confirm are bounded: the next request is told to wait, and its turn comes."""
    config = section(kafka, await topic())
    blocked = asyncio.Event()
    loop = asyncio.get_running_loop()

    def clean(delivery: Delivery) -> tuple[CleanBatch, list[DeadLetter], int]:
        asyncio.run_coroutine_threadsafe(blocked.wait(), loop).result()
        return CleanBatch.empty(delivery.source, delivery.received_ns), [], len(delivery.records)

    letters: ListSink[DeadLetter] = ListSink()
    relay = KafkaRelay(config, clean, letters, QuickClock(), max_bytes=100)
    with pytest.raises(FullError):
        await relay.submit([b"x"])
    await relay.open()
    try:
        first = asyncio.create_task(relay.submit([b"x" * 90]))
        await until(lambda: relay.queue_bytes == 90)
        with pytest.raises(FullError):
            await relay.submit([b"x" * 20])
        blocked.set()
        assert (await first).filtered == 1
        assert relay.queue_bytes == 0
        assert (await relay.submit([b"x" * 200])).filtered == 1
    finally:
        await relay.close()
        await relay.close()


async def test_an_event_too_large_for_the_topic_is_a_dead_letter(kafka: Broker, topic: Topic, tmp_path: Path) -> None:
    """Asking the client to send it again would never end: it is rejected by its index, its neighbours pass."""
    config = section(kafka, f"small-{await topic()}")
    async with admin(kafka) as client:
        await client.create_topics([NewTopic(config.topic, 1, 1, topic_configs={"max.message.bytes": "1000"})])
    async with running(config, tmp_path) as sentinel:
        large = event(1, metadata={f"key{i}": "word " * 20 for i in range(20)})
        status, answer = await sentinel.post([event(0), large, event(2)])
        assert (status, answer["accepted"], answer["errors"][0]["index"], answer["errors"][0]["code"]) == (202, 2, 1, "too_large")
        await sentinel.until_settled(2)
        assert {row["event_id"] for row in await sentinel.rows()} == {"e0", "e2"}
    ((_, letter),) = await dump(kafka, config.dead_letter_topic)
    assert json.loads(letter or b"")["code"] == "too_large"


POISON: tuple[bytes | None, ...] = (
    None,
    b"{nope",
    b'"text"',
    b"\xff\xfe\x00",
    b'{"service_name":"chat","model_name":"m","latency_ms":-5,"user_id":"alice-user"}',
    b"[" * 5_000,
    b"{}",
)


async def test_poison_neither_blocks_nor_vanishes(kafka: Broker, topic: Topic, tmp_path: Path) -> None:
    """5,000 records, one in a hundred unusable: each is stored or a dead letter with code and place, exactly, and all is committed."""
    config = section(kafka, await topic())
    values: list[bytes | None] = list(records(range(5_000)))
    bad = list(range(17, 5_000, 100))
    for at, number in enumerate(bad):
        values[number] = POISON[at % len(POISON)]
    await produce(kafka, config.topic, values, partition=None, linger_ms=5)
    async with running(config, tmp_path) as sentinel:
        await sentinel.until_settled(5_000)
        total = sentinel.daemon.pipeline.ledger.total()
        assert (total.received, total.stored, total.dead_lettered, total.imbalance) == (5_000, 4_950, 50, 0)
        assert {row["event_id"] for row in await sentinel.rows()} == {f"e{number}" for number in range(5_000)} - {f"e{n}" for n in bad}
        await until_committed(kafka, config, dict.fromkeys(range(4), 1_250))
    letters = [json.loads(value or b"") for _, value in await dump(kafka, config.dead_letter_topic)]
    assert {(letter["partition"], letter["offset"]) for letter in letters} == {(number % 4, number // 4) for number in bad}
    assert len(letters) == 50
    assert all(letter["code"] and letter["detail"] and letter["topic"] == config.topic for letter in letters)
    assert b"alice-user" not in json.dumps(letters).encode()


async def test_two_daemons_share_a_group(kafka: Broker, topic: Topic, tmp_path: Path) -> None:
    """Partitions move while records flow: together the stores hold every event, neither holds one twice, both ledgers balance."""
    config = section(kafka, await topic())
    async with running(config, tmp_path / "one") as one:
        await produce(kafka, config.topic, records(range(1_000)), partition=None)
        await one.until_settled(1)
        async with running(config, tmp_path / "two") as two:
            await produce(kafka, config.topic, records(range(1_000, 2_000)), partition=None)
            await until_committed(kafka, config, dict.fromkeys(range(4), 500))
            await produce(kafka, config.topic, records(range(2_000, 3_000)), partition=None)
            await two.until_settled(500)
        await produce(kafka, config.topic, records(range(3_000, 4_000)), partition=None)
        await until_committed(kafka, config, dict.fromkeys(range(4), 1_000))
        by_one = [row["event_id"] for row in await one.rows()]
        assert one.daemon.pipeline.ledger.total().imbalance == 0
        assert two.daemon.pipeline.ledger.total().imbalance == 0
    store = EmbeddedStore(Embedded(), tmp_path / "two" / "sentinel.db")
    await store.open()
    by_two = [row["event_id"] for row in (await store.telemetry(TelemetryQuery(range=EVER, limit=100_000))).items]
    await store.close()
    assert len(set(by_one)) == len(by_one)
    assert len(set(by_two)) == len(by_two)
    assert set(by_one) | set(by_two) == {f"e{number}" for number in range(4_000)}
    assert len(by_two) >= 500


async def test_a_store_of_another_log_makes_the_daemon_not_ready(kafka: Broker, topic: Topic, tmp_path: Path) -> None:
    """The topic was made anew under the same state directory: not ready with the reason, nothing is stored, skipped or committed."""
    config = section(kafka, await topic(partitions=1))
    await produce(kafka, config.topic, records(range(20)))
    async with running(config, tmp_path) as sentinel:
        await sentinel.until_settled(20)
    async with admin(kafka) as client:
        await client.delete_topics([config.topic])
    async with asyncio.timeout(30):
        while True:
            try:
                await kafka.create_topic(config.topic, 1)
            except Exception:  # noqa: BLE001  the broker still deletes
                await asyncio.sleep(0.1)
            else:
                break
    await produce(kafka, config.topic, records(range(100, 105)))
    async with running(config, tmp_path) as sentinel:
        await until(lambda: any("position 20 is beyond the end 5" in reason for reason in sentinel.daemon.context.reasons()))
        assert len(await sentinel.rows()) == 20
    await until_committed(kafka, config, {})


async def test_a_stop_in_the_middle_loses_nothing(kafka: Broker, topic: Topic, tmp_path: Path) -> None:
    """Stopped again and again while it catches up: the next start goes on, and every event is stored once."""
    config = section(kafka, await topic(), max_poll_records=100)
    await produce(kafka, config.topic, records(range(4_000)), partition=None)
    for part in range(1, 4):
        async with running(config, tmp_path) as sentinel:
            await until(lambda part=part, daemon=sentinel.daemon: sum(s.next_offset for s in daemon.pipeline.shards.values()) >= part * 600)
    async with running(config, tmp_path) as sentinel:
        await until_committed(kafka, config, dict.fromkeys(range(4), 1_000))
        stored = [row["event_id"] for row in await sentinel.rows()]
    assert len(stored) == 4_000
    assert set(stored) == {f"e{number}" for number in range(4_000)}
