"""The path of one batch through the pure middle, as a list one can read. No clock, no network, no random number."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sentinel.config.schema import Parsing, Validation
from sentinel.core.anomaly import Anomaly, AnomalyBatch
from sentinel.core.batch import Bool, CleanBatch
from sentinel.core.canary import Canary
from sentinel.core.delivery import Delivery
from sentinel.core.flags import learnable
from sentinel.core.reject import DeadLetter
from sentinel.detection.judge import judge
from sentinel.ingestion.decode import decode
from sentinel.ingestion.plain import plain_events
from sentinel.ingestion.sanitize import Sanitizer
from sentinel.ingestion.validate import validate
from sentinel.pipeline import together
from sentinel.pipeline.canaries import without_canaries
from sentinel.pipeline.shard import Shard, own_ids


@dataclass(frozen=True, slots=True)
class Rules:
    """What the steps go by; by `canary_key` our own canaries are known, None knows none."""

    parsing: Parsing
    validation: Validation
    sanitizer: Sanitizer
    canary_key: bytes | None = None


@dataclass(frozen=True, slots=True)
class Cleaned:
    """A delivery decoded, validated and sanitized: nothing raw is left. `received` counts the events as they were decoded.

    Canaries are among the filtered.
    """

    received: int
    batch: CleanBatch
    dead_letters: list[DeadLetter]
    filtered: int
    canaries: Sequence[Canary] = ()


@dataclass(frozen=True, slots=True)
class Processed:
    """What a delivery became.

    Attributes:
        received: events the delivery held, counted at decoding; the rest must add up to it.
        batch: the events to store, repeats left out.
        anomalies: what the detectors found in them.
        tick_anomalies: what was found in time windows that closed with them.
        dead_letters: the unusable, redacted.
        duplicates, filtered: how many events were repeats, and how many were no LLM requests: other spans, and canaries.
        canaries: of the daemons of this installation.
    """

    received: int
    batch: CleanBatch
    anomalies: AnomalyBatch
    dead_letters: list[DeadLetter]
    duplicates: int
    filtered: int
    tick_anomalies: Sequence[Anomaly] = ()
    canaries: Sequence[Canary] = ()

    @classmethod
    def of_mark(cls, delivery: Delivery, shard: Shard, found: Sequence[Anomaly]) -> "Processed":
        """What a time mark or a command has brought to light: no events."""
        anomalies = judge(
            (), batch := CleanBatch.empty(delivery.source, delivery.received_ns), Validation(), shard.rules.baseline.window_size
        )
        return cls(0, batch, anomalies, [], 0, 0, found)


def clean(delivery: Delivery, rules: Rules) -> Cleaned:
    """Decode, validate, sanitize. Needs no state."""
    return clean_together([delivery], rules)[0]


def clean_together(deliveries: Sequence[Delivery], rules: Rules) -> list[Cleaned]:
    """The same for several deliveries at a time: no record depends on its neighbours, and many small steps become few.

    What kinds of personal data were found is counted with the first.
    """
    delivery = together.joined(deliveries)
    plain, others = plain_events(delivery, rules.parsing)
    decoded = decode(delivery, rules.parsing, others)
    batches = [batch for batch in (plain, decoded.batch) if batch is not None]
    index = np.concatenate([*(batch.index for batch in batches), [reject.index for reject in decoded.rejects]]).astype(np.int64)
    rejects = list(decoded.rejects)
    clean_batches = []
    for batch in batches:
        valid, invalid = validate(batch, rules.validation)
        rejects += invalid
        if valid is not None:
            clean_batches.append(rules.sanitizer.batch(valid))
    whole = CleanBatch.merged(clean_batches) if clean_batches else CleanBatch.empty(delivery.source, delivery.received_ns)
    rejects.sort(key=lambda reject: (reject.index, reject.sub))
    cleaned = []
    for part, (start, stop) in zip(deliveries, together.bounds(deliveries), strict=True):
        unusable = [replace(reject, index=reject.index - start) for reject in rejects if start <= reject.index < stop]
        letters = [rules.sanitizer.reject(part.source, part.received_ns, reject) for reject in unusable]
        filtered = sum(n for at, n in decoded.filtered_of.items() if start <= at < stop)
        received = int(np.count_nonzero((index >= start) & (index < stop))) + filtered
        own = whole if len(deliveries) == 1 else together.part(whole, part, start, stop)
        events, canaries = without_canaries(own, rules.canary_key)
        cleaned.append(Cleaned(received, events, letters, filtered + len(canaries), canaries))
    return cleaned


def score(cleaned: Cleaned, shard: Shard, limits: Validation, unseen: Bool | None = None) -> Processed:
    """Leave out repeats, judge every event against its baseline just before it, learn it.

    Args:
        cleaned: the delivery.
        shard: of its partition.
        limits: plausible values.
        unseen: bool[n], false for events that others have stored; None when nobody was asked.
    """
    fresh = shard.recent.unseen(own_ids(cleaned.batch.names, cleaned.batch.series, cleaned.batch.event_ids))
    if unseen is not None:
        fresh &= unseen
    batch = cleaned.batch if fresh.all() else cleaned.batch.take(fresh)
    learned = learnable(batch.metrics, batch.flags)
    fired = shard.baselines.score_and_update(batch.names, batch.series, learned)
    anomalies = judge(fired, batch, limits, shard.rules.baseline.window_size)
    shard.watermark_ns = max(shard.watermark_ns, int(batch.ts_ns.max(initial=0)))
    told = shard.over_time.observe(batch, learned)
    repeats = int(np.count_nonzero(~fresh))
    return Processed(cleaned.received, batch, anomalies, cleaned.dead_letters, repeats, cleaned.filtered, told, cleaned.canaries)


def process(delivery: Delivery, shard: Shard, rules: Rules) -> Processed:
    """The whole middle for one delivery of one partition."""
    processed = score(clean(delivery, rules), shard, rules.validation)
    shard.next_offset = delivery.next_offset
    return processed
