"""Running a daemon as a process: event loop, signals, supervisor, exit code."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import uvloop

from sentinel.app import memory
from sentinel.app.daemon import Daemon
from sentinel.app.notify import Notifier, beat
from sentinel.app.reload import Reloader, Reread, parts_of
from sentinel.config.schema import Config
from sentinel.core.errors import SentinelError
from sentinel.observability.logs import get

log = get(__name__)

Beside = Callable[[Daemon], Awaitable[None]]


def serve(
    config: Config, beside: Beside | None = None, *, reread: Reread | None = None, wait_s: float = 0.0, leash: int | None = None
) -> None:
    """Run until told to stop. Raises StartupError when it cannot start.

    Args:
        config: checked by the caller.
        beside: runs beside the daemon once it is ready, and is cancelled at the end (the demo's traffic).
        reread: reads the configuration anew at SIGHUP; without it SIGHUP stops, as the end of a terminal should.
        wait_s: how long to wait for dependencies that are not there yet, in seconds.
        leash: file descriptor of a pipe whose end is one more way to be told to stop, once; it tells nothing to whom a signal told already.
    """
    memory.separate_large_blocks()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(config, beside, reread, wait_s, leash))


async def _serve(config: Config, beside: Beside | None, reread: Reread | None, wait_s: float, leash: int | None) -> None:
    notifier = Notifier.of(os.environ)
    daemon = Daemon(config, wait_s, notifier.starting)
    starting = asyncio.ensure_future(daemon.start())
    signals = Signals(daemon, starting, notifier, Reloader(daemon, parts_of(daemon), reread) if reread else None)
    signals.listen()
    if leash is not None:
        signals.follow(leash)
    try:
        if await _started(daemon, starting):
            memory.settle()
            notifier.ready(daemon.status())
            aside = [_tell(beat(notifier, daemon.clock, daemon.pipeline.progress.stalled, daemon.status)), signals.reload_when_told()]
            await _beside(daemon, [*aside, _tell(beside(daemon))] if beside else aside)
    except SentinelError as error:
        notifier.stopping(f"failed: {error}")
        raise
    finally:
        await daemon.close()


async def _started(daemon: Daemon, starting: "asyncio.Future[None]") -> bool:
    """Wait for the start; False when a signal ended it."""
    try:
        await starting
    except asyncio.CancelledError:
        if not daemon.context.stopping or not starting.cancelled():
            raise
        return False
    return True


async def _beside(daemon: Daemon, work: list[Coroutine[Any, Any, None]]) -> None:
    """Serve, with other work beside it that ends with it."""
    tasks = [asyncio.create_task(part) for part in work]
    try:
        await daemon.serve()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _tell(extra: Awaitable[None]) -> None:
    """Its failure is told at once; the daemon goes on."""
    try:
        await extra
    except Exception:
        log.exception("what ran beside the daemon has failed")


class Signals:
    """What a signal does.

    SIGTERM and SIGINT: the first ends the start, or drains and stops; the second exits at once and says what is left. SIGHUP reloads, once
    the daemon has started; where there is nothing to reload, it stops.
    """

    def __init__(self, daemon: Daemon, starting: "asyncio.Future[None]", notifier: Notifier, reloader: Reloader | None) -> None:
        self._daemon = daemon
        self._starting = starting
        self._notifier = notifier
        self._reloader = reloader
        self._told_to_stop = False
        self._told_to_reload = asyncio.Event()

    def listen(self) -> None:
        """Take the signals over. Must come before anything that takes time."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number)
        loop.add_signal_handler(signal.SIGHUP, *((self._stop, signal.SIGHUP) if self._reloader is None else (self._told_to_reload.set,)))

    def follow(self, leash: int) -> None:
        """Stop at the end of this pipe, as at a first signal."""
        loop = asyncio.get_running_loop()

        def readable() -> None:
            if not os.read(leash, 1):
                loop.remove_reader(leash)
                if not self._told_to_stop:
                    self._stop(signal.SIGTERM)

        loop.add_reader(leash, readable)

    def _stop(self, number: signal.Signals) -> None:
        if self._told_to_stop:
            left = self._daemon.pipeline.ledger.total().in_flight
            log.error("second signal: leaving now; events in flight were not acked and will be read again", in_flight=left)
            os._exit(1)
        self._told_to_stop = True
        log.info("stopping", signal=number.name)
        self._notifier.stopping("stopping: finishing what was read")
        self._daemon.stop()
        self._starting.cancel()

    async def reload_when_told(self) -> None:
        """Reload at each SIGHUP, without end. Those that come while one is under way become one more."""
        while self._reloader is not None:
            await self._told_to_reload.wait()
            self._told_to_reload.clear()
            self._notifier.reloading()
            try:
                await self._reloader.reload()
            except Exception:
                log.exception("the reload has failed")
            finally:
                self._notifier.ready(self._daemon.status())
