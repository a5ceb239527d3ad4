"""What the resources stand on: handed in once, by the wiring."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from aiohttp import web

from sentinel.alerting.channel import ChannelStatus
from sentinel.api.access import Keys
from sentinel.api.peers import Peers
from sentinel.config.schema import Config
from sentinel.core.errors import RetryableError
from sentinel.core.ports import Clock, Commands, Outcome, Query
from sentinel.observability.metrics import Metrics
from sentinel.pipeline.run import Pipeline
from sentinel.state.alerts import Alerts
from sentinel.state.feedback import Feedback
from sentinel.state.markers import Markers

T = TypeVar("T")


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
        alarms: what the daemon tells people of itself now.
        keys: the API keys; None when there is no place for them, and then a key opens nothing.
        commands: where commands for the detectors go; None when nobody takes them.
        feedback: what people think of anomalies; markers: what they told the detectors. None when there is no place for them.
        peers: the other replicas of the group; None when this one is alone.
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
    alarms: Callable[[], list[str]] = list
    keys: Keys | None = None
    commands: Commands | None = None
    feedback: Feedback | None = None
    markers: Markers | None = None
    peers: Peers | None = None
    started: bool = False
    stopping: bool = False

    def reasons(self) -> list[str]:
        """Why the daemon should get no traffic; empty when it is ready."""
        if not self.started:
            return ["starting"]
        return [*(["stopping"] if self.stopping else []), *self.faults(), *self.pipeline.progress.reasons()]


def there(part: T | None, what: str) -> T:
    """A part that a daemon may do without. Raises RetryableError, which callers are told as 503, when this one does."""
    if part is None:
        raise RetryableError(f"this daemon has no {what}")
    return part


CONTEXT: Final = web.AppKey("context", Context)
