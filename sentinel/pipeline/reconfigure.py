"""New rules on old baselines: what a reload changes in the state of a partition. No clock, no network."""

from collections.abc import Sequence

from sentinel.config.schema import Detection
from sentinel.detection.baselines import Baselines
from sentinel.pipeline.shard import Shard


def adopt(shards: Sequence[Shard], rules: Detection) -> None:
    """Let every shard judge by `rules` from its next delivery on. All of them change, or none.

    Raises ValueError when the rules ask for windows of another size: these have to be learned anew.
    """
    renewed = [carried(shard.baselines, rules) for shard in shards]
    for shard, baselines in zip(shards, renewed, strict=True):
        with shard.lock:
            shard.rules, shard.baselines = rules, baselines


def carried(old: Baselines, rules: Detection) -> Baselines:
    """Baselines with the windows and sums of `old`, judged by `rules`. Nothing is copied; `old` must not be used any more.

    Metrics that `rules` no longer names are left out, new ones start empty.

    Raises ValueError when the rules ask for windows of another size.
    """
    if rules.baseline.window_size != old.rules.baseline.window_size:
        raise ValueError("windows of another size cannot be carried over: they are learned anew after a restart")
    new = Baselines(rules)
    new.windows |= {metric: old.windows[metric] for metric in new.windows.keys() & old.windows.keys()}
    for metric in new.sums.keys() & old.sums.keys():
        new.sums[metric].up, new.sums[metric].down = old.sums[metric].up, old.sums[metric].down
    for name in old.names:
        new.row(name)
    new.samples_learned = old.samples_learned
    return new
