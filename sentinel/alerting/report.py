"""What is told of a channel: its status, metrics and log lines."""

from dataclasses import replace
from typing import Final

from sentinel.alerting.breaker import LEVELS, Circuit
from sentinel.alerting.channel import Channel, ChannelStatus
from sentinel.alerting.parcels import Parcel
from sentinel.observability.logs import get
from sentinel.observability.metrics import Metrics

GONE_LEVEL: Final = 3
"""The circuit's number of a receiver that is out of use."""

log = get(__name__)


class Report:
    """Counts outcomes, and logs when a receiver begins to fail and when it is well again, not every failure.

    Attributes:
        status: so far; its circuit is that of the last `circuit`.
    """

    def __init__(self, channel: Channel, metrics: Metrics) -> None:
        self.status = ChannelStatus(channel.name, channel.kind)
        self._metrics = metrics
        self.circuit(Circuit.CLOSED)

    def circuit(self, circuit: Circuit) -> None:
        """Where the breaker stands."""
        self.status = replace(self.status, circuit=circuit)
        self._metrics.circuit_state.labels(self.status.name).set(GONE_LEVEL if self.status.state == "gone" else LEVELS[circuit])

    def confirmed(self, parcel: Parcel, now_ns: int) -> None:
        """The receiver has these."""
        status = self.status
        if status.state == "failing":
            log.info("a receiver takes alerts again", receiver=status.name)
        self.status = replace(status, state="ok", sent=status.sent + len(parcel), last_sent_ns=now_ns)
        self._metrics.alerts_sent.labels(status.kind).inc(len(parcel))
        seconds = self._metrics.alert_delivery_seconds.labels(status.kind)
        for notification in parcel:
            seconds.observe(max(0.0, (now_ns - notification.created_ns) / 1e9))

    def failed(self, parcel: Parcel, error: str, now_ns: int) -> None:
        """These will be tried again."""
        status = self.status
        if status.state != "failing" or status.last_error != error:
            log.warning("alerts cannot be delivered, and wait in the outbox", receiver=status.name, error=error)
        self.status = replace(status, state="failing", failed=status.failed + len(parcel), last_error=error, last_error_ns=now_ns)
        self._metrics.alert_failures.labels(status.kind).inc(len(parcel))

    def refused(self, parcel: Parcel, error: str, now_ns: int) -> None:
        """These reach nobody, ever."""
        status = self.status
        ids = [notification.id for notification in parcel]
        log.error("a receiver will never accept an alert; it is kept as refused", receiver=status.name, error=error, notifications=ids)
        self.status = replace(status, refused=status.refused + len(parcel), last_error=error, last_error_ns=now_ns)
        self._metrics.alerts_refused.labels(status.kind).inc(len(parcel))

    def gone(self, error: str, now_ns: int) -> None:
        """The receiver is out of use until a restart."""
        log.error(
            "a receiver is out of use until the daemon is restarted; its alerts wait in the outbox", receiver=self.status.name, error=error
        )
        self.status = replace(self.status, state="gone", last_error=error, last_error_ns=now_ns)
        self.circuit(self.status.circuit)
