"""The one place that retries: back-off with jitter around a sink's write."""

import random
from collections.abc import Awaitable, Callable

from sentinel.core.errors import RetryableError
from sentinel.core.ports import Clock
from sentinel.observability.logs import get

FIRST_DELAY_S, LAST_DELAY_S = 0.1, 10.0

log = get(__name__)


Failed = Callable[[RetryableError | None], None]
"""Told of every failure, and None once it went well."""


async def until_written(write: Callable[[], Awaitable[None]], name: str, clock: Clock, failed: Failed) -> None:
    """Call `write` until it returns. What it raises besides RetryableError goes through.

    Args:
        write: repeats must be harmless.
        name: of the sink, for the log.
        clock: waits between attempts: 0.1 s doubling to 10 s, +-25%, or what the other side asked for.
        failed: told of every failure, and None once it went well.
    """
    delay = FIRST_DELAY_S
    while True:
        try:
            await write()
        except RetryableError as error:
            failed(error)
            wait = error.after_s if error.after_s is not None else delay * random.uniform(0.75, 1.25)  # noqa: S311  jitter, not a secret
            log.warning("write failed, will be tried again", sink=name, error=str(error), wait_s=round(wait, 2))
            await clock.sleep(wait)
            delay = min(delay * 2, LAST_DELAY_S)
        else:
            failed(None)
            return
