"""The reading side of InfluxDB. Every method blocks for one query or a few, each within the configured time."""

from collections.abc import Iterator
from typing import Final

from sentinel.core.anomaly import Anomaly
from sentinel.core.batch import PartitionId
from sentinel.core.ports import Clock, StoredMetrics
from sentinel.core.query import AnomalyQuery, Page, SeriesPoints, SeriesQuery, TelemetryQuery, TimeRange
from sentinel.storage import influx_rows, influx_sql
from sentinel.storage.influx_client import Client, NoDatabaseError
from sentinel.storage.influx_cursor import decode_cursor, encode_cursor
from sentinel.storage.influx_points import ANOMALIES, EVENTS, HOUR_NS, POSITIONS
from sentinel.storage.influx_rows import Row
from sentinel.storage.influx_sql import Columns, Statement
from sentinel.storage.reader import MAX_LIMIT, MAX_PAGE_BYTES
from sentinel.storage.traffic import MAX_POINTS

REPLAY_ROWS: Final = 20_000
"""Rows in one block of a replay."""
LOOKBACKS: Final = 15
"""How many times `lookback_hours` a position or an anomaly is searched for, one query each; what is older is not found."""
COLUMNS_KEPT_S: Final = 10.0
"""How long the columns of a table are remembered; a column that is new is not seen for so long at most."""


class InfluxReader:
    """Answers questions through a client.

    Args:
        client: of the server.
        telemetry_bucket: database of events and positions.
        anomaly_bucket: database of anomalies.
        lookback_ns: how far one query without a range of its own looks back.
        clock: now.
    """

    def __init__(self, client: Client, telemetry_bucket: str, anomaly_bucket: str, lookback_ns: int, clock: Clock) -> None:
        self._client = client
        self._buckets = {EVENTS: telemetry_bucket, POSITIONS: telemetry_bucket, ANOMALIES: anomaly_bucket}
        self._lookback_ns = lookback_ns
        self._clock = clock
        self._columns: dict[str, tuple[float, Columns]] = {}

    def telemetry(self, query: TelemetryQuery) -> Page:
        """Events, newest first. A page of very large events ends early. Raises ValueError for an unusable limit or cursor."""
        limit = _capped(query.limit)
        after = None if query.cursor is None else decode_cursor(query.cursor)
        columns = self._known(EVENTS)
        if not columns or query.range.start_ns >= query.range.end_ns:
            return Page([], None)
        kept: list[Row] = []
        size = 0
        for row in self._rows(EVENTS, influx_sql.telemetry(query, columns, limit + 1, after)):
            if len(kept) == limit or size > MAX_PAGE_BYTES:
                return Page([influx_rows.event(row) for row in kept], encode_cursor(influx_rows.place(kept[-1])))
            kept.append(row)
            size += influx_rows.size_of(row)
        return Page([influx_rows.event(row) for row in kept], None)

    def anomalies(self, query: AnomalyQuery) -> list[Anomaly]:
        """Anomalies, newest first; of one event the most severe first. Raises ValueError for an unusable limit."""
        limit = _capped(query.limit)
        columns = self._known(ANOMALIES)
        if not columns or query.range.start_ns >= query.range.end_ns:
            return []
        return [influx_rows.anomaly(row) for row in self._rows(ANOMALIES, influx_sql.anomalies(query, columns, limit))]

    def anomaly(self, anomaly_id: str) -> Anomaly | None:
        """One anomaly by id, searched for from now backwards."""
        if not (columns := self._known(ANOMALIES)):
            return None
        for span in self._backwards():
            for row in self._rows(ANOMALIES, influx_sql.anomaly(anomaly_id, span, columns)):
                return influx_rows.anomaly(row)
        return None

    def timeseries(self, query: SeriesQuery) -> list[SeriesPoints]:
        """Traffic over time, the busiest series first. Percentiles are estimates by t-digests.

        Raises ValueError for an unusable step or limit, or an answer larger than MAX_POINTS.
        """
        limit = _capped(query.limit)
        columns = self._known(EVENTS)
        statement = influx_sql.timeseries(query, columns, limit, MAX_POINTS + 1)
        found: dict[tuple[str | None, str | None, str | None], SeriesPoints] = {}
        if not query.by_series:
            found[None, None, None] = SeriesPoints(tenant=None, service=None, model=None, points=[])
        rows = list(self._rows(EVENTS, statement)) if columns and query.range.start_ns < query.range.end_ns else []
        if len(rows) > MAX_POINTS:
            raise ValueError(
                f"the answer would have more than {MAX_POINTS:,} points; choose a larger step_s, a shorter range or a smaller limit"
            )
        for row in rows:
            tenant, service, model = series = influx_rows.series_of(row)
            answer = found.setdefault(series, SeriesPoints(tenant=tenant, service=service, model=model, points=[]))
            answer.points.append(influx_rows.traffic(row))
        return list(found.values())

    def position(self, source: PartitionId) -> tuple[int, int] | None:
        """The offset after the last stored one, and the hour it was noted in; None when nothing of this log is known."""
        if not self._known(POSITIONS):
            return None
        for span in self._backwards():
            for row in self._rows(POSITIONS, influx_sql.position(str(source), span)):
                return row["next_offset"], row["time_ns"]
        return None

    def replay_block(self, source: PartitionId, since_ns: int, after: tuple[int, int]) -> tuple[StoredMetrics, tuple[int, int]] | None:
        """Up to REPLAY_ROWS rows of a log behind a place, and the place of the last; None when there are no more."""
        self.forget_columns()  # a column that is missed here would not be learned
        if not (columns := self._known(EVENTS)):
            return None
        rows = list(self._rows(EVENTS, influx_sql.replay(str(source), since_ns, after, columns, REPLAY_ROWS)))
        if not rows:
            return None
        return influx_rows.block(rows), (rows[-1]["offset"], int(rows[-1].get("sub") or 0))

    def forget_columns(self) -> None:
        """Columns may be new: ask for them again."""
        self._columns.clear()

    def _backwards(self) -> Iterator[TimeRange]:
        """Ranges of time, each small enough for one query, the newest first."""
        now_ns, end_ns = self._clock.now_ns(), 2**63 - 1
        for back in range(1, LOOKBACKS + 1):
            # The hour as well: a position stands at the beginning of its hour.
            start_ns = now_ns - back * self._lookback_ns - HOUR_NS
            yield TimeRange(start_ns, end_ns)
            end_ns = start_ns

    def _known(self, table: str) -> Columns:
        """The columns of a table; none when nothing was ever written to it."""
        at, columns = self._columns.get(table, (-COLUMNS_KEPT_S, frozenset()))
        if not columns or self._clock.monotonic() - at >= COLUMNS_KEPT_S:
            rows = self._rows(table, Statement(influx_sql.COLUMNS_OF, {"table": table}))
            columns = frozenset(row["column_name"] for row in rows)
            self._columns[table] = self._clock.monotonic(), columns
        return columns

    def _rows(self, table: str, statement: Statement) -> Iterator[Row]:
        try:
            for batch in self._client.ask(self._buckets[table], statement.text, statement.parameters):
                yield from batch.to_pylist()
        except NoDatabaseError:
            return


def _capped(limit: int) -> int:
    """The limit, at most MAX_LIMIT. Raises ValueError below 1."""
    if limit < 1:
        raise ValueError("limit must be at least 1")
    return min(limit, MAX_LIMIT)
