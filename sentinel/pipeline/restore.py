"""Bringing a partition's state back: the newest good checkpoint, then the rows stored after it.

A checkpoint is a pure function of the log up to its offset, however the log was cut into deliveries and whoever read it. So one that is
whole, of this log, and not ahead of where reading goes on, is right, also when another replica has written it, or one that has lost the
partition meanwhile.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from sentinel.config.schema import Detection
from sentinel.core.batch import LOCAL_CLUSTER, PartitionId
from sentinel.core.errors import RetryableError, SnapshotError
from sentinel.core.ports import CheckpointStore, Store
from sentinel.detection.snapshot import Copied, digest_of
from sentinel.observability.logs import get
from sentinel.observability.metrics import Metrics
from sentinel.pipeline.shard import Shard

KEEP = 2
"""Checkpoints kept per partition: the newest and the one before, should the newest be damaged."""

RELEARN_ROWS = 1_000_000
"""Most rows, and most offsets of a log, that are read again to bring a state up to date."""

log = get(__name__)


@dataclass(frozen=True, slots=True)
class Folders:
    """What keys begin with where others may use the same place: two logs of one name must not take each other's states for theirs.

    Attributes:
        shared: for logs that all replicas read.
        local: for logs that only this daemon has.
    """

    shared: str = ""
    local: str = ""

    def of(self, source: PartitionId) -> str:
        """What all keys of a log begin with."""
        folder = self.local if source.cluster == LOCAL_CLUSTER else self.shared
        return f"{folder}{source.cluster}/{source.topic}/{source.partition}/"


class Checkpoints:
    """Saves and restores shards. With `store` None nothing is saved and every shard starts empty.

    Attributes:
        unsaved: logs whose last state could not be saved, and why.
    """

    def __init__(
        self, store: CheckpointStore | None, rules: Detection, dedupe_events: int, metrics: Metrics, folders: Folders | None = None
    ) -> None:
        self._store = store
        self._folders = folders or Folders()
        self._rules = rules
        self._dedupe = dedupe_events
        self._metrics = metrics
        self.unsaved: dict[PartitionId, str] = {}

    @property
    def is_saving(self) -> bool:
        """Whether states are saved at all."""
        return self._store is not None

    async def restore(self, source: PartitionId, epoch: int, rows: Store, position: int | None, committed: int | None = None) -> Shard:
        """The state of a partition, and in `next_offset` where to read on.

        The store's position is the truth: a checkpoint beyond it is not used, for the store has lost what it knows. When the group has
        committed more than this store holds, another replica with a store of its own has read there; then reading goes on at the newest
        checkpoint up to the committed offset, wherever it comes from.

        Args:
            source: the log.
            epoch: of the assignment.
            rows: the store.
            position: the store's; None when it holds nothing of this log.
            committed: the group's; None when it never committed.

        Raises:
            RetryableError: a state may be there, and cannot be read now.
        """
        shard = Shard(source, epoch, self._rules, self._dedupe)
        stored, end = position or 0, max(position or 0, committed or 0)
        if self._store is None or (position is None and not committed):
            shard.next_offset = end
            return shard
        checkpoint = await asyncio.to_thread(self._load_newest, self._store, shard, end)
        relearned = await self._relearn(shard, rows, stored)
        if (end and checkpoint is None and not relearned) or (end > stored and not self._leads_to(end, shard.next_offset, stored)):
            self._tell_missing(source, stored, end)
            shard.next_offset = end
        log.info("state restored", partition=str(source), position=shard.next_offset, checkpoint=checkpoint, relearned_events=relearned)
        return shard

    def _leads_to(self, committed: int, offset: int, stored: int) -> bool:
        """Whether a state at this offset is to be brought to the committed one by reading again what another replica has read.

        Where states are not shared, one that ends with our own rows may be days old, and people know of what came since.
        """
        return committed - offset <= RELEARN_ROWS and (offset > stored or bool(self._folders.shared))

    async def _relearn(self, shard: Shard, rows: Store, position: int) -> int:
        """Learn what was stored between the checkpoint and the store's position; how many events."""
        if shard.next_offset >= position:
            return 0
        start = max(shard.next_offset, position - RELEARN_ROWS)
        relearned = 0
        async for block in rows.replay(shard.source, start):
            known = block.before(position)  # a write of an earlier assignment may still be on its way
            if len(known.offsets):
                await asyncio.to_thread(shard.relearn, known)
            relearned += len(known.offsets)
        shard.next_offset = position
        return relearned

    def _tell_missing(self, source: PartitionId, position: int, committed: int) -> None:
        self._metrics.state_missing.inc()
        log.warning(
            "no state found for what was read before, windows start without it",
            partition=str(source),
            read_before=committed,
            stored_here=position,
            cure="have all replicas of the group save in one place: state.checkpoints.url, or one directory as persistence_path",
        )

    def save(self, source: PartitionId, next_offset: int, state: Copied) -> bool:
        """Keep a state and forget all but the last ones; whether it is safe. Blocking: call it off the event loop."""
        if self._store is None:
            return False
        blob = state.blob()
        key = f"{self._folders.of(source)}{next_offset:020d}-{digest_of(blob)[:16]}.ckpt"
        try:
            self._store.put(key, blob)
            self._forget(self._store, source, next_offset)
        except RetryableError as error:
            # The rows are stored; only the time to start again grows. It is tried again soon.
            self._metrics.checkpoint_errors.labels("save").inc()
            log.warning("state not saved", partition=str(source), error=str(error))
            self.unsaved[source] = str(error)
            return False
        self.unsaved.pop(source, None)
        self._metrics.checkpoint_bytes.set(len(blob))
        return True

    def _forget(self, store: CheckpointStore, source: PartitionId, next_offset: int) -> None:
        """Delete all but the last ones up to this offset, and the last ones of all.

        Those ahead are of a replica that is further, or of a log that the store has lost the end of: the first may not lose them, and
        what is saved now must not go because of the second.
        """
        keys = self._newest_first(store, source)
        behind = [key for key in keys if _offset(key) <= next_offset]
        for key in set(keys) - {*keys[:KEEP], *behind[:KEEP]}:
            store.delete(key)

    def _load_newest(self, store: CheckpointStore, shard: Shard, end: int) -> int | None:
        """Load the newest checkpoint that is good and not ahead of `end`; its offset, None when there is none.

        Raises RetryableError when one could not be read, and none before it is good either.
        """
        unread: RetryableError | None = None
        for key in self._newest_first(store, shard.source):
            try:
                blob = store.get(key)
                if blob is None:
                    continue  # another replica has deleted it: it has newer ones
                shard.load(blob, self._dedupe, end)
            except (SnapshotError, RetryableError) as error:
                unread = error if isinstance(error, RetryableError) else unread
                self._metrics.checkpoint_errors.labels("load").inc()
                log.warning("checkpoint not used", partition=str(shard.source), key=key, reason=str(error))
            else:
                return shard.next_offset
        if unread is not None:
            raise unread
        return None

    def _newest_first(self, store: CheckpointStore, source: PartitionId) -> Sequence[str]:
        return sorted((key for key in store.list(self._folders.of(source)) if _offset(key) >= 0), reverse=True)


def _offset(key: str) -> int:
    """The offset in a key; -1 for a key that is none of ours.

    >>> _offset("kafka/llm.telemetry/0/00000000000000000042-3f2a.ckpt")
    42
    """
    digits, _, rest = key.rpartition("/")[2].partition("-")
    return int(digits) if digits.isascii() and digits.isdigit() and rest.endswith(".ckpt") else -1
