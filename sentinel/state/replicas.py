"""The replicas of a group, each as it described itself last."""

from typing import NamedTuple

import msgspec
from sqlalchemy import Connection, delete, select

from sentinel.state.database import StateDatabase
from sentinel.state.rows import upsert
from sentinel.state.tables import REPLICAS


class Replica(NamedTuple):
    """One replica.

    Attributes:
        id: its own, which stays in its state directory.
        name: what people call it.
        group_id: its Kafka group.
        host: the name of its machine.
        url: of its API, as others reach it; None when they cannot.
        partitions: those it has.
        seen_ns: when it last wrote this, by its own clock.
    """

    id: str
    name: str
    group_id: str
    host: str
    url: str | None
    partitions: list[str]
    seen_ns: int


class Replicas:
    """Where replicas find each other.

    Args:
        database: open while it is used.
    """

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    async def announce(self, replica: Replica, forget_ns: int) -> list[Replica]:
        """Write how this one is, forget those that were not seen since `forget_ns`; all of its group. Raises RetryableError."""
        return await self._database.run(lambda connection: announce(connection, replica, forget_ns))

    async def leave(self, replica_id: str) -> None:
        """This one ends. Raises RetryableError."""
        await self._database.run(lambda connection: connection.execute(delete(REPLICAS).where(REPLICAS.c.id == replica_id)))


def announce(connection: Connection, replica: Replica, forget_ns: int) -> list[Replica]:
    """As the method does, in the transaction of this connection."""
    upsert(connection, REPLICAS, [replica._asdict() | {"partitions": msgspec.json.encode(replica.partitions).decode()}])
    connection.execute(delete(REPLICAS).where(REPLICAS.c.seen_ns < forget_ns))
    rows = connection.execute(select(REPLICAS).where(REPLICAS.c.group_id == replica.group_id).order_by(REPLICAS.c.name, REPLICAS.c.id))
    return [Replica(**row | {"partitions": msgspec.json.decode(row["partitions"], type=list[str])}) for row in map(dict, rows.mappings())]
