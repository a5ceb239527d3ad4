"""The machine's clock."""

import asyncio
import time


class SystemClock:
    """The `Clock` of a running daemon."""

    def now_ns(self) -> int:
        """Wall-clock time, nanoseconds since the epoch."""
        return time.time_ns()

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)
