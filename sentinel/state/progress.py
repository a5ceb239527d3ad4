"""Up to where each log's anomalies have become alerts. This is what makes a replay change nothing."""

from typing import NamedTuple

from sqlalchemy import Connection, select, update

from sentinel.core.batch import PartitionId
from sentinel.state.rows import upsert
from sentinel.state.tables import ALERT_PROGRESS


class Progress(NamedTuple):
    """A log's progress.

    Attributes:
        owner: the process that wrote it last.
        epoch: of that process's assignment; epochs of different processes cannot be compared.
        next_offset: anomalies below it are in the alerts.
    """

    owner: str
    epoch: int
    next_offset: int


def load(connection: Connection, source: PartitionId) -> Progress | None:
    """The progress of a log; None when nothing of it ever became an alert."""
    of = ALERT_PROGRESS.c
    asked = select(of.owner, of.epoch, of.next_offset).where(
        of.cluster == source.cluster, of.topic == source.topic, of.partition == source.partition
    )
    row = connection.execute(asked).one_or_none()
    return None if row is None else Progress(*row)


def save(connection: Connection, progress: dict[PartitionId, Progress], now_ns: int) -> None:
    """Remember the progress of logs."""
    rows = [source._asdict() | entry._asdict() | {"updated_ns": now_ns} for source, entry in progress.items()]
    upsert(connection, ALERT_PROGRESS, rows)


def rewind(connection: Connection, source: PartitionId, offset: int) -> None:
    """Take the progress of a log back to an offset, if it is beyond it."""
    of = ALERT_PROGRESS.c
    this = (of.cluster == source.cluster, of.topic == source.topic, of.partition == source.partition)
    connection.execute(update(ALERT_PROGRESS).where(*this, of.next_offset > offset).values(next_offset=offset))
