"""The daemon with one of its steps made to fail: an entry point for tests alone, the product knows nothing of it.

    failing_daemon.py die STEP before|after N RECORD run --config FILE

The process ends by `os._exit` just before or after the N-th time it comes to a step, and says so in the file RECORD, so that a run whose
step was never reached is not taken for one that went well.

    failing_daemon.py hold STEP FILE run --config FILE

The step fails with what a retry may mend, as long as FILE exists.
"""

import asyncio
import functools
import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

DEAD = 77
"""Exit code of a process that died where it was told to."""
STEPS = {
    "read": "sentinel.ingestion.kafka:KafkaSource._release",
    "process": "sentinel.pipeline.middle:Middle.process",
    "look up shared ids": "sentinel.storage.shared_ids:SharedRecentIds.unseen",
    "write group": "sentinel.pipeline.deliver:GroupWriter.write",
    "write dead letters": "sentinel.ingestion.dead_letter:KafkaDeadLetters.write",
    "write alerts": "sentinel.alerting.intake:AlertIntake.write",
    "write to the store": "sentinel.storage.influx:InfluxStore.write",
    "write points": "sentinel.storage.influx_writer:InfluxWriter._send_one",
    "move positions": "sentinel.storage.influx_writer:InfluxWriter._move_positions",
    "remember shared ids": "sentinel.storage.shared_ids:SharedRecentIds.remember",
    "ack": "sentinel.ingestion.kafka:KafkaSource.ack",
    "commit": "aiokafka:AIOKafkaConsumer.commit",
    "copy state": "sentinel.pipeline.shard:Shard.encode",
    "put checkpoint": "sentinel.storage.checkpoints:DirectoryCheckpoints.put",
    "sync checkpoint": "sentinel.storage.checkpoints:_write_synced",
    "sync directory": "sentinel.storage.checkpoints:_sync",
    "delete checkpoint": "sentinel.storage.checkpoints:DirectoryCheckpoints.delete",
    "take from outbox": "sentinel.state.outbox:StateOutbox.due",
    "send alert": "sentinel.alerting.rabbitmq:RabbitMQ.send",
    "mark as sent": "sentinel.state.outbox:StateOutbox.sent",
    "take up partition": "sentinel.pipeline.run:Pipeline.assigned",
    "read position": "sentinel.storage.influx:InfluxStore.position",
    "read checkpoint": "sentinel.storage.checkpoints:DirectoryCheckpoints.get",
    "give up partition": "sentinel.pipeline.run:Pipeline.revoked",
    "save at the stop": "sentinel.pipeline.run:Pipeline._save",
    "leave the group": "sentinel.ingestion.kafka_group:Group.leave",
}
"""Where each step is: module, then class and method, or function."""
AT_STOP = ("save at the stop", "leave the group")
"""Steps that only come when it is told to stop."""
AT_REBALANCE = ("give up partition",)
"""Steps that only come when another replica joins."""


def wrap(step: str, around: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Put something around a step, in this process."""
    module, _, path = STEPS[step].partition(":")
    owner: Any = importlib.import_module(module)
    *outer, name = path.split(".")
    for part in outer:
        owner = getattr(owner, part)
    setattr(owner, name, around(getattr(owner, name)))


def deadly(step: str, when: str, nth: int, record: Path) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """What makes the n-th call of a step the last thing this process does."""
    calls = 0

    def at(moment: str) -> None:
        nonlocal calls
        calls += moment == "before"
        if moment == when and calls >= nth:
            record.write_text(f"{when} {step}")
            os._exit(DEAD)

    def around(inner: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(inner)
        async def later(*args: Any, **options: Any) -> Any:
            at("before")
            outcome = await inner(*args, **options)
            at("after")
            return outcome

        @functools.wraps(inner)
        def now(*args: Any, **options: Any) -> Any:
            at("before")
            outcome = inner(*args, **options)
            at("after")
            return outcome

        return later if asyncio.iscoroutinefunction(inner) else now

    return around


def held(step: str, file: Path) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """What makes a step fail as long as a file exists."""
    from sentinel.core.errors import RetryableError

    def refuse() -> None:
        if file.exists():
            raise RetryableError(f"{step}: told to fail")

    def around(inner: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(inner)
        async def later(*args: Any, **options: Any) -> Any:
            refuse()
            return await inner(*args, **options)

        return later

    return around


def main(words: list[str]) -> int:
    """Run the daemon, with a step that fails."""
    # Before numpy is imported, as the product does it.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from sentinel.cli.main import main as sentinel

    if words[0] == "die":
        _, step, when, nth, record, *rest = words
        wrap(step, deadly(step, when, int(nth), Path(record)))
    else:
        _, step, file, *rest = words
        wrap(step, held(step, Path(file)))
    return sentinel(rest)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
