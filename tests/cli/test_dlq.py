"""`sentinel dlq`: what it prints, sends and deletes, and what it says when it cannot."""

import asyncio
import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from daemon_run import running, stored
from dead_letter_inputs import DAY_NS, START_NS, made_of, plain, write
from kafka_bench import produce, section

from sentinel.cli.main import main
from sentinel.config.loader import load
from sentinel.config.schema import Config, Ingestion, Kafka, Validation
from sentinel.core.batch import PartitionId
from sentinel.core.errors import RejectCode
from sentinel.core.reject import DeadLetter
from sentinel.ingestion.dead_letter import KafkaDeadLetters
from sentinel.ingestion.kafka_client import survey
from tools.servers.kafka import Broker

STRICT = Ingestion(validation=Validation(max_latency_ms=100.0, on_out_of_range="reject"))


pytestmark = pytest.mark.usefixtures("no_colour")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The configuration of a daemon without Kafka."""
    file = tmp_path / "sentinel.yaml"
    file.write_text(f"state_dir: {tmp_path / 'state'}\napi:\n  bind_addr: 127.0.0.1:0\n")
    return file


def add(place: Path, section: str) -> None:
    """A section more in a configuration."""
    place.write_text(place.read_text() + section)


def fill(place: Path, letters: list[DeadLetter]) -> Path:
    """Letters in that daemon's file."""
    return write(place.parent / "state" / "dead-letters.jsonl", letters)


@pytest.fixture
def filled(place: Path) -> Path:
    """The same with four letters, the last received first."""
    letters = [plain(number, START_NS - number * DAY_NS) for number in range(3)]
    hostile = replace(plain(3, START_NS - 9 * DAY_NS, code=RejectCode.TOO_LARGE), detail="\x1b[31mred\u202e", record='{"a":"\x07"}')
    fill(place, [*letters, hostile])
    return place


def run(capsys: pytest.CaptureFixture[str], *args: object, code: int = 0) -> tuple[str, str]:
    """The output and errors of `sentinel dlq`, and its exit code checked."""
    assert main(["dlq", *map(str, args)]) == code
    told = capsys.readouterr()
    return told.out, told.err


# ---------------------------------------------------------------------------------------------------------------------- look


def test_a_table_newest_first_and_counts(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line a letter, then how many there are of each code, also of those that are not shown; nothing can steer the terminal."""
    out, err = run(capsys, "ls", "--config", filled)
    lines = out.splitlines()
    assert lines[0].split() == ["received", "code", "letter", "bytes", "detail"]
    assert [line.split()[2] for line in lines[1:5]] == [f"embedded/http/0/{offset}/0" for offset in range(4)]
    assert out.isascii()
    assert lines[4].endswith("\\u001b[31mred\\u202e")
    assert [line.split() for line in lines[-3:]] == [["code", "letters"], ["missing_field", "3"], ["too_large", "1"]]
    assert err.startswith("4 dead letters in ")
    out, _ = run(capsys, "ls", "--config", filled, "--limit", 1)
    assert "and 3 older ones" in out
    assert "missing_field        3" in out


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        (["--code", "too_large"], 1),
        (["--code", "too_large", "--code", "missing_field"], 4),
        (["--log", "http/0"], 4),
        (["--log", "other"], 0),
        (["--partition", "1"], 0),
        (["--from", "2026-01-14T00:00:00Z"], 2),
        (["--until", "2026-01-14T00:00:00Z"], 2),
    ],
)
def test_every_filter_filters(filled: Path, capsys: pytest.CaptureFixture[str], filters: list[str], count: int) -> None:
    """Each option leaves out what it does not name; JSON is for programs."""
    found = json.loads(run(capsys, "ls", "--config", filled, "--json", *filters)[0])
    assert (found["count"], found["matched"], sum(found["by_code"].values())) == (count, count, count)
    assert len(found["letters"]) == count


def test_what_is_no_letter_is_said(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line that a crash cut off is counted, not hidden."""
    with (filled.parent / "state" / "dead-letters.jsonl").open("ab") as file:
        file.write(b'{"code":"too_la')
    assert "1 line or record there are no dead letters" in run(capsys, "ls", "--config", filled)[1]
    assert json.loads(run(capsys, "ls", "--config", filled, "--json")[0])["unreadable"] == 1


def test_no_letters_are_no_error(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing was refused: the place is named, and nothing is made there."""
    out, err = run(capsys, "ls", "--config", place)
    assert out == ""
    assert "0 dead letters in" in err
    assert not (place.parent / "state").exists()


def test_one_letter_whole(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Everything in it, and whether its copy is the record; the log may be named in short."""
    out, _ = run(capsys, "show", "http/0", 3, "--config", filled)
    assert "detail        \\u001b[31mred\\u202e" in out
    assert "complete      it holds" in out
    letter = json.loads(run(capsys, "show", "embedded/http/0", 0, "--sub", 0, "--config", filled, "--json")[0])
    assert (letter["id"], letter["record"]) == ("embedded/http/0/0/0", '{"a":1}')
    assert "no letter of http/0, offset 0, sub 1" in run(capsys, "show", "http/0", 0, "--sub", 1, "--config", filled, code=1)[1]


def test_two_logs_of_one_name_are_told_apart(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A short name that fits two logs shows neither of them."""
    fill(place, [plain(0), replace(plain(0), source=PartitionId("embedded-b", "http", 0))])
    assert "embedded-b/http/0, embedded/http/0" in run(capsys, "show", "http/0", 0, "--config", place, code=2)[1]


# -------------------------------------------------------------------------------------------------------------------- replay


def record(number: int, **more: Any) -> bytes:
    """An event that `STRICT` refuses."""
    return json.dumps({"service_name": "chat", "model_name": "m", "latency_ms": 120, "event_id": f"e{number}"} | more).encode()


def test_a_dry_run_tells_what_would_pass(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By code, then why the rest would not be sent; nothing is needed to send to."""
    fill(place, made_of([record(1), record(2), record(3, user_id="ann"), b"[1]"], STRICT))
    out, err = run(capsys, "replay", "--dry-run", "--config", place)
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == ["code", "would", "pass", "still", "refused", "not", "to", "be", "had"]
    assert lines[1:4] == [["not_an_object", "0", "1", "0"], ["out_of_range", "2", "0", "1"], ["all", "2", "1", "1"]]
    assert "embedded/http/0/2/0  not to be had: it holds only a redacted form" in out
    assert "embedded/http/0/3/0  still refused: not_an_object" in out
    assert err == ""
    add(place, "ingestion:\n  validation: {max_latency_ms: 100, on_out_of_range: reject}\n")
    fates = json.loads(run(capsys, "replay", "--dry-run", "--config", place, "--json")[0])["fates"]
    assert fates == {"refused": 3, "missing": 1}


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        ([], 2, "say which letters"),
        (["--all"], 2, "no Kafka to send to: give --to URL"),
        (["--all", "--to", "ftp://host"], 2, "no address of a daemon"),
        (["--all", "--to", "http://ann:secret@host"], 2, "a key stands in --api-key"),
        (["--dry-run", "--limit", "1"], 1, "3 letters match, and --limit is 1"),
        (["--dry-run", "embedded/http/0/77/0"], 1, "no such letter as embedded/http/0/77/0"),
        (["--all", "--to", "http://127.0.0.1:9"], 1, "no answer from http://127.0.0.1:9"),
    ],
)
def test_what_cannot_be_replayed_is_told(
    place: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, told: str
) -> None:
    """Nothing named, nowhere to send to, too many, none of that name, no daemon there: each with its cure, and without secrets."""
    fill(place, made_of([record(1), record(2), b"[1]"], STRICT))
    _, err = run(capsys, "replay", "--config", place, *arguments, code=code)
    assert told in err
    assert "secret" not in err


def test_no_letter_is_nothing_to_do(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says so, and it is no failure."""
    assert "no dead letter matches" in run(capsys, "replay", "--dry-run", "--config", place)[0]


async def in_thread(capsys: pytest.CaptureFixture[str], *args: object, code: int = 0) -> tuple[str, str]:
    """The command beside a daemon that runs in this process."""
    return await asyncio.to_thread(run, capsys, *args, code=code)


async def test_letters_go_to_a_running_daemon(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Those that are named, then all; each is stored once, and what is still refused is not sent unless forced."""
    fill(place, made_of([record(1), record(2), b"[1]"], STRICT))
    settings: Config = load(place, os.environ).config
    async with running(settings) as daemon:
        sending = ("replay", "--config", place, "--to", f"http://127.0.0.1:{daemon.server.port}")
        out, _ = await in_thread(capsys, *sending, "embedded/http/0/1/0")
        assert out.splitlines()[-1].split() == ["all", "1"]
        assert stored(settings) == ["e2"]
        out, _ = await in_thread(capsys, *sending, "--all", "--json")
        assert json.loads(out)["fates"] == {"sent": 2, "refused": 1}
        assert stored(settings) == ["e2", "e1"]
        out, _ = await in_thread(capsys, *sending, "--code", "not_an_object", "--force", code=1)
        assert "embedded/http/0/2/0  not taken: not_an_object" in out


def test_work_that_takes_long_is_seen(place: Path) -> None:
    """On a terminal a bar goes to its end, and standard output stays clean."""
    fill(place, [plain(offset) for offset in range(2_000)])
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "sentinel.cli.main", "dlq", "replay", "--dry-run", "--config", str(place)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    seen = b""
    with suppress(OSError):  # the other end of a terminal is gone
        while block := os.read(ours, 65_536):
            seen += block
    out, _ = process.communicate(timeout=60)
    os.close(ours)
    assert process.returncode == 0
    assert out.splitlines()[2].split() == [b"all", b"2,000"]
    assert b"\r" not in out
    assert b"reading" in seen
    assert b"checking" in seen
    assert b"100%" in seen


# --------------------------------------------------------------------------------------------------------------------- purge


def test_only_what_is_older_is_deleted(place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """By the age of records, in days; all of them when that is asked for."""
    fill(place, [plain(number, START_NS - number * DAY_NS) for number in range(4)])
    monkeypatch.setattr("time.time_ns", lambda: START_NS)
    out, _ = run(capsys, "purge", "--older-than", "1.5", "--yes", "--config", place)
    assert out.startswith("deleted 2 dead letters from ")
    assert json.loads(run(capsys, "ls", "--json", "--config", place)[0])["count"] == 2
    assert "deleted 2" in run(capsys, "purge", "--all", "--yes", "--config", place)[0]


def test_a_purge_is_asked_about(filled: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --yes and without an answer nothing is deleted; nor without saying what."""
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert "aborted" in run(capsys, "purge", "--all", "--config", filled, code=1)[1]
    assert "say which letters" in run(capsys, "purge", "--yes", "--config", filled, code=2)[1]
    assert "say which letters" in run(capsys, "purge", "--all", "--older-than", 3, "--config", filled, code=2)[1]
    assert json.loads(run(capsys, "ls", "--json", "--config", filled)[0])["count"] == 4


# --------------------------------------------------------------------------------------------------------------------- Kafka


async def letters_of(kafka: Kafka, *records: bytes) -> None:
    """Letters of records at the beginning of partition 0, in the topic."""
    log = PartitionId((await survey(kafka)).cluster, kafka.topic, 0)
    sink = KafkaDeadLetters(kafka)
    await sink.open()
    await sink.write(made_of(records, STRICT, log))
    await sink.close()


@asynccontextmanager
async def reader(broker: Broker, topic: str) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer at the beginning of a topic."""
    async with AIOKafkaConsumer(topic, bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest") as consumer:
        yield consumer


async def test_with_kafka_all_is_in_topics(
    kafka: Broker, topic: Callable[..., Awaitable[str]], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Letters are listed from their topic, records come from the source topic and go back to it, a purge empties the letters' topic."""
    name = await topic(1)
    settings = section(kafka, name)
    own = f"brokers: ['{kafka.bootstrap}'], topic: {name}, dead_letter_topic: {name}.dlq"
    add(place, f"ingestion:\n  kafka: {{{own}}}\n")
    records = record(1, user_id="ann"), b"[1]"
    await produce(kafka, name, records)
    await letters_of(settings, *records)
    out, err = await in_thread(capsys, "ls", "--config", place, "--log", name)
    assert f"2 dead letters in the Kafka topic {name}.dlq" in err
    assert f"{name}/0/1/0" in out
    out, _ = await in_thread(capsys, "replay", "--all", "--config", place, "--json")
    assert json.loads(out)["fates"] == {"sent": 1, "refused": 1}
    async with reader(kafka, name) as consumer:
        read = [await consumer.getone() for _ in range(3)]
    assert json.loads(read[2].value or b"") == json.loads(records[0]) | {"timestamp": json.loads(read[2].value or b"")["timestamp"]}
    assert [key for key, _ in read[2].headers] == ["sentinel-replay-of", "sentinel-replay-code", "sentinel-replayed-at"]
    assert "deleted 2 dead letters" in (await in_thread(capsys, "purge", "--all", "--yes", "--config", place))[0]
    assert json.loads((await in_thread(capsys, "ls", "--json", "--config", place))[0])["matched"] == 0
