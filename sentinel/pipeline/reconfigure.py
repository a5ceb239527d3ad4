"""New rules on old baselines: what a reload changes in the state of a partition. No clock, no network."""

from collections.abc import Sequence

from sentinel.config.schema import Detection
from sentinel.pipeline.shard import Shard


def adopt(shards: Sequence[Shard], rules: Detection) -> None:
    """Let every shard judge by `rules` from its next delivery on. All of them change, or none.

    Raises ValueError when the rules ask for windows of another size: these have to be learned anew.
    """
    renewed = [(shard.baselines.renewed(rules), shard.over_time.renewed(rules)) for shard in shards]
    for shard, (baselines, over_time) in zip(shards, renewed, strict=True):
        with shard.lock:
            shard.rules, shard.baselines, shard.over_time = rules, baselines, over_time
