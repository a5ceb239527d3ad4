"""`sentinel simulate` as people run it: to standard output, to a real HTTP server, to a real Kafka."""

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.partitioner import DefaultPartitioner

from sentinel.cli.main import main
from tools.servers.kafka import Broker

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "sentinel.cli.main", "simulate")
START = ("--start", "2026-01-15T10:30:00Z")


def simulate(*options: str, exit_code: int = 0) -> tuple[bytes, str]:
    """Run the command to its end; its standard output and standard error."""
    done = subprocess.run([*COMMAND, *options], cwd=ROOT, capture_output=True, check=False, timeout=60)
    assert done.returncode == exit_code, done.stderr.decode()
    return done.stdout, done.stderr.decode()


async def simulate_beside(*options: str, exit_code: int = 0) -> tuple[bytes, str]:
    """The same while this process serves what the command talks to."""
    return await asyncio.to_thread(simulate, *options, exit_code=exit_code)


def test_a_thousand_events_by_default() -> None:
    """With no option at all, 1,000 flat events go to standard output and one summary to standard error, without a progress bar."""
    out, err = simulate()
    rows = [json.loads(line) for line in out.splitlines()]
    assert len(rows) == 1_000
    assert all({"service_name", "model_name", "latency_ms", "timestamp"} <= row.keys() for row in rows)
    assert err.startswith("sent 1,000 events in ")
    assert "\r" not in err


def test_same_seed_and_start_are_byte_identical() -> None:
    """Two runs with the same seed and start write the same bytes, another seed or start others."""
    same = [simulate("--seed", "5", *START, "--text-share", "0.3", "--malformed-share", "0.1")[0] for _ in range(2)]
    assert same[0] == same[1]
    assert same[0] != simulate("--seed", "6", *START, "--text-share", "0.3", "--malformed-share", "0.1")[0]
    assert same[0] != simulate("--seed", "5", "--text-share", "0.3", "--malformed-share", "0.1")[0]


def test_a_paced_run_ends_with_its_duration_and_is_reproducible() -> None:
    """The bytes of a paced run depend on its options alone, and lie within the asked time."""
    options = ("--rate", "500", "--duration", "0.4", *START, "--json")
    (first, err), (second, _) = simulate(*options), simulate(*options)
    assert first == second
    stamps = [json.loads(line)["timestamp"] for line in first.splitlines()]
    assert 100 < len(stamps) < 400
    assert stamps == sorted(stamps)
    assert stamps[0] >= "2026-01-15T10:30:00.000000Z"
    assert stamps[-1] < "2026-01-15T10:30:00.400000Z"
    assert json.loads(err)["sent"] == len(stamps)


def test_the_json_summary_labels_every_fault() -> None:
    """The labels name kind, anomaly type, series, strength and times within the run; --no-faults injects none."""
    _, err = simulate("--events", "9000", "--spacing-ms", "100", *START, "--json")
    summary = json.loads(err)
    assert (summary["sent"], summary["accepted"], summary["rejected"], summary["seed"]) == (9_000, 9_000, 0, 0)
    assert len(summary["faults"]) == 8
    for fault in summary["faults"]:
        assert fault.keys() == {"kind", "anomaly_type", "service", "model", "start", "end", "strength"}
        assert "2026-01-15T10:30:00" < fault["start"] < fault["end"] < "2026-01-15T10:45:01"
    assert json.loads(simulate("--no-faults", "--json")[1])["faults"] == []


def test_names_and_numbers_of_services_and_models() -> None:
    """Names are taken as given; a number makes as many."""
    out, _ = simulate("--services", "alpha,beta", "--models", "3", "--events", "300")
    rows = [json.loads(line) for line in out.splitlines()]
    assert {row["service_name"] for row in rows} == {"alpha", "beta"}
    assert {row["model_name"] for row in rows} == {"model-001", "model-002", "model-003"}


def test_malformed_records_are_not_valid_json_objects_with_all_fields() -> None:
    """About half of the lines is spoiled when half is asked for."""
    out, _ = simulate("--malformed-share", "0.5", "--no-faults", *START)
    good = set(simulate("--no-faults", *START)[0].splitlines())
    assert 400 < sum(line in good for line in out.splitlines()) < 600


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--to", "ftp://somewhere"), "--to"),
        (("--to", "kafka://127.0.0.1:9092"), "--to"),
        (("--to", "kafka://nowhere/topic"), "--to"),
        (("--to", "kafka://127.0.0.1:9092/bad:name"), "--to"),
        (("--start", "yesterday"), "RFC 3339"),
        (("--start", "1969-12-31T23:59:59Z"), "1970"),
        (("--continuous", "--events", "5"), "--continuous"),
        (("--services", "a,a"), "twice"),
        (("--text-share", "2"), "--text-share"),
    ],
)
def test_wrong_usage_is_told(options: tuple[str, ...], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An option that makes no sense ends with exit code 2 and its name, before anything is sent."""
    assert main(["simulate", *options]) == 2
    told = capsys.readouterr()
    assert named in told.err
    assert not told.out


@pytest.mark.parametrize("place", ["http://127.0.0.1:{port}", "kafka://127.0.0.1:{port}/topic"])
def test_an_unreachable_target_is_one_clear_line(place: str, unused_tcp_port: int) -> None:
    """Nobody there: exit code 1 and one line with the place and what to do."""
    _, err = simulate("--to", place.format(port=unused_tcp_port), exit_code=1)
    assert err.count("\n") == 1
    assert f"127.0.0.1:{unused_tcp_port}" in err
    assert "Connection refused" in err
    assert "--to" in err


def test_an_interrupt_stops_cleanly() -> None:
    """SIGINT ends an endless run with whole lines, a summary that counts them, and exit code 0."""
    with subprocess.Popen(
        [*COMMAND, "--continuous", "--rate", "200", "--json"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest, err = process.communicate(timeout=30)
    lines = (first + rest).splitlines()
    assert process.returncode == 0
    assert all(json.loads(line) for line in lines)
    assert json.loads(err)["sent"] == len(lines)


def test_a_progress_bar_only_for_a_terminal() -> None:
    """With a terminal as standard error there is a bar of the events; the records are untouched by it."""
    ours, theirs = pty.openpty()
    out = subprocess.run([*COMMAND, *START], cwd=ROOT, stdout=subprocess.PIPE, stderr=theirs, check=True, timeout=60).stdout
    os.close(theirs)
    shown = os.read(ours, 65_536).decode()
    os.close(ours)
    assert "100%" in shown
    assert out == simulate(*START)[0]


async def test_to_a_real_http_server() -> None:
    """Every record arrives in order with the key; a busy server is obeyed and its counts are told."""
    bodies: list[bytes] = []
    answers = [429]

    async def events(request: web.Request) -> web.Response:
        assert request.headers["X-API-Key"] == "k-1"
        if answers:
            return web.json_response({}, status=answers.pop(), headers={"Retry-After": "0"})
        lines = (await request.read()).splitlines()
        bodies.extend(lines)
        return web.json_response({"accepted": len(lines) - 1, "rejected": 1}, status=202)

    application = web.Application()
    application.router.add_post("/api/v1/events", events)
    async with TestServer(application) as server:
        options = ("--to", f"http://127.0.0.1:{server.port}", "--events", "2500", "--api-key", "k-1", "--json", *START)
        out, err = await simulate_beside(*options)
    summary = json.loads(err)
    assert not out
    assert (summary["sent"], summary["accepted"], summary["rejected"]) == (2_500, 2_497, 3)
    assert bodies == simulate("--events", "2500", *START)[0].splitlines()


@pytest.mark.kafka
async def test_to_a_real_kafka(kafka: Broker, topic: Callable[..., Awaitable[str]]) -> None:
    """Every record is confirmed and lies, keyed by its series and with its event's time, in the partition any Kafka client would choose."""
    name = await topic(3)
    _, err = await simulate_beside("--to", f"kafka://{kafka.bootstrap}/{name}", "--events", "20000", "--json", *START)
    assert json.loads(err)["accepted"] == 20_000
    consumer = AIOKafkaConsumer(name, bootstrap_servers=kafka.bootstrap, auto_offset_reset="earliest", check_crcs=True)
    await consumer.start()
    try:
        records = [record async for record in _first(consumer, 20_000)]
        ends = await consumer.end_offsets(list(consumer.assignment()))
    finally:
        await consumer.stop()
    assert sum(ends.values()) == 20_000
    assert sorted(record.value or b"" for record in records) == sorted(simulate("--events", "20000", *START)[0].splitlines())
    for record in records[::97]:
        event = json.loads(record.value or b"")
        assert record.key == f"{event['service_name']}:{event['model_name']}".encode()
        assert record.partition == DefaultPartitioner()(record.key, [0, 1, 2], [0, 1, 2])
        assert record.timestamp == 1_768_473_000_000 + int(event["timestamp"][20:23])


async def _first(consumer: AIOKafkaConsumer, n: int) -> AsyncIterator[ConsumerRecord]:
    """The first n records of the topic; the test's own timeout bounds it."""
    count = 0
    while count < n:
        for records in (await consumer.getmany(timeout_ms=1_000)).values():
            for record in records:
                yield record
                count += 1
