"""Events over HTTP to a daemon, for who runs no Kafka."""

import random
import threading
import time
from collections import deque
from collections.abc import Sequence
from itertools import islice, takewhile
from typing import Final, NamedTuple

from llm_sentinel.delivery import Tally
from llm_sentinel.event import Record
from llm_sentinel.http_post import Later, Poster, Refused, Taken
from llm_sentinel.transport import CLOSED, FULL, GIVEN_UP, TIMED_OUT, Limits

REQUEST_EVENTS: Final = 500
REQUEST_BYTES: Final = 900_000
FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 30.0
IDLE_S: Final = 1.0


class Waiting(NamedTuple):
    """A record in the buffer, and when it was taken (monotonic seconds)."""

    record: Record
    since: float


class HttpTransport:
    """Buffers records and posts them, in order, from one thread that starts with the first record.

    A record leaves the buffer when its fate is known. The lock is never held while a request is under way.

    Args:
        poster: makes one request.
        limits: of the buffer.
        tally: told what became of every record.
    """

    def __init__(self, poster: Poster, limits: Limits, tally: Tally) -> None:
        self._poster = poster
        self._limits = limits
        self._tally = tally
        self._changed = threading.Condition()
        self._buffer: deque[Waiting] = deque()
        self._bytes = 0
        self._flushes = 0
        self._closed = False
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """See `Transport`."""

    def offer(self, record: Record, block_s: float) -> str | None:
        """See `Transport`."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._closed or self._has_room(record), block_s):
                return FULL
            if self._closed:
                return CLOSED
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="llm-sentinel-http", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:
                    return f"no thread can be started: {error}"
                self._thread = thread
            self._buffer.append(Waiting(record, time.monotonic()))
            self._bytes += len(record.value)
            self._changed.notify_all()
        return None

    def buffered(self) -> int:
        """See `Transport`."""
        return len(self._buffer)

    def flush(self, timeout_s: float) -> int:
        """See `Transport`."""
        with self._changed:
            self._flushes += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._buffer, timeout_s)
            self._flushes -= 1
            return len(self._buffer)

    def close(self, timeout_s: float) -> None:
        """See `Transport`. A request that is under way after the flush is not waited for."""
        self.flush(timeout_s)
        with self._changed:
            self._closed = True
            left = self._pop(len(self._buffer))
        if left:
            self._tally.failed(GIVEN_UP, (record.event_id for record in left), len(left))

    def _run(self) -> None:
        """Send until closed."""
        most, tried = REQUEST_EVENTS, 0
        while not self._closed:
            self._expire()
            batch = self._ready(most)
            if batch:
                answer = self._poster.post(batch)
                if isinstance(answer, Later):
                    tried += 1
                    self._tally.trouble(answer.reason)
                    self._tally.tell()
                    self._pause(pause_s(tried, answer.after_s))
                elif isinstance(answer, Refused) and answer.too_large and len(batch) > 1:
                    most = len(batch) // 2
                else:
                    most, tried = REQUEST_EVENTS, 0
                    self._settle(batch, answer)
            self._tally.tell()
        self._poster.close()

    def _ready(self, most: int) -> list[Record]:
        """The oldest records, as many as go into one request; none when none came for a while. They stay in the buffer."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._closed or self._buffer, IDLE_S):
                return []
            self._changed.wait_for(lambda: self._closed or self._flushes or len(self._buffer) >= most, self._limits.linger_s)
            batch: list[Record] = []
            size = 0
            for waiting in islice(self._buffer, most):
                size += len(waiting.record.value) + 1
                if batch and size > REQUEST_BYTES:
                    break
                batch.append(waiting.record)
            return batch

    def _settle(self, batch: Sequence[Record], answer: Taken | Refused) -> None:
        """The fate of a request's records is known."""
        with self._changed:
            if self._closed:
                return  # told already
            self._pop(len(batch))
        if isinstance(answer, Refused):
            self._tally.failed(answer.reason, (record.event_id for record in batch), len(batch))
            return
        self._tally.delivered(len(batch) - answer.rejected)
        for index, reason in answer.reasons[: answer.rejected]:
            self._tally.failed(reason, (batch[index].event_id,))
        if unnamed := answer.rejected - len(answer.reasons[: answer.rejected]):
            self._tally.failed("rejected by the daemon", (), unnamed)

    def _expire(self) -> None:
        """Give up what has waited too long."""
        with self._changed:
            oldest = time.monotonic() - self._limits.delivery_timeout_s
            late = self._pop(sum(1 for _ in takewhile(lambda waiting: waiting.since < oldest, self._buffer)))
        if late:
            self._tally.failed(TIMED_OUT, (record.event_id for record in late), len(late))

    def _pause(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed, seconds)

    def _has_room(self, record: Record) -> bool:
        full = len(self._buffer) >= self._limits.max_events or self._bytes + len(record.value) > self._limits.max_bytes
        return not self._buffer or not full

    def _pop(self, n: int) -> list[Record]:
        """Take the oldest out of the buffer. The lock is held."""
        gone = [self._buffer.popleft().record for _ in range(n)]
        self._bytes -= sum(len(record.value) for record in gone)
        self._changed.notify_all()
        return gone


def pause_s(tried: int, asked_s: float | None) -> float:
    """How long to wait before the next try, in seconds: as long as we were asked to, else doubling; never all clients at once."""
    longest = min(FIRST_PAUSE_S * 2 ** min(tried - 1, 20), LONGEST_PAUSE_S)
    spread = random.uniform(0.5, 1.0)  # noqa: S311  not a secret
    return asked_s + spread * FIRST_PAUSE_S if asked_s is not None else longest * spread
