"""Up to where each log's anomalies have become alerts. This is what makes a replay change nothing."""

from typing import NamedTuple

from sqlalchemy import Connection, delete, select

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


def forget(connection: Connection, source: PartitionId) -> None:
    """Begin a log anew."""
    of = ALERT_PROGRESS.c
    connection.execute(
        delete(ALERT_PROGRESS).where(of.cluster == source.cluster, of.topic == source.topic, of.partition == source.partition)
    )
