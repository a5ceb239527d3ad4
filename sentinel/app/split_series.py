"""Series whose events come in several partitions: each of these has a part of their baseline, and no one sees the whole rate."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from sentinel.api.context import Context
from sentinel.core.batch import OVERFLOW, PartitionId, SeriesKey
from sentinel.observability.logs import get

EXAMPLES: Final = 3

log = get(__name__)


class Split(NamedTuple):
    """How series lie in partitions.

    Attributes:
        series: distinct ones.
        split: those that are in more than one partition of a topic.
        examples: a few of the latter, by name.
    """

    series: int
    split: int
    examples: list[SeriesKey]


def split_of(partitions: Iterable[tuple[PartitionId, Sequence[SeriesKey]]]) -> Split:
    """How the series of some partitions lie in them. Cost: some 0.3 us a series and partition."""
    topics: dict[tuple[str, str], Counter[SeriesKey]] = {}
    for source, names in partitions:
        topics.setdefault((source.cluster, source.topic), Counter()).update(set(names) - {OVERFLOW})
    split = sorted({name for found in topics.values() for name, count in found.items() if count > 1})
    return Split(len(set().union(*topics.values())), len(split), split[:EXAMPLES])


class SplitSeries:
    """Counts them among the partitions of this replica, and says so once; again after there were none."""

    def __init__(self) -> None:
        self._told = False

    async def look(self, context: Context) -> None:
        """Look at all partitions."""
        partitions = [(source, shard.baselines.names.copy()) for source, shard in list(context.pipeline.shards.items())]
        found = await asyncio.to_thread(split_of, partitions)
        context.metrics.series_split.set(found.split)
        if found.split and not self._told:
            log.warning(
                "series are spread over several partitions, so each has several baselines: key the records by service and model",
                split=found.split,
                series=found.series,
                examples=["/".join(name) for name in found.examples],
            )
        self._told = found.split > 0
