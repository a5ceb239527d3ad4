"""R26: one daemon for a long time under steady traffic, with mild trouble now and then: `make soak`."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any
from uuid import uuid4

import chaos_traffic
import pytest
import soak_page
from chaos_replica import Replica
from chaos_report import FILE, report
from chaos_topic import dead_letters
from chaos_world import PARTITIONS
from fault_alerts import StateRows
from fault_points import FaultyPoints
from fault_queue import Queue
from fault_traffic import until
from infrastructure import Servers
from soak_samples import Sample, growth, look, metrics_of, slope, stall_s

MINUTES = float(os.environ.get("SOAK_MINUTES", "0"))
RATE = float(os.environ.get("SOAK_RATE", "3000"))
"""Events a second."""
WARM_UP_MINUTES = float(os.environ.get("SOAK_WARM_UP_MINUTES", min(10.0, MINUTES / 3)))
"""So long windows and remembered ids fill up; memory is judged from then on."""
LOOK_EVERY_S = 2.0
TROUBLE_EVERY_S = min(120.0, max(12.0, MINUTES * 60 / 10))
STORE_AWAY_S, REDIS_AWAY_S, LONGEST_TROUBLE_S = 5.0, 10.0, 20.0
PAGE = FILE.with_name("soak.html")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not MINUTES, reason="make soak runs it")]

Trouble = tuple[str, Callable[[], Awaitable[object]]]


@dataclass
class Soak:
    """What was seen, and what was done meanwhile.

    Attributes:
        began: monotonic, in seconds.
        troubles: when, in seconds since then, and what.
    """

    replica: Replica
    began: float = field(default_factory=time.monotonic)
    began_ns: int = field(default_factory=time.time_ns)
    samples: list[Sample] = field(default_factory=list)
    troubles: list[soak_page.Trouble] = field(default_factory=list)

    @property
    def now_s(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self.began

    async def watch(self) -> None:
        """Look until cancelled."""
        while True:
            self.samples.append(await asyncio.to_thread(look, self.replica, self.now_s))
            await asyncio.sleep(LOOK_EVERY_S)

    async def last(self, troubles: Sequence[Trouble]) -> None:
        """Make one trouble after the other, the last early enough to be over at the end."""
        for what, trouble in cycle(troubles):
            if self.now_s + TROUBLE_EVERY_S + LONGEST_TROUBLE_S > MINUTES * 60:
                break
            await asyncio.sleep(TROUBLE_EVERY_S)
            self.troubles.append((self.now_s, what))
            await trouble()
        await asyncio.sleep(max(0.0, MINUTES * 60 - self.now_s))

    def figures(self) -> Iterator[str]:
        """Each with its aim."""
        warm = [sample for sample in self.samples if sample.at_s >= WARM_UP_MINUTES * 60]
        rise = slope([sample.at_s for sample in warm], [sample.rss_mb for sample in warm])
        yield _held("RSS", f"{rise.per_h:+.2f} MiB/h, standard error {rise.error:.2f}", rise.per_h, 1.0, "MiB/h")
        yield f"RSS {warm[0].rss_mb:.0f} MiB after {WARM_UP_MINUTES:g} min, {warm[-1].rss_mb:.0f} MiB at the end"
        for what, values in (("open files", [sample.fds for sample in warm]), ("tasks", [sample.tasks for sample in warm])):
            more = growth(values)
            yield _held(what, f"{min(values)} to {max(values)}, {more:+g} in the last quarter", more, 2, "more")
        for name, share, aim_s in (("p99", 0.99, 0.05), ("max", 1.0, 0.25)):
            seen = stall_s(warm[0], warm[-1], share)
            yield _held(f"event loop lag {name}", f"at most {seen * 1e3:g} ms", seen * 1e3, aim_s * 1e3, "ms")
        yield f"most in the topic {max(sample.lag for sample in warm):,}, in the outbox {max(sample.waiting for sample in warm):,}"
        yield f"longest silence of a canary {max(sample.silence_s for sample in warm):.1f} s"


async def test_soak(kafka: Any, topic: Any, own_rabbitmq: Any, own_redis: Any, tmp_path: Path) -> None:
    """R26: whatever its servers do now and then, nothing is lost or stored twice; memory, files, tasks and the loop are told."""
    queue = Queue(own_rabbitmq.url, f"alerts-{uuid4().hex}")
    await queue.bind()
    points = FaultyPoints(tmp_path, "--max-points", str(int(MINUTES * 60 * RATE * 1.5) + 1_000_000))
    points.start()
    servers = Servers(kafka.bootstrap, await topic(PARTITIONS), points, own_redis.url, "", own_rabbitmq.url, tmp_path)
    replica = Replica(tmp_path, _settings(servers, queue))
    try:
        replica.start()
        await asyncio.to_thread(replica.wait_ready)
        soak = Soak(replica)
        async with chaos_traffic.flowing(kafka.bootstrap, servers.topic, rate=RATE, seed=26) as traffic:
            troubles = (
                ("the store answers 503", lambda: _store_away(points)),
                ("RabbitMQ cuts its connections", lambda: asyncio.to_thread(own_rabbitmq.ctl, "close_all_connections", "soak")),
                ("Redis is away", lambda: _away(own_redis, REDIS_AWAY_S)),
                ("reload", lambda: asyncio.to_thread(replica.reload)),
                ("RabbitMQ restarts", lambda: _away(own_rabbitmq, 0.0)),
            )
            async with _running(soak.watch()):
                await soak.last(troubles)
        await _drained(replica, traffic.sent)
        figures = [*soak.figures(), await asyncio.to_thread(_canaries, replica)]
        wrong = await _wrong(replica, points, servers, traffic)
        figures.append(_accounts(soak, traffic, wrong))
        soak_page.write(PAGE, soak.samples, soak.troubles, figures, soak.began_ns)
        for figure in figures:
            report("R26", figure)
        assert not wrong, replica.log()
        assert await asyncio.to_thread(replica.stop) == 0
    finally:
        if replica.running:
            replica.kill()
        points.stop()


def _settings(servers: Servers, queue: Queue) -> dict[str, Any]:
    """As shipped, but for where everything is, canaries, and its state in SQLite."""
    made = servers.configuration(rabbitmq=queue.section())
    del made["state"]
    made["ingestion"]["kafka"]["group_instance_id"] = "soak"
    return made | {"canary": {"enabled": True, "interval_secs": 5.0, "silence_secs": 60.0}}


async def _store_away(points: FaultyPoints) -> None:
    await asyncio.to_thread(points.fault, status=503, seconds=STORE_AWAY_S)


async def _away(server: Any, seconds: float) -> None:
    await asyncio.to_thread(server.stop)
    await asyncio.sleep(seconds)
    await asyncio.to_thread(server.start)


@asynccontextmanager
async def _running(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Aside, while the block runs; what it raises, the block's end raises."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _drained(replica: Replica, sent: int) -> None:
    """Everything that was sent has its place, and everybody was told."""

    def done() -> bool:
        ledger = replica.get("/api/v1/ledger")["partitions"]
        read = sum(account["received"] - account["filtered"] for account in ledger)
        waiting = sum(account["in_flight"] for account in ledger)
        return bool(read >= sent and not waiting and not StateRows.beside(replica).waiting())

    await until(lambda: asyncio.to_thread(done), "everything has its place", 300.0)


async def _wrong(replica: Replica, points: FaultyPoints, servers: Servers, traffic: chaos_traffic.Spoiled) -> list[str]:
    """Promises that were broken."""
    good = traffic.sent - traffic.poisoned - traffic.repeated
    letters = await dead_letters(servers.brokers, f"{servers.topic}.dlq")
    stored = await asyncio.to_thread(points.sums)
    ledger = await asyncio.to_thread(replica.get, "/api/v1/ledger")
    held = {
        f"{stored['events']:,} points, not {good:,}": stored["events"] == good,
        f"{stored['ids']:,} events, not {good:,}": stored["ids"] == good,
        f"{len(letters):,} dead letters, not {traffic.poisoned:,}": len(letters) == traffic.poisoned,
        f"{letters.total() - len(letters):,} dead letters twice": letters.total() == len(letters),
        "the ledger is not balanced": ledger["balanced"],
    }
    return [what for what, is_so in held.items() if not is_so]


def _canaries(replica: Replica) -> str:
    found = metrics_of(replica)
    results, looks = found["sentinel_canaries_total"], found["sentinel_canary_seconds_bucket"]
    p99 = next(float(le) for le, count in looks.items() if count >= 0.99 * looks["+Inf"])
    return f"canaries: {', '.join(f'{count:.0f} {result}' for result, count in results.items())}; p99 at most {p99:g} s"


def _accounts(soak: Soak, traffic: chaos_traffic.Spoiled, wrong: Sequence[str]) -> str:
    good = traffic.sent - traffic.poisoned - traffic.repeated
    return (
        f"{MINUTES:g} min at {traffic.sent / (MINUTES * 60):,.0f} records/s, {len(soak.troubles)} troubles: {traffic.sent:,} records = "
        f"{good:,} stored once + {traffic.poisoned:,} dead letters + {traffic.repeated:,} repeats; {len(wrong)} wrong {' '.join(wrong)}"
    )


def _held(what: str, figure: str, value: float, aim: float, unit: str) -> str:
    """A figure, its aim, and whether it was reached."""
    return f"{what} {figure}; aim <= {aim:g} {unit}: {'reached' if value <= aim else 'MISSED'}"
