"""Dead letters: what is kept of a record that cannot be an event, in a file and in a topic."""

import asyncio
import json
import os
import resource
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import NewTopic
from kafka_bench import admin, dump, section

from sentinel.core.batch import PartitionId
from sentinel.core.errors import RejectCode, RetryableError, StartupError
from sentinel.core.reject import DeadLetter
from sentinel.ingestion import kafka_producer
from sentinel.ingestion.dead_letter import FileDeadLetters, KafkaDeadLetters, encode
from tools.servers.kafka import Broker

Topic = Callable[..., Awaitable[str]]


def letter(offset: int = 7, record: str = '{"user_id": "[REDACTED]"', sub: int = 0) -> DeadLetter:
    """A dead letter as sanitizing makes it."""
    log = PartitionId("c1", "llm.telemetry", 3)
    return DeadLetter(log, offset, sub, 2, RejectCode.MALFORMED_JSON, "ends too early", 1_768_473_000_000_000_000, record, len(record))


def test_a_letter_says_what_was_wrong_and_where() -> None:
    """One JSON object with code, reason, place and redacted record."""
    assert json.loads(encode(letter())) == {
        "code": "malformed_json",
        "detail": "ends too early",
        "cluster": "c1",
        "topic": "llm.telemetry",
        "partition": 3,
        "offset": 7,
        "sub": 0,
        "received_at": "2026-01-15T10:30:00.000Z",
        "record": '{"user_id": "[REDACTED]"',
        "record_bytes": 24,
    }


# ----------------------------------------------------------------------------------------------------------------- file


def lines(path: Path) -> list[dict[str, Any]]:
    """The letters in a file."""
    return [json.loads(line) for line in path.read_bytes().split(b"\n") if line]


async def test_a_file_is_appended_to(tmp_path: Path) -> None:
    """Two runs: the second continues the first; a record with line ends stays one line."""
    path = tmp_path / "dead.jsonl"
    for offset in (1, 2):
        sink = FileDeadLetters(path, 1_000_000)
        await sink.open()
        await sink.write([letter(offset), letter(offset, record="a\nb\u2028c", sub=1)])
        await sink.close()
        await sink.close()
    assert [(line["offset"], line["sub"]) for line in lines(path)] == [(1, 0), (1, 1), (2, 0), (2, 1)]


async def test_what_was_written_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`write` returns after the disk has it: the file is synced with all its bytes in it."""
    path, synced = tmp_path / "dead.jsonl", []
    monkeypatch.setattr(os, "fsync", lambda _: synced.append(len(lines(path))))
    sink = FileDeadLetters(path, 1_000_000)
    await sink.open()
    await sink.write([letter(1)])
    await sink.write([letter(2), letter(3)])
    await sink.close()
    assert synced == [1, 3]


async def test_a_file_is_rotated_at_its_size(tmp_path: Path) -> None:
    """At `max_bytes` the file becomes its one predecessor; a batch is never split, and a batch larger than the limit is kept whole."""
    path, size = tmp_path / "dead.jsonl", len(encode(letter())) + 1
    sink = FileDeadLetters(path, 3 * size)
    await sink.open()
    for offset in range(5):
        await sink.write([letter(offset)])
    assert [line["offset"] for line in lines(path)] == [3, 4]
    assert [line["offset"] for line in lines(tmp_path / "dead.jsonl.1")] == [0, 1, 2]
    await sink.write([letter(offset) for offset in range(5, 9)])
    await sink.write([letter(9)])
    await sink.close()
    assert [line["offset"] for line in lines(path)] == [9]
    assert [line["offset"] for line in lines(tmp_path / "dead.jsonl.1")] == [5, 6, 7, 8]


async def test_a_file_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    """The message names the file and the setting."""
    with pytest.raises(StartupError, match=r"cannot write .*ingestion\.dead_letters\.path"):
        await FileDeadLetters(tmp_path, 1_000_000).open()
    with pytest.raises(RetryableError, match="is not open"):
        await FileDeadLetters(tmp_path / "x", 1_000_000).write([letter()])


async def test_a_disk_that_refuses_is_tried_again(tmp_path: Path) -> None:
    """Rotation fails, then works: the failure is retryable, and the same write then keeps everything."""
    path = tmp_path / "dead.jsonl"
    sink = FileDeadLetters(path, 1)
    await sink.open()
    await sink.write([letter(1)])
    (tmp_path / "dead.jsonl.1").mkdir()
    for _ in range(2):
        with pytest.raises(RetryableError, match="cannot write"):
            await sink.write([letter(2)])
    (tmp_path / "dead.jsonl.1").rmdir()
    await sink.write([letter(2)])
    await sink.close()
    assert [line["offset"] for line in lines(path)] == [2]
    assert [line["offset"] for line in lines(tmp_path / "dead.jsonl.1")] == [1]


async def test_a_line_that_a_crash_cut_off_spoils_only_itself(tmp_path: Path) -> None:
    """The file ends within a line: the next letter begins on a line of its own."""
    path = tmp_path / "dead.jsonl"
    path.write_bytes(encode(letter(1)) + b"\n" + encode(letter(2))[:20])
    sink = FileDeadLetters(path, 1_000_000)
    await sink.open()
    await sink.write([letter(3)])
    await sink.close()
    first, _, last = path.read_bytes().rstrip(b"\n").split(b"\n")
    assert [json.loads(line)["offset"] for line in (first, last)] == [1, 3]


async def test_a_write_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    """The disk takes the first bytes and no more: they are taken back, and the same write then gives whole lines."""
    path = tmp_path / "dead.jsonl"
    sink = FileDeadLetters(path, 1_000_000)
    await sink.open()
    await sink.write([letter(1)])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 50, hard))
    try:
        with pytest.raises(RetryableError, match="File too large"):
            await sink.write([letter(2)])
        assert [line["offset"] for line in lines(path)] == [1]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    await sink.write([letter(2)])
    await sink.close()
    assert [line["offset"] for line in lines(path)] == [1, 2]


async def test_a_full_disk_is_tried_again() -> None:
    """No space left: retryable, with the reason."""
    sink = FileDeadLetters(Path("/dev/full"), 1_000_000)
    await sink.open()
    with pytest.raises(RetryableError, match="No space left on device"):
        await sink.write([letter()])
    await sink.close()


# ---------------------------------------------------------------------------------------------------------------- topic


async def test_a_missing_topic_is_created_and_takes_letters(kafka: Broker, topic: Topic) -> None:
    """One partition, letters as JSON, keyed by where their record lies; a second start finds the topic."""
    config = section(kafka, await topic())
    for offset in (1, 2):
        sink = KafkaDeadLetters(config)
        await sink.open()
        await sink.write([letter(offset), letter(offset, sub=1)])
        await sink.close()
        await sink.close()
    found = await dump(kafka, config.dead_letter_topic)
    assert [key for key, _ in found] == [f"c1/llm.telemetry/3/{offset}/{sub}".encode() for offset in (1, 2) for sub in (0, 1)]
    assert json.loads(found[0][1] or b"") == json.loads(encode(letter(1)))
    async with admin(kafka) as client:
        topics = {each["topic"]: each for each in await client.describe_topics()}
    assert len(topics[config.dead_letter_topic]["partitions"]) == 1


async def test_a_topic_that_cannot_be_created_is_told(kafka: Broker, topic: Topic) -> None:
    """The brokers refuse: start-up says why and how to create it, instead of going on without."""
    config = section(kafka, await topic(), dead_letter_topic="x" * 240)
    too_long = config.model_copy(update={"dead_letter_topic": "x" * 250})
    with pytest.raises(StartupError, match=r"cannot create the topic .*kafka-topics\.sh"):
        await KafkaDeadLetters(too_long).open()


@pytest.mark.parametrize("topic_limit", [400, 5_000_000])
async def test_a_letter_too_long_for_the_topic_goes_without_its_record(kafka: Broker, topic: Topic, topic_limit: int) -> None:
    """The topic's limit or the producer's refuses it: the others are whole, this one keeps its code and place, and nothing blocks."""
    config = section(kafka, await topic())
    async with admin(kafka) as client:
        settings = {"max.message.bytes": str(topic_limit)}
        await client.create_topics([NewTopic(config.dead_letter_topic, 1, 1, topic_configs=settings)])
    sink = KafkaDeadLetters(config)
    await sink.open()
    await sink.write([letter(1), letter(2, record="x" * 1_200_000), letter(3)])
    await sink.close()
    found = {value["offset"]: value for value in (json.loads(value or b"") for _, value in await dump(kafka, config.dead_letter_topic))}
    assert {offset: (value["record"], value["code"]) for offset, value in found.items()} == {
        1: (letter().record, "malformed_json"),
        2: ("", "malformed_json"),
        3: (letter().record, "malformed_json"),
    }
    assert found[2]["record_bytes"] == 1_200_000


async def test_letters_wait_for_a_broker_that_is_away(own_kafka: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed: a write fails as retryable within its time. Back: the same sink writes. Away for good: closing ends in time."""
    monkeypatch.setattr(kafka_producer, "CONFIRM_LIMIT_MS", 1_000)
    monkeypatch.setattr(kafka_producer, "GRACE_S", 1.0)
    config = section(own_kafka, "t")
    sink = KafkaDeadLetters(config)
    await sink.open()
    await sink.write([letter(1)])
    await asyncio.to_thread(own_kafka.kill)
    async with asyncio.timeout(10):
        with pytest.raises(RetryableError, match=config.dead_letter_topic):
            await sink.write([letter(2)])
    await asyncio.to_thread(own_kafka.start)
    async with asyncio.timeout(30):
        while True:
            try:
                await sink.write([letter(2), letter(3)])
            except RetryableError:
                continue
            break
    offsets = [json.loads(value or b"")["offset"] for _, value in await dump(own_kafka, config.dead_letter_topic)]
    assert offsets[0] == 1
    assert set(offsets) == {1, 2, 3}
    await asyncio.to_thread(own_kafka.kill)
    with pytest.raises(RetryableError):
        await sink.write([letter(4)])
    async with asyncio.timeout(10):
        await sink.close()
