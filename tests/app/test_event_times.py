"""Times of events as producers have them: equal, mixed up, hours late, an hour ahead."""

import random
from pathlib import Path

from daemon_run import EVER, config, event, running

from sentinel.core.query import TelemetryQuery
from sentinel.core.timestamp import rfc3339

AT_ONCE = 1_000
HOUR_NS = 3_600 * 10**9


async def test_every_event_is_stored_whatever_its_time(tmp_path: Path) -> None:
    """A thousand of one series in one millisecond, others up to a day late in any order: all there with their times; one from the
    future is there too, with the time of the log and a flag.
    """
    async with running(config(tmp_path)) as daemon:
        assert daemon.context.ingest is not None
        now_ns = daemon.clock.now_ns() // 10**6 * 10**6
        times = [now_ns] * AT_ONCE + [now_ns - hours * HOUR_NS for hours in range(1, 24)] + [now_ns + HOUR_NS]
        records = [event(i, timestamp=rfc3339(ts_ns)) for i, ts_ns in enumerate(times)]
        random.Random(23).shuffle(records)  # noqa: S311  a test's dice
        await daemon.context.ingest.submit(records)
        found = {}
        cursor = None
        while True:
            page = await daemon.store.telemetry(TelemetryQuery(range=EVER, limit=500, cursor=cursor))
            found |= {item["event_id"]: item for item in page.items}
            cursor = page.next_cursor
            if cursor is None:
                break
    assert len(found) == len(times)
    future = found.pop(f"e{len(times) - 1}")
    assert {name: item["timestamp"] for name, item in found.items()} == {f"e{i}": rfc3339(ts_ns) for i, ts_ns in enumerate(times[:-1])}
    assert "timestamp_future" in future["flags"]
    assert future["timestamp"] < rfc3339(now_ns + HOUR_NS // 2)
