"""Sending lines, and finding the bad ones when a server refuses some."""

from typing import Final

from sentinel.core.errors import RetryableError
from sentinel.observability.metrics import Metrics
from sentinel.storage.influx_client import Client, RejectedError
from sentinel.storage.lines import Lines

_PROBE: Final = b"sentinel_probe ok=1i %d"

TOO_MANY: Final = 10
"""So many lines that are all refused have no fault of their own: their table has a column of another type, say."""


def put(client: Client, bucket: str, payload: bytes, metrics: Metrics) -> str | None:
    """Send one request; why it was refused, None when it was taken. Raises RetryableError."""
    try:
        with metrics.influxdb_request_seconds.time():
            client.write(bucket, payload)
    except RejectedError as error:
        metrics.influxdb_requests.labels("refused").inc()
        return error.reason
    except RetryableError:
        metrics.influxdb_requests.labels("failed").inc()
        raise
    metrics.influxdb_requests.labels("stored").inc()
    return None


class Sending:
    """One request's worth of lines on its way into one bucket. Blocks.

    A refused request is halved, down to the lines that are refused alone: at most two further requests for each halving. Before the first
    line is given up while none was taken, a point of ours must be taken: a server that refuses that refuses everything, and no event may
    be given up for it. Nor are TOO_MANY lines given up of which none was taken.

    Args:
        client: of the server.
        bucket: where they go.
        now_ns: the time of the point that is sent to be sure.
        metrics: told the outcome of each request.
    """

    def __init__(self, client: Client, bucket: str, now_ns: int, metrics: Metrics) -> None:
        self._client = client
        self._bucket = bucket
        self._now_ns = now_ns
        self._metrics = metrics
        self._taken = False

    def send(self, lines: Lines) -> list[tuple[int, str]]:
        """Store the lines that are taken; returns the numbers of the others, with the server's reason.

        Raises RetryableError; some lines may be stored then.
        """
        reason = self._refusal(lines.body())
        if reason is None:
            return []
        bad = self._isolate(lines, 0, reason)
        if len(bad) == len(lines) >= TOO_MANY:
            raise RetryableError(
                f"InfluxDB refuses each of {len(lines)} points in {self._bucket} ({bad[0][1]}), so the fault is not theirs: "
                "see whether the table was made with other column types; name another bucket in storage.influxdb, or drop the table"
            )
        return bad

    def _isolate(self, lines: Lines, first: int, reason: str) -> list[tuple[int, str]]:
        """The bad ones among lines that were refused together; `first` is the number of the first."""
        if len(lines) == 1:
            self._be_sure()
            return [(first, reason)]
        half = len(lines) // 2
        left, right = lines[:half], lines[half:]
        in_left = self._refusal(left.body())
        # When the left half was taken, what was refused is in the right one: it need not be sent as a whole to know.
        in_right = self._refusal(right.body()) if in_left is not None or len(right) == 1 else reason
        bad = [] if in_left is None else self._isolate(left, first, in_left)
        return bad if in_right is None else bad + self._isolate(right, first + half, in_right)

    def _be_sure(self) -> None:
        if self._taken:
            return
        reason = self._refusal(_PROBE % self._now_ns)
        if reason is not None:
            raise RetryableError(
                f"InfluxDB refuses even a plain point in {self._bucket} ({reason}); see storage.influxdb.api and the names of the buckets"
            )

    def _refusal(self, payload: bytes) -> str | None:
        reason = put(self._client, self._bucket, payload, self._metrics)
        self._taken = self._taken or reason is None
        return reason
