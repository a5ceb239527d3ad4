"""What the supervisor hears, on a real socket."""

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sentinel.app.notify import Notifier, beat
from sentinel.testing.fakes import ManualClock


@pytest.fixture(params=["path", "abstract"])
def supervisor(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """A listening datagram socket and its address as NOTIFY_SOCKET has it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        address = str(tmp_path / "notify") if request.param == "path" else f"@sentinel-{os.getpid()}-{time.monotonic_ns()}"
        listener.bind(address.replace("@", "\0", 1) if request.param == "abstract" else address)
        listener.setblocking(False)
        yield address, listener


def heard(listener: socket.socket) -> list[list[str]]:
    """Every datagram so far, as its lines."""
    found = []
    while True:
        try:
            found.append(listener.recv(4_096).decode().split("\n"))
        except BlockingIOError:
            return found


def test_the_life_of_a_service(supervisor: tuple[str, socket.socket]) -> None:
    """Steps of the start ask for time, then READY, RELOADING with its time, READY again, STOPPING: as systemd expects them."""
    address, listener = supervisor
    notifier = Notifier.of({"NOTIFY_SOCKET": address})
    before = time.monotonic_ns() // 1_000
    notifier.starting("opening the store")
    notifier.ready("stored 0 events")
    notifier.reloading()
    notifier.ready("stored 1 events")
    notifier.stopping("stopping")
    starting, ready, reloading, again, stopping = heard(listener)
    assert starting[0] == "STATUS=starting: opening the store"
    assert starting[1].startswith("EXTEND_TIMEOUT_USEC=")
    assert ready == ["READY=1", "STATUS=stored 0 events"]
    assert reloading[0] == "RELOADING=1"
    assert before <= int(reloading[1].removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1_000
    assert again[0] == "READY=1"
    assert stopping == ["STOPPING=1", "STATUS=stopping"]


def test_a_status_is_one_line(supervisor: tuple[str, socket.socket]) -> None:
    """Line ends and control characters in a reason cannot forge another assignment; long ones are cut."""
    address, listener = supervisor
    Notifier(address).status("a\nREADY=1\x1b[31m" + "x" * 10_000)
    ((line,),) = heard(listener)
    assert line.startswith("STATUS=a READY=1 [31mx")
    assert len(line) < 600


def test_without_a_socket_nothing_happens() -> None:
    """Started by hand: every call is harmless, and no watchdog is fed."""
    notifier = Notifier.of({"WATCHDOG_USEC": "1000000"})
    notifier.ready("x")
    notifier.alive()
    assert (notifier.enabled, notifier.watchdog_s) == (False, None)


@pytest.mark.parametrize("address", ["vsock:2:1234", "relative"])
def test_an_address_of_another_kind_is_left_alone(address: str) -> None:
    """What is no unix socket is not written to."""
    assert not Notifier(address).enabled


def test_a_supervisor_that_is_gone_stops_nothing(tmp_path: Path) -> None:
    """The socket does not exist: told once, then given up."""
    notifier = Notifier(str(tmp_path / "nobody"))
    notifier.ready("x")
    assert not notifier.enabled


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_the_one_meant_for_us(env: dict[str, str], expected: float | None) -> None:
    """WATCHDOG_USEC counts when WATCHDOG_PID is ours or absent."""
    assert Notifier.of({"NOTIFY_SOCKET": "@x", **env}).watchdog_s == expected


async def test_the_watchdog_is_fed_only_while_work_moves(supervisor: tuple[str, socket.socket]) -> None:
    """Twice in its interval; a stall silences it and becomes the status; once work moves it is fed again."""
    address, listener = supervisor
    clock = ManualClock()
    stalled: list[str] = []
    beating = asyncio.create_task(beat(Notifier(address, 4.0), clock, lambda: stalled, lambda: "stored 7 events"))
    while len(clock.slept) < 2:  # noqa: ASYNC110  the clock does not wait
        await asyncio.sleep(0)
    moving = heard(listener)
    stalled.append("no progress for 60 s")
    turns = len(clock.slept)
    while len(clock.slept) < turns + 3:  # noqa: ASYNC110  as above
        await asyncio.sleep(0)
    still = heard(listener)
    stalled.clear()
    while ["WATCHDOG=1"] not in heard(listener):  # noqa: ASYNC110  as above
        await asyncio.sleep(0)
    beating.cancel()
    assert ["WATCHDOG=1"] in moving
    assert ["STATUS=stored 7 events"] in moving
    assert set(clock.slept) == {2.0}
    assert still[-1] == ["STATUS=no progress for 60 s"]
    assert ["WATCHDOG=1"] not in still[1:]
