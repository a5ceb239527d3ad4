"""What the resources stand on: handed in once, by the wiring."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from aiohttp import web

from sentinel.alerting.channel import ChannelStatus
from sentinel.api.access import Keys
from sentinel.config.schema import Config
from sentinel.core.ports import Clock, Outcome, Query
from sentinel.observability.metrics import Metrics
from sentinel.pipeline.run import Pipeline
from sentinel.state.alerts import Alerts


class Ingest(Protocol):
    """Takes records over HTTP and returns once they are durable.

    Raises FullError when there is no room, RetryableError when the daemon is stopping.
    """

    queue_bytes: int

    async def submit(self, records: Sequence[bytes]) -> Outcome:
        """Make records durable."""
        ...


@dataclass(slots=True)
class Context:
    """The parts a request may need.

    Attributes:
        mode: `embedded` or `kafka`.
        counts: rows, anomalies and bytes of the store.
        faults: further reasons for not being ready, from the sources.
        events_per_s: events stored per second over the last ten.
        alerts: what people were told; receivers: how each of those they are sent to does.
        keys: the API keys; None when there is no place for them, and then a key opens nothing.
        started: whether sources are open; until then the daemon is starting.
    """

    config: Config
    mode: str
    query: Query
    counts: Callable[[], Awaitable[object]]
    pipeline: Pipeline
    metrics: Metrics
    clock: Clock
    ingest: Ingest | None
    faults: Callable[[], list[str]]
    events_per_s: Callable[[], float]
    started_ns: int
    alerts: Alerts
    receivers: Callable[[], Sequence[ChannelStatus]]
    keys: Keys | None = None
    started: bool = False
    stopping: bool = False

    def reasons(self) -> list[str]:
        """Why the daemon should get no traffic; empty when it is ready."""
        if not self.started:
            return ["starting"]
        return [*(["stopping"] if self.stopping else []), *self.faults(), *self.pipeline.progress.reasons()]


CONTEXT: Final = web.AppKey("context", Context)
