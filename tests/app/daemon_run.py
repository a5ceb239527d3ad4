"""What the tests of the daemon share: configurations, inputs, runs, and a look at what is on disk."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sentinel.app.daemon import Daemon
from sentinel.config.schema import (
    Api,
    Config,
    Files,
    Ingestion,
)
from sentinel.core.errors import StartupError
from sentinel.core.query import TimeRange
from sentinel.storage.checkpoints import DirectoryCheckpoints

EVER = TimeRange(0, 2**63 - 1)


def event(i: int, **more: object) -> bytes:
    """Event number i."""
    fields = {"event_id": f"e{i}", "service_name": "chat", "model_name": "m", "latency_ms": 100 + i % 7}
    return json.dumps(fields | more).encode()


def config(path: Path, ingestion: Ingestion | None = None, **more: Any) -> Config:
    """A configuration with its state in `path` and any free port."""
    return Config(state_dir=str(path / "state"), ingestion=ingestion or Ingestion(), **{"api": Api(bind_addr="127.0.0.1:0"), **more})


def reading(*paths: Path | str, **more: Any) -> Ingestion:
    """Read files and end."""
    return Ingestion(files=Files(paths=[str(path) for path in paths], exit_at_end=True), **more)


def write(path: Path, records: Iterable[bytes]) -> Path:
    """A file with these lines."""
    path.write_bytes(b"".join(record + b"\n" for record in records))
    return path


async def run_to_the_end(settings: Config) -> Daemon:
    """Start, serve until the inputs end, close."""
    daemon = Daemon(settings)
    await daemon.start()
    await daemon.serve()
    await daemon.close()
    return daemon


@asynccontextmanager
async def running(settings: Config) -> AsyncIterator[Daemon]:
    """A daemon that serves until the block ends."""
    daemon = Daemon(settings)
    await daemon.start()
    serving = asyncio.create_task(daemon.serve())
    yield daemon
    daemon.stop()
    await serving
    await daemon.close()


def stored(settings: Config) -> list[str]:
    """Event ids in the database file."""
    connection = sqlite3.connect(f"file:{Path(settings.state_dir) / 'sentinel.db'}?mode=ro", uri=True)
    try:
        return [row[0] for row in connection.execute("SELECT event_id FROM events ORDER BY part, off, sub")]
    finally:
        connection.close()


def letters(settings: Config) -> list[dict[str, Any]]:
    """The dead letters on disk."""
    return [json.loads(line) for line in (Path(settings.state_dir) / "dead-letters.jsonl").read_text().splitlines()]


def saved(path: Path) -> Sequence[str]:
    """Keys of the checkpoints in a directory."""
    return DirectoryCheckpoints(path).list("")


def names(path: Path) -> list[str]:
    """What lies in a directory."""
    return [entry.name for entry in path.iterdir()]


async def until_stored(settings: Config, ids: list[str]) -> None:
    """Wait until exactly these are in the file."""
    async with asyncio.timeout(20):
        while stored(settings) != ids:  # noqa: ASYNC110  another thread's commit is only seen in the file
            await asyncio.sleep(0)


async def refused(settings: Config) -> str:
    """Why a daemon with this configuration does not start; everything it opened is closed again."""
    with pytest.raises(StartupError) as error:
        await Daemon(settings).start()
    return str(error.value)
