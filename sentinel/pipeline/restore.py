"""Bringing a partition's state back: the newest good checkpoint, then the rows stored after it."""

import asyncio
import hashlib
from collections.abc import Sequence

from sentinel.config.schema import Detection
from sentinel.core.batch import PartitionId
from sentinel.core.errors import RetryableError, SnapshotError
from sentinel.core.ports import CheckpointStore, Store
from sentinel.observability.logs import get
from sentinel.observability.metrics import Metrics
from sentinel.pipeline.shard import Shard

KEEP = 2
"""Checkpoints kept per partition: the newest and the one before, should the newest be damaged."""

RELEARN_ROWS = 1_000_000
"""Most rows read back when there is no checkpoint."""

log = get(__name__)


class Checkpoints:
    """Saves and restores shards. With `store` None nothing is saved and every shard starts empty."""

    def __init__(self, store: CheckpointStore | None, rules: Detection, dedupe_events: int, metrics: Metrics) -> None:
        self._store = store
        self._rules = rules
        self._dedupe = dedupe_events
        self._metrics = metrics

    async def restore(self, source: PartitionId, epoch: int, rows: Store, position: int | None) -> Shard:
        """The state of a partition just before `position`, the store's.

        A checkpoint beyond the position is not used: the store has lost what it knows, so it is not the truth any more.
        """
        shard = Shard(source, epoch, self._rules, self._dedupe)
        if self._store is None or position is None:
            shard.next_offset = position or 0
            return shard
        await asyncio.to_thread(self._load_newest, self._store, shard, position)
        start = max(shard.next_offset, position - RELEARN_ROWS)
        relearned = 0
        async for block in rows.replay(source, start):
            known = block.before(position)  # a write of an earlier assignment may still be on its way
            if len(known.offsets):
                await asyncio.to_thread(shard.relearn, known)
            relearned += len(known.offsets)
        shard.next_offset = position
        log.info("state restored", partition=str(source), position=position, checkpoint=start, relearned_events=relearned)
        return shard

    def save(self, source: PartitionId, next_offset: int, blob: bytes) -> None:
        """Keep a blob and forget all but the last ones. Blocking: call it off the event loop."""
        if self._store is None:
            return
        key = f"{_prefix(source)}{next_offset:020d}-{hashlib.sha256(blob).hexdigest()[:16]}.ckpt"
        try:
            self._store.put(key, blob)
            for old in self._newest_first(self._store, source)[KEEP:]:
                self._store.delete(old)
        except RetryableError as error:
            # The rows are stored; only the time to start again grows. The next interval tries again.
            self._metrics.checkpoint_errors.labels("save").inc()
            log.warning("state not saved", partition=str(source), error=str(error))
            return
        self._metrics.checkpoint_bytes.set(len(blob))

    def _load_newest(self, store: CheckpointStore, shard: Shard, position: int) -> None:
        for key in self._newest_first(store, shard.source):
            blob = store.get(key)
            try:
                if blob is None:
                    continue
                shard.load(blob, self._dedupe, position)
            except SnapshotError as error:
                self._metrics.checkpoint_errors.labels("load").inc()
                log.warning("checkpoint not used", partition=str(shard.source), key=key, reason=str(error))
            else:
                return

    @staticmethod
    def _newest_first(store: CheckpointStore, source: PartitionId) -> Sequence[str]:
        return sorted((key for key in store.list(_prefix(source)) if key.endswith(".ckpt")), reverse=True)


def _prefix(source: PartitionId) -> str:
    return f"{source.cluster}/{source.topic}/{source.partition}/"
