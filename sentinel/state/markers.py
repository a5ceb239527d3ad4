"""Markers: deploys, prompt versions and price changes as people told them, and who told."""

from typing import Any

import msgspec
from sqlalchemy import Connection, RowMapping, select

from sentinel.core.command import AcceptRegime, Marker
from sentinel.core.timestamp import rfc3339
from sentinel.state import audit
from sentinel.state.database import StateDatabase
from sentinel.state.rows import insert_new
from sentinel.state.tables import MARKERS


class MarkerRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A marker as people see it. `service` and `model` are those it is about; None = all of the tenant."""

    id: str
    kind: str
    timestamp: str
    tenant: str
    service: str | None
    model: str | None
    text: str
    made_by: str
    made_at: str


class Markers:
    """What people told the detectors. Written down before the detectors get it.

    Args:
        database: open while it is used.
    """

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    async def add(self, marker: Marker, actor: str, now_ns: int) -> MarkerRecord:
        """Keep a marker, and write who made it; one that is there already stays as it is. Raises RetryableError."""
        return await self._database.run(lambda connection: add(connection, marker, actor, now_ns))

    async def accepted(self, command: AcceptRegime, actor: str, now_ns: int) -> None:
        """Write who accepted a new normal. Raises RetryableError."""
        await self._database.run(lambda connection: accepted(connection, command, actor, now_ns))

    async def recent(self, limit: int) -> list[MarkerRecord]:
        """Markers, the newest first. Raises RetryableError."""
        return await self._database.read(lambda connection: recent(connection, limit))


def add(connection: Connection, marker: Marker, actor: str, now_ns: int) -> MarkerRecord:
    """Keep a marker, and write who made it, in one transaction; one that is there already stays as it is."""
    known = connection.execute(select(MARKERS).where(MARKERS.c.id == marker.id)).mappings().one_or_none()
    if known is not None:
        return _record(known)
    row: dict[str, Any] = {
        "id": marker.id,
        "kind": marker.kind,
        "ts_ns": marker.ts_ns,
        "tenant": marker.which.tenant,
        "service": marker.which.service,
        "model": marker.which.model,
        "text": marker.text,
        "made_by": actor,
        "made_ns": now_ns,
    }
    insert_new(connection, MARKERS, "id", [row])
    audit.append(connection, audit.Entry(now_ns, actor, "marker.made", marker.id, msgspec.to_builtins(marker)))
    return _record(row)


def accepted(connection: Connection, command: AcceptRegime, actor: str, now_ns: int) -> None:
    """Write who accepted a new normal."""
    which = command.which
    target = "/".join((which.tenant, which.service or "*", which.model or "*"))
    audit.append(connection, audit.Entry(now_ns, actor, "baseline.accepted", target, msgspec.to_builtins(which)))


def recent(connection: Connection, limit: int) -> list[MarkerRecord]:
    """Markers, the newest first."""
    rows = connection.execute(select(MARKERS).order_by(MARKERS.c.ts_ns.desc(), MARKERS.c.id.desc()).limit(limit))
    return [_record(row) for row in rows.mappings()]


def _record(row: RowMapping | dict[str, Any]) -> MarkerRecord:
    same = ("id", "kind", "tenant", "service", "model", "text", "made_by")
    return MarkerRecord(timestamp=rfc3339(row["ts_ns"]), made_at=rfc3339(row["made_ns"]), **{name: row[name] for name in same})
