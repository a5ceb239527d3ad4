"""Episodes as rows: the newest of some fingerprints, and those that changed."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, func, select, text

from sentinel.state.rows import portions, upsert
from sentinel.state.tables import ALERTS

_LOCK: Final = 0x73656E74_616C7274
"""The advisory lock of the alerts in a PostgreSQL database: "sentalrt"."""


def alone(connection: Connection) -> None:
    """Let nobody else change alerts until this transaction ends.

    An episode is one over all partitions, hence over all replicas: each has to see what the others have told. Of their writes only the
    few with alert-worthy anomalies come here. A writing transaction of SQLite is alone by itself.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})


def current(connection: Connection, fingerprints: Sequence[str]) -> list[RowMapping]:
    """The newest episode of each fingerprint that has one."""
    found: list[RowMapping] = []
    for portion in portions(fingerprints):
        found.extend(connection.execute(select(ALERTS).where(ALERTS.c.fingerprint.in_(portion), ALERTS.c.current)).mappings())
    return found


def open_count(connection: Connection) -> int:
    """Episodes that have not ended."""
    return connection.execute(select(func.count()).select_from(ALERTS).where(ALERTS.c.ended_ns.is_(None))).scalar_one()


def save(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Write episodes, those that are not current any more first: a fingerprint has one current episode at any time."""
    for current_ones in (False, True):
        upsert(connection, ALERTS, [row for row in rows if row["current"] is current_ones], once=("created_ns",))
