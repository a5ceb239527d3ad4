"""Among real systems: Kafka, PostgreSQL, Redis, RabbitMQ, a webhook receiver, and the double of InfluxDB."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer
from alert_checks import all_told, check_message, check_one_id_each, check_request, sent
from infrastructure import ANOMALIES, Points, Receiver, Servers, Told, bound_queue, metric
from test_azure import DETECTED_BY, TRACE, when_ms

from sentinel.core.timestamp import rfc3339
from sentinel.testing.azure import MODEL, SERVICE, azure_events
from sentinel.testing.faults import Fault, FaultKind, fault_plan
from sentinel.testing.profiles import make_fleet
from sentinel.testing.simulator import Simulator

PARTITIONS = 4
NS = 1_000_000_000


@pytest.fixture
async def servers(
    kafka: Any, topic: Callable[[int], Awaitable[str]], rabbitmq: Any, redis: Any, database: str, points: Points, tmp_path: Path
) -> Servers:
    """Everything, with a topic of its own."""
    return Servers(kafka.bootstrap, await topic(PARTITIONS), points, redis.url, database, rabbitmq.url, tmp_path)


def hour_with_faults() -> tuple[str, list[bytes], list[Fault]]:
    """Requests of one series with five faults in them: the Azure trace, or simulated ones where it is not here."""
    if TRACE.exists():
        return "the Azure trace", *azure_events(TRACE, seed=1)
    fleet = make_fleet([SERVICE], [MODEL])
    start_ns = int(datetime(2026, 1, 15, 10, tzinfo=UTC).timestamp()) * NS
    end_ns = start_ns + 3_600 * NS
    faults = fault_plan(1, start_ns, end_ns, fleet.series, kinds=tuple(DETECTED_BY))
    return f"simulated ({TRACE} is missing)", Simulator(1, fleet=fleet, rate=5.0, faults=faults).block(start_ns, end_ns), faults


async def produce(servers: Servers, records: Iterable[bytes], *, shift: int = 0) -> None:
    """All records, one partition after another, each with its event's own time as the log's time."""
    producer = AIOKafkaProducer(bootstrap_servers=servers.brokers, acks="all", linger_ms=5)
    await producer.start()
    for i, record in enumerate(records, shift):
        await producer.send(servers.topic, record, partition=i % PARTITIONS, timestamp_ms=when_ms(json.loads(record)))
    await producer.stop()


async def produce_until(servers: Servers, over: asyncio.Event, records: Sequence[bytes]) -> Sequence[bytes]:
    """Some hundred records ten times a second until it is over; those that were produced."""
    for done in range(0, len(records), 200):
        await produce(servers, records[done : done + 200])
        if over.is_set():
            return records[: done + 200]
        await asyncio.sleep(0.1)
    raise AssertionError("there were too few records")


def tokens(records: Sequence[bytes]) -> dict[str, Any]:
    """What `Points.sums` must say when every record is there once."""
    events = [json.loads(record) for record in records]
    assert len({event["event_id"] for event in events}) == len(events)
    return {
        "events": len(events),
        "ids": len(events),
        "prompt": sum(event["prompt_tokens"] for event in events),
        "completion": sum(event["completion_tokens"] for event in events),
    }


@pytest.mark.slow
async def test_an_hour_of_traffic_through_everything(
    servers: Servers, points: Points, make_sentinel: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every event is a point once, the faults are anomalies that the API gives, people are told once, and a restart repeats nothing."""
    origin, records, faults = hour_with_faults()
    receiver = Receiver(tmp_path)
    async with bound_queue(servers.rabbitmq, servers.exchange) as queue, receiver.running():
        sentinel = make_sentinel(servers.configuration(webhook=servers.webhook(receiver.url)))
        await asyncio.to_thread(check_doctor, sentinel, "is free")
        sentinel.start()
        await asyncio.to_thread(sentinel.wait_ready)
        began = time.monotonic()
        await produce(servers, records)
        await all_stored(sentinel, points, len(records))
        stored_s = time.monotonic() - began
        await all_told(sentinel, queue)
        told_s = time.monotonic() - began
        assert await asyncio.to_thread(points.sums) == tokens(records)
        start_ns = when_ms(json.loads(records[0])) * 10**6
        rates = await asyncio.to_thread(fault_rates, sentinel, points, faults, start_ns)
        for fault, (inside, outside) in rates.items():
            # CUSUM on skewed latency fires without any fault too: a drift stands out less than a spike.
            assert inside > (1.5 if fault is FaultKind.LATENCY_DRIFT else 5) * outside, fault
        await asyncio.to_thread(check_told, sentinel, queue, receiver)
        await asyncio.to_thread(check_doctor, sentinel, "used by the running daemon", ["kafka series"])
        assert sentinel.get("/api/v1/ledger")["balanced"]
        assert await asyncio.to_thread(sentinel.stop) == 0
        sentinel.start()
        await asyncio.to_thread(sentinel.wait_ready)
        assert await asyncio.to_thread(fault_rates, sentinel, points, faults, start_ns) == rates
        assert metric(sentinel.text("/metrics"), "sentinel_cache_hits_total", level="redis") == len(faults)
        await check_next_spike(sentinel, servers, points, queue, records)
        assert await asyncio.to_thread(sentinel.stop) == 0
        assert alarms(sentinel) == []
    with capsys.disabled():
        print(f"\n  {origin}: {len(records)} events produced and stored in {stored_s:.1f} s, all told after {told_s:.1f} s")  # noqa: T201  figures people ask for
        print(f"  {len(queue)} messages in the queue, {len(receiver.requests)} at the webhook")  # noqa: T201  likewise
        for fault, (inside, outside) in rates.items():
            print(f"  {fault.value}: {inside:.3f} anomalies/s during the fault, {outside:.3f} outside")  # noqa: T201  likewise


def alarms(sentinel: Any) -> list[str]:
    """Errors that it has logged."""
    return [line for line in sentinel._log.read_text().splitlines() if '"level":"error"' in line]


async def all_stored(sentinel: Any, points: Points, count: int) -> None:
    """Wait until so many events are at InfluxDB."""
    await asyncio.to_thread(sentinel.wait_for, lambda: points.count() >= count, f"{count} events at InfluxDB")


async def check_next_spike(sentinel: Any, servers: Servers, points: Points, queue: Sequence[Told], records: Sequence[bytes]) -> None:
    """It goes on where it stood: nothing is stored or told again, and the next spike is judged by the baselines of before."""
    before, known = len(queue), {told.alert["alert_id"] for told in queue}
    last = json.loads(records[-1])
    at = datetime.fromisoformat(last["timestamp"]) + timedelta(minutes=20)
    spike = last | {"event_id": "after-the-restart", "timestamp": at.isoformat(), "latency_ms": 250_000.0}
    await produce(servers, [json.dumps(spike).encode()])
    await all_stored(sentinel, points, len(records) + 1)
    await all_told(sentinel, queue)
    new = [told.alert for told in queue[before:]]
    assert "latency_spike" in {alert["type"] for alert in new}
    assert {datetime.fromisoformat(alert["started_at"]) for alert in new} == {at}
    assert known.isdisjoint(alert["alert_id"] for alert in new)
    assert await asyncio.to_thread(points.sums) == tokens([*records, json.dumps(spike).encode()])
    assert sentinel.get("/api/v1/ledger")["balanced"]


def check_doctor(sentinel: Any, port: str, warned: Sequence[str] = ()) -> None:
    """`sentinel doctor` finds everything, and nothing that is wrong; what it warns of: the trace is not keyed, so its series is split."""
    done = sentinel.command("doctor", "--json")
    report = json.loads(done.stdout)
    wrong = [finding for finding in report["findings"] if finding["status"] != "ok"]
    assert [(finding["subject"], finding["status"]) for finding in wrong] == [(subject, "warning") for subject in warned], json.dumps(wrong)
    assert (done.returncode, report["status"]) == (0, "warning" if warned else "ok")
    found = {finding["subject"]: finding["what"] for finding in report["findings"]}
    assert port in found["port"]
    assert found.keys() >= {"kafka topic", "influxdb", "redis", "rabbitmq", "webhook", "state database"}


def fault_rates(sentinel: Any, points: Points, faults: Sequence[Fault], start_ns: int) -> dict[FaultKind, tuple[float, float]]:
    """Anomalies of each fault's kind per second: during it, by the API; and in the rest of the time, by what InfluxDB holds."""
    rates = {}
    span_s = (faults[-1].end_ns - start_ns) / 1e9
    for fault in faults:
        measured, kind = DETECTED_BY[fault.kind]
        detector = "cusum" if fault.kind is FaultKind.LATENCY_DRIFT else "zscore"
        during = f"start={rfc3339(fault.start_ns)}&end={rfc3339(fault.end_ns)}"
        answer = sentinel.get(f"/api/v1/anomalies?metric={measured}&detector={detector}&{during}&limit=1000")
        assert {anomaly["type"] for anomaly in answer["anomalies"]} == {kind}
        assert answer["count"] == len(answer["anomalies"]) < 1_000
        (total,) = points.ask(ANOMALIES, f"SELECT count(*) AS n FROM llm_anomalies WHERE metric = '{measured}' AND detector = '{detector}'")
        length_s = (fault.end_ns - fault.start_ns) / 1e9
        rates[fault.kind] = answer["count"] / length_s, (total["n"] - answer["count"]) / (span_s - length_s)
    return rates


def check_told(sentinel: Any, messages: Sequence[Told], receiver: Receiver) -> None:
    """Queue, webhook, API, command line and counters tell the same alerts."""
    for told in messages:
        check_message(told)
    for request in receiver.requests:
        check_request(request)
    check_one_id_each(messages)
    hooks = [json.loads(request.body)["data"] for request in receiver.requests]
    ids = {told.alert["alert_id"] for told in messages}
    assert {told.alert["type"] for told in messages} >= {kind for _, kind in DETECTED_BY.values()}
    assert {alert["alert_id"] for alert in hooks} == ids
    assert sent(sentinel) == {"rabbitmq": {told.id for told in messages}, "webhook": {alert["notification_id"] for alert in hooks}}
    listed = sentinel.get("/api/v1/alerts?limit=1000")["alerts"]
    assert {alert["alert_id"] for alert in listed} == ids
    shown = json.loads(sentinel.command("alerts", "ls", "--json", "--limit", "1000").stdout)
    assert {alert["alert_id"] for alert in shown["alerts"]} == ids
    printed = receiver.printed()
    assert all(any(line.endswith(f"[{alert['notification_id']}]") for line in printed) for alert in hooks)
    text = sentinel.text("/metrics")
    assert metric(text, "sentinel_alerts_sent_total", channel="rabbitmq") == len(messages)
    assert metric(text, "sentinel_rabbitmq_publishes_total") == len(messages)
    assert metric(text, "sentinel_alerts_sent_total", channel="webhook") == len(hooks)
    assert metric(text, "sentinel_webhook_deliveries_total") == len(hooks)


@pytest.mark.slow
async def test_two_replicas_share_the_work(
    servers: Servers, points: Points, make_sentinel: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """One joins, the other leaves, both in the middle: every event is a point once, and nobody is told one thing under two ids."""
    start_ns = 1_768_471_200 * NS
    end_ns = start_ns + 3_600 * NS
    faults = fault_plan(3, start_ns, end_ns, make_fleet().series, kinds=tuple(DETECTED_BY))
    records = Simulator(3, rate=20.0, faults=faults).block(start_ns, end_ns)
    over = asyncio.Event()
    async with bound_queue(servers.rabbitmq, servers.exchange) as queue:
        one, two = make_sentinel(servers.configuration()), make_sentinel(servers.configuration())
        producing = asyncio.create_task(produce_until(servers, over, records))
        one.start()
        await all_stored(one, points, 1_000)
        two.start()
        await asyncio.to_thread(two.wait_for, lambda: halves(one, two), "two partitions each")
        await all_stored(two, points, points.count() + 2_000)
        first = one.get("/api/v1/status")["events_stored"]
        assert await asyncio.to_thread(one.stop) == 0
        over.set()
        records = await producing
        await all_stored(two, points, len(records))
        await all_told(two, queue)
        assert await asyncio.to_thread(points.sums) == tokens(records)
        check_one_id_each(queue)
        check_counts(two, queue)
        await check_repeats(two, servers, points, records)
        assert two.get("/api/v1/ledger")["balanced"]
        assert await asyncio.to_thread(two.stop) == 0
    assert alarms(one) + alarms(two) == []
    repeats = len(queue) - len({told.id for told in queue})
    with capsys.disabled():
        print(f"\n  {len(records)} events, {first} of them by the replica that left; {len(queue)} messages, {repeats} of them repeats")  # noqa: T201  figures people ask for


def halves(one: Any, two: Any) -> bool:
    """Whether each replica has half of the partitions."""
    if two.status_of("/health/ready") != 200:
        return False
    owned = [replica.get("/api/v1/status")["partitions"] for replica in (one, two)]
    return [len(partitions) for partitions in owned] == [PARTITIONS // 2] * 2 and not set(owned[0]) & set(owned[1])


def check_counts(sentinel: Any, queue: Sequence[Told]) -> None:
    """Every telling of every alert came, whoever sent it."""
    assert sent(sentinel) == {"rabbitmq": {told.id for told in queue}}
    for alert in sentinel.get("/api/v1/alerts?limit=1000")["alerts"]:
        ids = {told.id for told in queue if told.alert["alert_id"] == alert["alert_id"]}
        assert len(ids) == alert["notified_count"]


async def check_repeats(sentinel: Any, servers: Servers, points: Points, records: Sequence[bytes]) -> None:
    """Events that a producer sends again, to other partitions, are known by Redis although a replica has stored them that is gone."""
    before = duplicates(sentinel)
    await produce(servers, records[:100], shift=1)
    await asyncio.to_thread(sentinel.wait_for, lambda: duplicates(sentinel) == before + 100, "repeats are known")
    assert await asyncio.to_thread(points.sums) == tokens(records)


def duplicates(sentinel: Any) -> int:
    """Events that a replica has left out."""
    return int(sentinel.get("/api/v1/status")["duplicates"])


async def test_a_reload_changes_who_is_told(rabbitmq: Any, make_sentinel: Any) -> None:
    """Below `alerting.min_severity` nobody is told; lowered in the file, it acts at the next SIGHUP on the daemon that runs."""
    exchange = f"alerts-{uuid4().hex}"
    server = {"url": f"amqp://127.0.0.1:{rabbitmq.port}", "exchange": exchange, "queue": f"{exchange}.all"}
    sentinel = make_sentinel({"alerting": {"event_anomalies": True, "min_severity": "critical", "rabbitmq": server}})
    sentinel.start()
    await asyncio.to_thread(sentinel.wait_ready)
    async with bound_queue(rabbitmq.url, exchange) as queue:
        assert sentinel.post("/api/v1/events", b"\n".join(request(100 + i % 7) for i in range(100))) == 202
        assert sentinel.post("/api/v1/events", request(115)) == 202
        found = sentinel.get("/api/v1/anomalies?metric=latency_ms")["anomalies"]
        assert "warning" in {anomaly["severity"] for anomaly in found} <= {"info", "warning"}
        # Alerts are made before anomalies are stored, so there would be one by now.
        assert sentinel.get("/api/v1/alerts")["count"] == 0
        sentinel.configure({"alerting": {"event_anomalies": True, "min_severity": "warning", "rabbitmq": server}})
        sentinel.reload()
        await asyncio.to_thread(sentinel.wait_for, lambda: reloads(sentinel) == 1, "the configuration is reloaded")
        assert sentinel.post("/api/v1/events", request(115)) == 202
        await all_told(sentinel, queue)
        assert [told.alert["severity"] for told in queue] == ["warning"]
        assert sentinel.stop() == 0


def request(latency_ms: float) -> bytes:
    """An event over HTTP."""
    return json.dumps({"service_name": "chat-api", "model_name": "gpt-4", "latency_ms": latency_ms}).encode()


def reloads(sentinel: Any) -> float:
    """Configurations that were read anew and are in force."""
    return metric(sentinel.text("/metrics"), "sentinel_config_reloads_total", result="applied")
