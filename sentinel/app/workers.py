"""`sentinel run --workers N`: a supervisor of N daemons in one consumer group, each in a process of its own.

It reads no event. It starts the workers, passes on what it is told, starts again those that die, and ends when that does not help: then
whoever supervises it sees a failure. To systemd it looks like one daemon: ready when all are, fed while all move.
"""

import asyncio
import os
import signal
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from sentinel.app.clock import SystemClock
from sentinel.app.notify import Notifier, beat
from sentinel.app.worker import Worker
from sentinel.core.errors import SentinelError
from sentinel.core.ports import Clock
from sentinel.observability.logs import get

FIRST_DELAY_S: Final = 1.0
LAST_DELAY_S: Final = 30.0
STEADY_S: Final = 60.0
"""A worker that ran for so long has not failed again: it has failed anew."""
MOST_FAILURES: Final = 5
"""So many failures of one worker in a row end the supervisor."""
HURRY_S: Final = 2.0
"""How long workers have after a second signal until they are killed."""
LOOK_S: Final = 1.0

Command = Callable[[int], Sequence[str]]
"""The command line of a worker, by its number."""

log = get(__name__)


class WorkerError(SentinelError):
    """A worker does not start, does not stay, or did not stop in order."""


def supervise(command: Command, count: int, env: Mapping[str, str]) -> None:
    """Run so many workers until told to stop. Raises WorkerError when one does not start, fails again and again, or does not end in order.

    Args:
        command: makes a worker's command line.
        count: how many.
        env: the environment of this process.
    """
    with tempfile.TemporaryDirectory(prefix="sentinel-workers-") as directory:
        asyncio.run(Workers(command, count, env, Path(directory), SystemClock()).run())


class Workers:
    """The workers of one host.

    Args:
        command: makes a worker's command line.
        count: how many.
        env: the environment; the watchdog it describes is ours and that of every worker.
        directory: for sockets; only we may write there.
        clock: measures and waits.
    """

    def __init__(self, command: Command, count: int, env: Mapping[str, str], directory: Path, clock: Clock) -> None:
        self._notifier = Notifier.of(env)
        self._clock = clock
        inherited = {name: value for name, value in env.items() if name not in {"SENTINEL_WORKERS", "WATCHDOG_PID"}}
        self._workers = [Worker(number, command(number), inherited, directory, self._heard) for number in range(1, count + 1)]
        self._stopping = asyncio.Event()
        self._started = False
        self._settled = False

    async def run(self) -> None:
        """Start them, and return once all have stopped in order. Raises WorkerError."""
        for worker in self._workers:
            worker.listen()
        self._listen()
        kept = [asyncio.create_task(self._keep(worker), name=f"worker-{worker.number}") for worker in self._workers]
        aside = [asyncio.create_task(beat(self._notifier, self._clock, list, self._status)), asyncio.create_task(self._watch())]
        try:
            await asyncio.wait(kept, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            self._stop()
            outcomes = await asyncio.gather(*kept, return_exceptions=True)
            for task in aside:
                task.cancel()
            for worker in self._workers:
                worker.close()
        self._judge(outcomes)

    # --------------------------------------------------------------------------------------------------------- one worker

    async def _keep(self, worker: Worker) -> int:
        """Run a worker, again and again until told to stop; its last exit code."""
        failures = 0
        while True:
            began_s = self._clock.monotonic()
            code = await _outcome(worker)
            if self._stopping.is_set():
                return code
            if not self._started:
                raise WorkerError(f"worker {worker.number} did not start: it ended with code {code}, and its lines of the log say why")
            failures = 1 if self._clock.monotonic() - began_s >= STEADY_S else failures + 1
            if failures >= MOST_FAILURES:
                raise WorkerError(f"worker {worker.number} has failed {failures} times in a row, the last time with code {code}")
            await self._pause(worker, code, failures)
            if self._stopping.is_set():
                return 0

    async def _pause(self, worker: Worker, code: int, failures: int) -> None:
        """Wait before the next start, shorter when told to stop."""
        delay_s = min(FIRST_DELAY_S * 2 ** (failures - 1), LAST_DELAY_S)
        log.error("a worker has ended and is started again", worker=worker.number, exit_code=code, failures=failures, in_s=delay_s)
        stopping, waiting = asyncio.create_task(self._stopping.wait()), asyncio.create_task(_sleep(self._clock, delay_s))
        try:
            await asyncio.wait((stopping, waiting), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            waiting.cancel()

    def _heard(self, worker: Worker, lines: list[str]) -> None:
        """What a worker says, as far as it is ours to pass on."""
        worker.alive_s = self._clock.monotonic()
        if not self._started and any(line.startswith("EXTEND_TIMEOUT_USEC=") for line in lines):
            self._notifier.starting(f"worker {worker.number}: {worker.status}")
        if "READY=1" in lines and not self._settled and all(each.ready for each in self._workers):
            self._settled = True
            if not self._started:
                self._started = True
                log.info("all workers are ready", workers=len(self._workers))
            self._notifier.ready(self._status())

    async def _watch(self) -> None:
        """Kill a worker whose work does not move, as systemd would kill a daemon; `_keep` starts it again."""
        limit_s = self._notifier.watchdog_s
        while limit_s is not None:
            await self._clock.sleep(min(LOOK_S, limit_s / 2))
            for worker in self._workers:
                if worker.ready and self._clock.monotonic() - worker.alive_s > limit_s:
                    log.error("a worker does not move and is killed", worker=worker.number, silent_for_s=limit_s, last=worker.status)
                    worker.send(signal.SIGKILL)

    def _status(self) -> str:
        """One line for people."""
        ready = sum(worker.ready for worker in self._workers)
        others = [f"worker {worker.number}: {worker.status}" for worker in self._workers if not worker.ready]
        return "; ".join([f"{ready} of {len(self._workers)} workers ready", *others])

    # ------------------------------------------------------------------------------------------------------------ signals

    def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._told, number)
        loop.add_signal_handler(signal.SIGHUP, self._reload)

    def _told(self, number: signal.Signals) -> None:
        """The first signal lets workers finish what they have read; a second one ends them at once."""
        if not self._stopping.is_set():
            log.info("stopping", signal=number.name)
            self._stop()
            return
        log.error("second signal: leaving now; each worker says what is left")
        for worker in self._workers:
            worker.send(signal.SIGTERM)
        asyncio.get_running_loop().call_later(HURRY_S, self._kill)

    def _stop(self) -> None:
        if not self._stopping.is_set():
            self._stopping.set()
            self._notifier.stopping("stopping: workers finish what they have read")
        for worker in self._workers:
            worker.stop()

    def _kill(self) -> None:
        for worker in self._workers:
            worker.send(signal.SIGKILL)

    def _reload(self) -> None:
        """Each worker reads the configuration anew. One that has not begun to listen reads it at its start anyway."""
        self._notifier.reloading()
        self._settled = False
        for worker in self._workers:
            if worker.was_ready:
                worker.ready = False
                worker.send(signal.SIGHUP)

    def _judge(self, outcomes: Sequence[int | BaseException]) -> None:
        """Raises the first failure of all."""
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                self._notifier.stopping(f"failed: {outcome}")
                raise outcome
        bad = [f"worker {number} with code {code}" for number, code in enumerate(outcomes, 1) if code != os.EX_OK]
        if bad:
            raise WorkerError(f"not all workers stopped in order: {', '.join(bad)}; their lines of the log say why")


async def _outcome(worker: Worker) -> int:
    """Run a worker once. Raises WorkerError when the system gives no process."""
    try:
        return await worker.run()
    except OSError as error:
        raise WorkerError(f"cannot start worker {worker.number}: {error.strerror}; see the limits on processes and memory") from error


async def _sleep(clock: Clock, seconds: float) -> None:
    await clock.sleep(seconds)
