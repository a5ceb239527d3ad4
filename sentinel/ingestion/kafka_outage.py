"""Whether the brokers answer: told once when they are gone, and once when they are back."""

from collections.abc import Sequence

from sentinel.observability.logs import get
from sentinel.observability.metrics import Metrics

log = get(__name__)


class Outage:
    """The outage that goes on, if any.

    Args:
        brokers: their addresses, for the log.
        metrics: counts.

    Attributes:
        reason: why no broker answers; None when they do.
    """

    def __init__(self, brokers: Sequence[str], metrics: Metrics) -> None:
        self.reason: str | None = None
        self._brokers = brokers
        self._metrics = metrics

    def begin(self, reason: str) -> None:
        """Nobody answered; harmless while it goes on."""
        self._metrics.kafka_consumption_errors.inc()
        if self.reason is None:
            log.error("Kafka does not answer, will go on when it does", brokers=self._brokers, reason=reason)
        self.reason = reason

    def end(self) -> None:
        """Somebody answered."""
        if self.reason is not None:
            log.info("Kafka answers again", brokers=self._brokers)
        self.reason = None
