"""One replica of a consumer group, which reads its share of a full topic; the figures are of its process alone.

    python -m bench.replica BOOTSTRAP TOPIC GROUP EVENTS_PER_PARTITION PARTITIONS STATE_URL SIGN

It says so once it has joined and has its share of the partitions, begins when the file SIGN is there, and ends when its share is stored. It
is a whole daemon with default settings; its SQLite file is its own, and the state database is everybody's.
"""

import argparse
import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import uvloop

from bench.consumers import until_stored
from bench.processes import BenchError, rss_mb, tell
from sentinel.app import memory
from sentinel.app.daemon import Daemon
from sentinel.config.schema import Api, Config, Ingestion, Kafka, Observability, Privacy, StateDatabase
from sentinel.config.secret import Secret
from sentinel.observability.logs import configure

PATIENCE_S: Final = 60.0


def configuration(options: argparse.Namespace, state: str) -> Config:
    """Defaults, but for where everything is and what replicas share."""
    server = urlsplit(options.state_url)
    kafka = Kafka(brokers=[options.bootstrap], topic=options.topic, group_id=options.group, auto_offset_reset="earliest")
    return Config(
        state_dir=state,
        api=Api(bind_addr="127.0.0.1:0"),
        ingestion=Ingestion(kafka=kafka),
        privacy=Privacy(pseudonym_key=Secret("k" * 32)),
        state=StateDatabase(url=f"postgresql://{server.hostname}:{server.port}{server.path}", username=server.username, tls="off"),
        observability=Observability(log_level="error"),
    )


async def share(options: argparse.Namespace) -> dict[str, Any]:
    """Join, wait for the sign, and read. Raises BenchError when the partitions are not divided evenly."""
    configure("error", as_json=True)
    memory.separate_large_blocks()
    with tempfile.TemporaryDirectory(prefix="sentinel-bench-") as state:
        daemon = Daemon(configuration(options, state))
        await daemon.start()
        memory.settle()
        await until(lambda: len(daemon.pipeline.shards) == options.partitions)
        tell({"settled": True})
        await until(options.sign.exists)
        mine = len(daemon.pipeline.shards)
        if mine != options.partitions:
            raise BenchError(f"this replica has {mine} partitions instead of {options.partitions}")
        serving = asyncio.create_task(daemon.serve())
        figures = await until_stored(daemon, serving, mine * options.events)
        daemon.stop()
        await serving
        await daemon.close()
    return figures | {"rss_mb": rss_mb()}


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that comes about aside. Raises TimeoutError."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110  the coordinator's and another process's doing
            await asyncio.sleep(0.05)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("bootstrap")
    parser.add_argument("topic")
    parser.add_argument("group")
    parser.add_argument("events", type=int, help="in each partition")
    parser.add_argument("partitions", type=int, help="this replica's share")
    parser.add_argument("state_url")
    parser.add_argument("sign", type=Path)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        tell(runner.run(share(parser.parse_args())))


if __name__ == "__main__":
    main()
