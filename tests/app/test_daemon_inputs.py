"""Files and standard input: read once each, as they come, and taken up where they were left."""

import asyncio
import os
import sys
from collections.abc import Iterable
from pathlib import Path

import aiohttp
import pytest
from daemon_run import config, event, letters, reading, run_to_the_end, stored, until_stored, write

from sentinel.app.daemon import Daemon
from sentinel.config.schema import (
    Files,
    HttpIngest,
    Ingestion,
    Parsing,
)


async def test_files_are_read_once_each(tmp_path: Path) -> None:
    """Two files: every line has its place; a second run reads nothing twice and goes on with what was appended."""
    first = write(tmp_path / "a.jsonl", [event(i) for i in range(3_000)])
    second = write(tmp_path / "b.jsonl", [event(9_000), b"{broken", event(9_001)])
    settings = config(tmp_path, reading(first, second))
    daemon = await run_to_the_end(settings)
    total = daemon.pipeline.ledger.total()
    assert (total.received, total.stored, total.dead_lettered, total.imbalance) == (3_003, 3_002, 1, 0)
    assert sorted(stored(settings)) == sorted([*(f"e{i}" for i in range(3_000)), "e9000", "e9001"])
    ((topic, offset),) = [(letter["topic"], letter["offset"]) for letter in letters(settings)]
    assert (topic, offset) == (f"file:{second}", 1)
    with first.open("ab") as file:
        file.write(event(3_000) + b"\n" + event(3_001))
    again = (await run_to_the_end(settings)).pipeline.ledger.total()
    assert (again.received, again.stored) == (2, 2)
    assert len(stored(settings)) == 3_004
    assert len(letters(settings)) == 1


async def test_a_line_that_is_too_long_is_rejected_alone(tmp_path: Path) -> None:
    """max_record_bytes: the long line is a dead letter `too_large`, whatever its length; its neighbours are events."""
    long = [event(1, request_id="r" * size) for size in (300, 5_000_000)]
    path = write(tmp_path / "a.jsonl", [event(0), *long, event(2).ljust(256), event(3).ljust(257)])
    settings = config(tmp_path, reading(path, parsing=Parsing(max_record_bytes=256)))
    await run_to_the_end(settings)
    assert stored(settings) == ["e0", "e2"]
    assert [(letter["code"], letter["offset"]) for letter in letters(settings)] == [("too_large", 1), ("too_large", 2), ("too_large", 4)]


async def test_a_file_that_shrank_gives_nothing(tmp_path: Path) -> None:
    """A shorter file than what was stored of it: nothing is read twice, and the run ends well."""
    path = write(tmp_path / "a.jsonl", [event(i) for i in range(10)])
    settings = config(tmp_path, reading(path))
    await run_to_the_end(settings)
    write(path, [event(100)])
    assert (await run_to_the_end(settings)).pipeline.ledger.total().received == 0
    assert len(stored(settings)) == 10


async def test_without_exit_at_end_the_daemon_goes_on_serving(tmp_path: Path) -> None:
    """Files read and no other source: queries are answered until it is told to stop."""
    path = write(tmp_path / "a.jsonl", [event(0)])
    ingestion = Ingestion(files=Files(paths=[str(path)]), http=HttpIngest(enabled=False))
    settings = config(tmp_path, ingestion)
    daemon = Daemon(settings)
    await daemon.start()
    serving = asyncio.create_task(daemon.serve())
    await until_stored(settings, ["e0"])
    async with asyncio.timeout(20):
        while any(task.get_name() == "read" for task in asyncio.all_tasks()):  # noqa: ASYNC110  the end of reading has no other sign
            await asyncio.sleep(0)
    assert not serving.done()
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{daemon.server.port}/health/ready") as answer:
        assert answer.status == 200
    daemon.stop()
    await serving
    await daemon.close()


@pytest.fixture
def standard_input(monkeypatch: pytest.MonkeyPatch) -> Iterable[int]:
    """A pipe in the place of standard input: its writing end."""
    reader, writer = os.pipe()
    with os.fdopen(reader) as file:
        monkeypatch.setattr(sys, "stdin", file)
        yield writer


async def test_standard_input_is_taken_as_it_comes(tmp_path: Path, standard_input: int) -> None:
    """A line is an event as soon as it is whole, not when a block is full; the end of the input ends the run."""
    settings = config(tmp_path, reading("-"))
    daemon = Daemon(settings)
    await daemon.start()
    serving = asyncio.create_task(daemon.serve())
    os.write(standard_input, event(0) + b"\n" + event(1)[:20])
    await until_stored(settings, ["e0"])
    os.write(standard_input, event(1)[20:])
    os.close(standard_input)
    await serving
    await daemon.close()
    assert stored(settings) == ["e0", "e1"]


async def test_standard_input_goes_on_where_the_last_one_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs with different inputs (here files): all lines of both, none in the place of another."""
    settings = config(tmp_path, reading("-"))
    for number in (0, 1):
        with write(tmp_path / f"{number}.jsonl", [event(number * 10 + i) for i in range(3)]).open() as file:
            monkeypatch.setattr(sys, "stdin", file)
            await run_to_the_end(settings)
    assert stored(settings) == ["e0", "e1", "e2", "e10", "e11", "e12"]


async def test_a_silent_standard_input_does_not_hold_up_the_stop(tmp_path: Path, standard_input: int) -> None:
    """Nothing ever comes: told to stop, the daemon ends at once."""
    daemon = Daemon(config(tmp_path, reading("-")))
    await daemon.start()
    serving = asyncio.create_task(daemon.serve())
    await asyncio.sleep(0)
    daemon.stop()
    await serving
    await daemon.close()
    os.close(standard_input)
