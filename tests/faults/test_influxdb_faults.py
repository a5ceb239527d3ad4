"""InfluxDB down, refusing us, refusing points, losing replies, under load from Kafka: nothing lost, nothing doubled, memory bounded."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fault_points import FaultyPoints
from fault_traffic import POISON, Known, configuration, dead_letters, flowing, until
from fault_watch import MIB, Watched, look, watching
from infrastructure import TOKEN

from tests.e2e.conftest import Sentinel

pytestmark = pytest.mark.slow

RATE = 1_500.0
QUEUE_MAX_BYTES = MIB // 2
LARGEST_DELIVERY_BYTES = 500 * 1_024
"""`max_poll_records` records, each well below a kibibyte."""
LARGEST_GROWTH = 32 * MIB
"""Resident memory that a fault may cost at most: what waits, as columns, and what the Kafka client has fetched before it is paused."""
WARM_UP_EVENTS = 3_000

Topic = Callable[[int], Awaitable[str]]


class Scene:
    """A daemon between Kafka and the double, with traffic on its way."""

    def __init__(self, sentinel: Sentinel, known: Known, points: FaultyPoints) -> None:
        self.sentinel = sentinel
        self.known = known
        self.points = points

    async def settled(self) -> bool:
        """Whether everything that was sent is stored or dead-lettered."""
        status = await asyncio.to_thread(self.sentinel.get, "/api/v1/status")
        return bool(status["events_received"] == self.known.sent and not status["in_flight"])


@pytest.fixture
def scene(kafka: Any, topic: Topic, points: FaultyPoints, make_sentinel: Any, tmp_path: Any) -> Callable[..., Any]:
    """What makes a scene; when its block ends, the traffic does, and everything must be where it belongs."""

    @asynccontextmanager
    async def made(**traffic: Any) -> AsyncIterator[Scene]:
        name = await topic(4)
        token = tmp_path / "token"
        token.write_text(TOKEN)
        token.chmod(0o600)
        influx = {"url": points.url, "token_file": str(token), "batch_size": 1_000}
        pipeline = {"queue_max_bytes": QUEUE_MAX_BYTES}
        sentinel = make_sentinel(configuration(kafka.bootstrap, name, storage={"influxdb": influx}, pipeline=pipeline))
        sentinel.start()
        await asyncio.to_thread(sentinel.wait_ready)
        async with flowing(kafka.bootstrap, name, rate=RATE, **traffic) as known:
            scene = Scene(sentinel, known, points)
            await until(lambda: known.sent > WARM_UP_EVENTS, "traffic")
            await until(lambda: asyncio.to_thread(lambda: points.count() > WARM_UP_EVENTS / 2), "events are stored")
            yield scene
        await until(scene.settled, "everything is stored or dead-lettered", 300.0)
        await asyncio.to_thread(_ends_well, scene)
        codes = Counter((await dead_letters(kafka.bootstrap, name)).values())
        assert codes == +Counter({"malformed_json": scene.known.bad, "refused_by_store": scene.known.poisoned})

    return made


def _ends_well(scene: Scene) -> None:
    """Ready, the ledger balanced, everything at the double once, the rest dead letters, and an end in order."""
    sentinel, known, points = scene.sentinel, scene.known, scene.points
    last = look(sentinel)
    assert not last.reasons
    assert not last.status["paused"]
    assert sentinel.get("/api/v1/ledger")["balanced"]
    assert points.sums() == known.sums()
    assert last.status["dead_letters"] == known.bad + known.poisoned
    assert last.status["events_stored"] == len(known.good)
    assert sentinel.stop() == 0


def _memory_is_bounded(watched: Watched, fault_s: float) -> None:
    """What waits is bounded by the configuration, the sources are paused, and the process does not grow."""
    grown, queue = watched.grew("rss_bytes"), watched.largest("queue_bytes")
    print(f"{fault_s:g} s: memory {watched.looks[0].status['rss_bytes'] / MIB:.0f} MiB + {grown / MIB:.1f}, queue {queue:,} bytes")  # noqa: T201
    assert watched.was_paused()
    assert queue <= QUEUE_MAX_BYTES + LARGEST_DELIVERY_BYTES
    assert grown <= LARGEST_GROWTH


async def test_down(scene: Any, fault_s: float) -> None:
    """While it is down the daemon says so, reads no more than it may keep, and afterwards stores all of it once."""
    async with scene() as made:
        await asyncio.to_thread(made.points.fault, down_s=fault_s)
        async with watching(made.sentinel) as watched:
            await asyncio.sleep(fault_s - 0.5)
        assert watched.unready_since("store: cannot reach")
        _memory_is_bounded(watched, fault_s)


async def test_wrong_credentials(scene: Any, fault_s: float) -> None:
    """While it answers 401 nothing is given up, the reason names the cure, and it is asked less than once a second."""
    async with scene() as made:
        await asyncio.to_thread(made.points.fault, status=401, seconds=fault_s)
        before = await asyncio.to_thread(made.points.write_requests)
        async with watching(made.sentinel) as watched:
            await asyncio.sleep(fault_s - 0.5)
        tries = await asyncio.to_thread(made.points.write_requests) - before
        print(f"{tries} requests")  # noqa: T201
        assert tries <= fault_s + 4  # the first try may be several requests at once
        assert watched.unready_since("refuses our credentials (401): set storage.influxdb.token")
        _memory_is_bounded(watched, fault_s)


async def test_points_that_are_refused_for_good(scene: Any, points: FaultyPoints, fault_s: float) -> None:
    """One event in 5,000 becomes a dead letter with its code; all others are stored, and nothing is held up."""
    await asyncio.to_thread(points.fault, refuse_containing=f'event_id="{POISON}')
    async with scene(poison_every=5_000) as made:
        async with watching(made.sentinel) as watched:
            await asyncio.sleep(fault_s)
        assert watched.always_ready()
        assert made.known.poisoned > 0


async def test_lost_replies(scene: Any, fault_s: float) -> None:
    """When every fifth write is applied and its reply lost, it is sent again and nothing is doubled."""
    async with scene() as made:
        await asyncio.to_thread(made.points.fault, lose_every=5)
        await asyncio.sleep(fault_s)
        await asyncio.to_thread(made.points.fault)
        assert await asyncio.to_thread(lambda: made.points.points_received() > made.points.stored())
