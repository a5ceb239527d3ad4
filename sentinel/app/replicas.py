"""This replica among those of its group: it describes itself in the state database every few seconds, and knows the others."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Collection
from typing import Final

from sentinel.api.peers import Peers
from sentinel.app.alarms import instance_of
from sentinel.app.state import Places, instance_name
from sentinel.config.addresses import parse_address
from sentinel.config.schema import Api, Config
from sentinel.core.batch import PartitionId
from sentinel.core.errors import SentinelError
from sentinel.core.ports import Clock
from sentinel.observability.logs import get
from sentinel.state.database import StateDatabase
from sentinel.state.replicas import Replica, Replicas

EVERY_S: Final = 5.0
FORGET_NS: Final = 60_000_000_000
"""A replica that was silent for so long is gone; until then it counts as one that does not answer."""
EVERYWHERE: Final = frozenset(("", "0.0.0.0", "::"))  # noqa: S104  compared with, not bound to

log = get(__name__)


class Membership:
    """Announces this replica and keeps the list of the others.

    Args:
        replicas: where they find each other.
        me: makes this one's description, but for the time.
        clock: the time of each.
    """

    def __init__(self, replicas: Replicas, me: Callable[[], Replica], clock: Clock) -> None:
        self._replicas = replicas
        self._me = me
        self._clock = clock
        self._others: list[Replica] = []
        self._failed = False
        self._task: asyncio.Task[None] | None = None

    def others(self) -> list[Replica]:
        """The other replicas of the group, as they were a few seconds ago."""
        return self._others

    async def open(self) -> None:
        """Announce this one, again and again from now on."""
        await self._announce()
        self._task = asyncio.create_task(self._run(), name="replicas")

    async def close(self) -> None:
        """Take this one's description away. Twice is harmless."""
        if self._task is None:
            return
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._task = None
        try:
            await self._replicas.leave(self._me().id)
        except SentinelError as error:
            log.warning("the other replicas will believe for a minute that this one is there", error=str(error))

    async def _run(self) -> None:
        while True:
            await self._clock.sleep(EVERY_S)
            await self._announce()

    async def _announce(self) -> None:
        now_ns = self._clock.now_ns()
        me = self._me()._replace(seen_ns=now_ns)
        try:
            known = await self._replicas.announce(me, now_ns - FORGET_NS)
        except SentinelError as error:
            if not self._failed:
                log.warning("cannot tell the other replicas of this one, will be tried again", error=str(error))
            self._failed = True
            return
        self._failed = False
        self._others = [replica for replica in known if replica.id != me.id]


def reachable_at(api: Api, port: int) -> str | None:
    """Where the others reach this replica's API: as configured, else at the address it listens on; None when that names no machine."""
    if api.advertise_url is not None:
        return api.advertise_url.rstrip("/")
    host = parse_address(api.bind_addr).host
    if host in EVERYWHERE:
        return None
    scheme = "http" if api.tls_cert_file is None else "https"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


class Group:
    """The replicas of this daemon's group: this one's membership, and asking the others.

    Args:
        config: checked by the caller; with Kafka and PostgreSQL.
        where: has this replica's id.
        database: the state database; open before, closed after.
        clock: the time of announcements.
        doing: the partitions that are ours now, and the port we listen on.
    """

    def __init__(
        self, config: Config, where: Places, database: StateDatabase, clock: Clock, doing: Callable[[], tuple[Collection[PartitionId], int]]
    ) -> None:
        self._config = config
        self._id = instance_name(where)
        self._host = socket.gethostname()
        self._doing = doing
        self._membership = Membership(Replicas(database), self._me, clock)
        self.peers = Peers(self._membership.others, self._host)

    async def open(self) -> None:
        """Announce this one, and be able to ask the others."""
        await self.peers.open()
        await self._membership.open()

    async def close(self) -> None:
        """Leave. Twice is harmless."""
        await self._membership.close()
        await self.peers.close()

    def _me(self) -> Replica:
        partitions, port = self._doing()
        kafka = self._config.ingestion.kafka
        group_id = kafka.group_id if kafka is not None else ""
        names = sorted(map(str, partitions))
        return Replica(self._id, instance_of(self._config), group_id, self._host, reachable_at(self._config.api, port), names, 0)


def shares(config: Config) -> bool:
    """Whether there may be other replicas that can be found."""
    return config.ingestion.kafka is not None and config.state.url is not None
