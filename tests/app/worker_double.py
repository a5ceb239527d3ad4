"""A supervisor of scripted workers, and such a worker: each is this file run as a process.

    python worker_double.py supervise COUNT     the real supervisor, of workers that are this file
    python worker_double.py work NUMBER         a worker; SCRIPT_N in the environment says what the Nth does

Scripts: `serve` is ready and waits, `refuse` ends with 1 before it is ready, `die` ends with 7 once it is ready, `die_once` does so the
first time, `hang` is ready and never says anything again, `deaf` does not stop when told to. The supervisor's waits take a tenth.
"""

import asyncio
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from sentinel.app.clock import SystemClock
from sentinel.app.notify import Notifier
from sentinel.app.workers import WorkerError, Workers
from sentinel.observability import logs


class QuickClock(SystemClock):
    """The machine's clock, but waits take a tenth."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds / 10)


def main() -> None:
    """The command line."""
    if sys.argv[1] == "work":
        work(int(sys.argv[2]))
    logs.configure("info", as_json=True)
    try:
        with tempfile.TemporaryDirectory() as directory:
            asyncio.run(Workers(command, int(sys.argv[2]), os.environ, Path(directory), QuickClock()).run())
    except WorkerError as error:
        sys.exit(f"sentinel: {error}")


def command(number: int) -> list[str]:
    """A worker's command line."""
    return [sys.executable, __file__, "work", str(number)]


def work(number: int) -> None:
    """Play the worker until told to stop."""
    script = os.environ.get(f"SCRIPT_{number}", "serve")
    signal.signal(signal.SIGHUP, lambda *_: tell(number, "reloaded"))
    notifier = Notifier.of(os.environ)
    notifier.starting("playing")
    if script == "refuse":
        sys.exit(1)
    tell(number, f"ready pid={os.getpid()}")
    notifier.ready("serving")
    once = Path(os.environ.get("NOTES", ".")) / f"died-{number}"
    if script == "die" or (script == "die_once" and not once.exists()):
        if script == "die_once":
            once.touch()
        time.sleep(0.3)
        sys.exit(7)
    play(number, script, notifier)


def play(number: int, script: str, notifier: Notifier) -> None:
    """Serve until the end of the pipe, then end in order."""
    os.set_blocking(0, False)
    while script in {"hang", "deaf"} or not ended():
        if script != "hang":
            notifier.alive()
        time.sleep(0.02)
    tell(number, "stopped")
    sys.exit(0)


def ended() -> bool:
    """Whether the pipe has ended."""
    try:
        return not os.read(0, 1)
    except BlockingIOError:
        return False


def tell(number: int, what: str) -> None:
    """A line on standard error."""
    os.write(2, f"worker {number} {what}\n".encode())


if __name__ == "__main__":
    main()
