"""Running a daemon as a process: event loop, signals, exit code."""

import asyncio
import gc
import os
import signal
from collections.abc import Awaitable, Callable

import uvloop

from sentinel.app.daemon import Daemon
from sentinel.config.schema import Config
from sentinel.observability.logs import get

log = get(__name__)

Beside = Callable[[Daemon], Awaitable[None]]


def serve(config: Config, beside: Beside | None = None) -> None:
    """Run until told to stop. Raises StartupError when it cannot start.

    Args:
        config: checked by the caller.
        beside: runs beside the daemon once it is ready, and is cancelled at the end (the demo's traffic).
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(config, beside))


async def _serve(config: Config, beside: Beside | None) -> None:
    daemon = Daemon(config)
    _on_signals(daemon)
    try:
        await daemon.start()
        tune_garbage_collection()
        extra = asyncio.ensure_future(_tell(beside(daemon))) if beside is not None else None
        try:
            await daemon.serve()
        finally:
            if extra is not None:
                extra.cancel()
                await asyncio.gather(extra, return_exceptions=True)
    finally:
        await daemon.close()


def tune_garbage_collection() -> None:
    """Events come and go as columns: almost all garbage dies young, and full collections only cost."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(1_000_000, 20, 100)


async def _tell(extra: Awaitable[None]) -> None:
    """Its failure is told at once; the daemon goes on."""
    try:
        await extra
    except Exception:
        log.exception("what ran beside the daemon has failed")


def _on_signals(daemon: Daemon) -> None:
    """First signal: drain and stop. Second: exit at once and say what is left."""
    loop = asyncio.get_running_loop()
    told: list[signal.Signals] = []

    def stop(number: signal.Signals) -> None:
        if told:
            left = daemon.pipeline.ledger.total().in_flight
            log.error("second signal: leaving now; events in flight were not acked and will be read again", in_flight=left)
            os._exit(1)
        told.append(number)
        log.info("stopping", signal=number.name)
        daemon.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
