"""Answers of a store, kept for a while: in the process, and, when there is one, in a cache shared by replicas."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar

import msgspec

from sentinel.config.schema import Cache
from sentinel.core.anomaly import Anomaly
from sentinel.core.ports import Clock, Query
from sentinel.core.query import AnomalyQuery, Page, SeriesPoints, SeriesQuery, TelemetryQuery, TimeRange
from sentinel.observability.metrics import Metrics
from sentinel.storage.answers import Answers

MOST_SHARING: Final = 32
"""Answers on their way to the shared cache; further ones are not shared."""

NOW_NS: Final = 100_000_000
"""A range that ended at most this long ago ends now: some time passes between the question and here."""

_SECOND_NS: Final = 1_000_000_000
_MILLISECOND_NS: Final = 1_000_000

T = TypeVar("T")
Ranged = TypeVar("Ranged", TelemetryQuery, AnomalyQuery, SeriesQuery)


class SharedAnswer(NamedTuple):
    """What a shared cache has: the bytes that were put there, and for how many seconds they are still good."""

    encoded: bytes
    left_s: float


class SharedAnswers(Protocol):
    """A cache that replicas share. Its calls are bounded in time and never raise: without it everything takes longer, nothing is lost."""

    async def get(self, question: bytes) -> SharedAnswer | None:
        """The answer to a question; None when there is none."""
        ...

    async def put(self, question: bytes, encoded: bytes, ttl_s: float) -> None:
        """Keep an answer for some seconds."""
        ...


@dataclass(frozen=True, slots=True)
class _Kind(Generic[T]):
    """A kind of question: its name, and how its answers are read from bytes."""

    name: str
    decoder: msgspec.msgpack.Decoder[T]

    def read(self, encoded: bytes) -> T:
        return self.decoder.decode(encoded)


class _Flight(NamedTuple, Generic[T]):
    """A question that has been answered: the answer, and its bytes unless it has no such form."""

    answer: T
    encoded: bytes | None


_TELEMETRY: Final = _Kind("telemetry", msgspec.msgpack.Decoder(Page))
_ANOMALIES: Final = _Kind("anomalies", msgspec.msgpack.Decoder(list[Anomaly]))
_ANOMALY: Final = _Kind("anomaly", msgspec.msgpack.Decoder(Anomaly | None))
_TIMESERIES: Final = _Kind("timeseries", msgspec.msgpack.Decoder(list[SeriesPoints]))
_ENCODER: Final = msgspec.msgpack.Encoder()


class CachedQuery:
    """A `Query` in front of another one. Its answers are those the other gave to the same question, not long ago.

    How long ago depends on the question:

    - A range that ended more than `settled_after_secs` ago changes only by late events and retention: its answer lives for `ttl_secs`, or
      until nobody has asked for `tti_secs`. So does an anomaly that was found.
    - Every other range touches the present, and its answer lives for `live_ttl_secs`. So does the answer that there is no such anomaly.
    - A range that ends now is a new question at every moment. It is therefore asked as it would be at the next full `live_ttl_secs`: its
      end, and its start too when its length is a whole number of milliseconds ("the last hour"), move up to that. Whoever asks first
      after a write sees it.

    One question is put to the store once at a time: who asks the same meanwhile waits for that answer. So an answer is older than its age
    limit by at most the time the store took. Who stops waiting does not stop the question. An error is told to everyone who waited and
    kept for nobody.

    Answers are kept as bytes. Each caller gets objects of its own, and the limits on entries and bytes are true.

    Args:
        query: who knows the answers; it is not opened or closed here.
        section: capacity and age limits.
        clock: its monotonic time ages answers, its wall clock says what "now" is.
        metrics: hits, misses and sizes.
        shared: the cache asked before the store.
    """

    def __init__(self, query: Query, section: Cache, clock: Clock, metrics: Metrics, shared: SharedAnswers | None = None) -> None:
        self._query = query
        self._section = section
        self._clock = clock
        self._metrics = metrics
        self._shared = shared
        self._answers = Answers(section, clock)
        self._flights: dict[bytes, asyncio.Task[_Flight[Any]]] = {}
        self._sharing: set[asyncio.Task[None]] = set()
        self._live_ns = int(section.live_ttl_secs * _SECOND_NS)
        metrics.cache_size.set_function(lambda: self._answers.entries)
        metrics.cache_bytes.set_function(lambda: self._answers.size_bytes)

    async def telemetry(self, query: TelemetryQuery) -> Page:
        """Events, newest first. Raises what the store raises."""
        asked = self._on_the_grid(query)
        return await self._answer(_TELEMETRY, asked, lambda: self._query.telemetry(asked), self._life_of(asked.range))

    async def anomalies(self, query: AnomalyQuery) -> list[Anomaly]:
        """Anomalies, newest first. Raises what the store raises."""
        asked = self._on_the_grid(query)
        return await self._answer(_ANOMALIES, asked, lambda: self._query.anomalies(asked), self._life_of(asked.range))

    async def anomaly(self, anomaly_id: str) -> Anomaly | None:
        """One anomaly by id; None when there is no such. Raises what the store raises."""
        return await self._answer(_ANOMALY, anomaly_id, lambda: self._query.anomaly(anomaly_id), self._section.ttl_secs)

    async def timeseries(self, query: SeriesQuery) -> list[SeriesPoints]:
        """Traffic over time from the rollups, the busiest series first. Raises what the store raises."""
        asked = self._on_the_grid(query)
        return await self._answer(_TIMESERIES, asked, lambda: self._query.timeseries(asked), self._life_of(asked.range))

    async def close(self) -> None:
        """Stop asking and sharing; questions under way end with CancelledError. Twice is harmless."""
        tasks = [*self._flights.values(), *self._sharing]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _on_the_grid(self, query: Ranged) -> Ranged:
        """The question as those ask it who ask at nearly the same moment."""
        start_ns, end_ns = query.range.start_ns, query.range.end_ns
        if not self._live_ns or not 0 <= self._clock.now_ns() - end_ns <= NOW_NS:
            return query
        moved_ns = -end_ns % self._live_ns
        slides = (end_ns - start_ns) % _MILLISECOND_NS == 0
        return msgspec.structs.replace(query, range=TimeRange(start_ns + moved_ns * slides, end_ns + moved_ns))

    def _life_of(self, span: TimeRange) -> float:
        """For how many seconds the answer about a range is good."""
        settled = span.end_ns <= self._clock.now_ns() - self._section.settled_after_secs * _SECOND_NS
        return self._section.ttl_secs if settled else self._section.live_ttl_secs

    async def _answer(self, kind: _Kind[T], asked: object, ask: Callable[[], Awaitable[T]], life_s: float) -> T:
        question = _ENCODER.encode((kind.name, asked))
        kept = self._answers.get(question)
        if kept is not None:
            self._count("memory", hit=True)
            return kind.read(kept)
        flight: asyncio.Task[_Flight[T]] | None = self._flights.get(question)
        if flight is not None:
            self._count("joined", hit=True)
            answer, encoded = await asyncio.shield(flight)
            return answer if encoded is None else kind.read(encoded)
        self._count("memory", hit=False)
        flight = asyncio.create_task(self._find(kind, question, ask, life_s), name=f"ask {kind.name}")
        self._flights[question] = flight
        flight.add_done_callback(lambda done: self._landed(question, done))
        return (await asyncio.shield(flight)).answer

    def _landed(self, question: bytes, flight: "asyncio.Task[_Flight[Any]]") -> None:
        del self._flights[question]
        if not flight.cancelled():
            flight.exception()  # whoever waited has it; nobody may have

    async def _find(self, kind: _Kind[T], question: bytes, ask: Callable[[], Awaitable[T]], life_s: float) -> _Flight[T]:
        """The answer from the shared cache or the store; kept for whoever asks next."""
        shared = await self._find_shared(kind, question, life_s)
        if shared is not None:
            return shared
        answer = await ask()
        encoded = self._encoded(answer)
        if encoded is not None:
            if answer is None:
                life_s = self._section.live_ttl_secs
            self._answers.put(question, encoded, life_s)
            self._share(question, encoded, life_s)
        return _Flight(answer, encoded)

    async def _find_shared(self, kind: _Kind[T], question: bytes, life_s: float) -> _Flight[T] | None:
        found = await self._shared.get(question) if self._shared is not None else None
        if found is not None:
            try:
                answer = kind.read(found.encoded)
            except (ValueError, RecursionError):  # MsgspecError is a ValueError
                self._metrics.cache_errors.labels("bad_value").inc()
            else:
                self._count("redis", hit=True)
                self._answers.put(question, found.encoded, min(found.left_s, life_s))
                return _Flight(answer, found.encoded)
        if self._shared is not None:
            self._count("redis", hit=False)
        return None

    def _encoded(self, answer: object) -> bytes | None:
        """The answer as bytes; None when it holds what has no such form: it is given to whoever asked, and not kept."""
        try:
            return _ENCODER.encode(answer)
        except (TypeError, ValueError, OverflowError, RecursionError):
            self._metrics.cache_errors.labels("not_encodable").inc()
            return None

    def _share(self, question: bytes, encoded: bytes, life_s: float) -> None:
        """Put it into the shared cache, without anybody waiting for that."""
        if self._shared is None or len(self._sharing) >= MOST_SHARING:
            return
        task = asyncio.create_task(self._shared.put(question, encoded, life_s), name="share an answer")
        self._sharing.add(task)
        task.add_done_callback(self._sharing.discard)

    def _count(self, level: str, *, hit: bool) -> None:
        if self._section.enable_metrics:
            (self._metrics.cache_hits if hit else self._metrics.cache_misses).labels(level).inc()
