"""Faults that are put into simulated traffic on purpose: known in time, place and strength, so that detection can be scored."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from sentinel.core.batch import Bool, Float64, Int64, SeriesKey

NS: Final = 1_000_000_000


class FaultKind(StrEnum):
    """What goes wrong, and what a fault's strength means."""

    LATENCY_SPIKE = "latency_spike"
    """Latency times strength."""
    LATENCY_DRIFT = "latency_drift"
    """Latency grows linearly to times strength at the end."""
    TOKEN_SURGE = "token_surge"  # noqa: S105  a kind of fault, not a secret
    """Prompt and completion tokens times strength; latency and cost follow."""
    COST_RUNAWAY = "cost_runaway"
    """Cost times strength, with nothing else changed."""
    ERROR_BURST = "error_burst"
    """This share of the requests fails."""
    TRAFFIC_DROP = "traffic_drop"
    """This share of the requests never arrives; 1.0 is silence."""
    IMPLAUSIBLE_VALUE = "implausible_value"
    """This share of the requests reports a latency, token count or cost beyond every default limit."""
    PII_LEAK = "pii_leak"
    """This share of the responses holds an e-mail address, a key or a card number."""


STRENGTHS: Final[dict[FaultKind, float]] = {
    FaultKind.LATENCY_SPIKE: 5.0,
    FaultKind.LATENCY_DRIFT: 2.5,
    FaultKind.TOKEN_SURGE: 6.0,
    FaultKind.COST_RUNAWAY: 20.0,
    FaultKind.ERROR_BURST: 0.4,
    FaultKind.TRAFFIC_DROP: 1.0,
    FaultKind.IMPLAUSIBLE_VALUE: 0.1,
    FaultKind.PII_LEAK: 0.5,
}
"""The strength of each kind in a plan: plain to see, not absurd."""

ANOMALY_TYPES: Final[dict[FaultKind, str]] = {
    FaultKind.LATENCY_SPIKE: "latency_spike",
    FaultKind.LATENCY_DRIFT: "latency_drift",
    FaultKind.TOKEN_SURGE: "token_usage_spike",
    FaultKind.COST_RUNAWAY: "cost_anomaly",
    FaultKind.ERROR_BURST: "error_rate_increase",
    FaultKind.TRAFFIC_DROP: "silence",
    FaultKind.IMPLAUSIBLE_VALUE: "implausible_value",
    FaultKind.PII_LEAK: "pii_leak",
}
"""The anomaly type that names each kind best."""

LONGEST_NS: Final[dict[FaultKind, int]] = dict.fromkeys(FaultKind, 300 * NS) | {FaultKind.LATENCY_DRIFT: 1800 * NS}
"""The longest a planned fault lasts, however long the plan."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, as it is injected and as a label to score against.

    Attributes:
        kind: what goes wrong.
        start_ns, end_ns: event times from and before which it acts, nanoseconds since the epoch.
        strength: see `FaultKind`; a factor (> 0) or a share (0 to 1).
        service, model: the series it hits; None stands for every one.
    """

    kind: FaultKind
    start_ns: int
    end_ns: int
    strength: float
    service: str | None = None
    model: str | None = None

    @property
    def anomaly_type(self) -> str:
        """The anomaly type a detector should give it."""
        return ANOMALY_TYPES[self.kind]

    def hits(self, series: SeriesKey) -> bool:
        """Whether it acts on this series."""
        return self.service in (None, series.service) and self.model in (None, series.model)

    def strength_at(self, ts_ns: Int64) -> Float64:
        """Its strength at each of the times, float64[n], which must lie within it; only a drift changes."""
        if self.kind is not FaultKind.LATENCY_DRIFT:
            return np.full(len(ts_ns), self.strength)
        return 1 + (self.strength - 1) * (ts_ns - self.start_ns) / (self.end_ns - self.start_ns)


class ActiveFaults:
    """What the faults do to n events of known times and series.

    Args:
        faults: any faults; those that miss these events cost almost nothing.
        names: the series the numbers stand for.
        ts_ns: int64[n], rising.
        series: int64[n], index into `names`.
    """

    def __init__(self, faults: Sequence[Fault], names: Sequence[SeriesKey], ts_ns: Int64, series: Int64) -> None:
        self._ts_ns = ts_ns
        self._active: list[tuple[Fault, Bool]] = []
        for fault in faults:
            if not len(ts_ns) or fault.start_ns > ts_ns[-1] or fault.end_ns <= ts_ns[0]:
                continue
            where = np.array([fault.hits(name) for name in names])[series]
            where &= (ts_ns >= fault.start_ns) & (ts_ns < fault.end_ns)
            self._active.append((fault, where))

    def strength(self, kind: FaultKind, outside: float) -> Float64:
        """float64[n]: the strength of the faults of this kind, `outside` where there is none; of two at once the later in the list."""
        found = np.full(len(self._ts_ns), outside)
        for fault, where in self._active:
            if fault.kind is kind:
                found[where] = fault.strength_at(self._ts_ns[where])
        return found


def fault_plan(
    seed: int,
    start_ns: int,
    end_ns: int,
    series: Sequence[SeriesKey],
    every_ns: int | None = None,
    kinds: Sequence[FaultKind] = tuple(FaultKind),
) -> list[Fault]:
    """Faults between two times, each on one series, none overlapping another, in order of time.

    The time is cut into slots and each but the first, which is left for the baselines to warm up, holds one fault. Every kind
    occurs once before any occurs again.

    Args:
        seed: >= 0; the same arguments give the same plan.
        start_ns: the first moment, nanoseconds since the epoch.
        end_ns: the last one.
        series: the series to choose from.
        every_ns: length of a slot; by default every kind occurs exactly once.
        kinds: which kinds to use.
    """
    slot_ns = every_ns if every_ns is not None else (end_ns - start_ns) // (len(kinds) + 1)
    if not kinds or not series or slot_ns < 10:
        return []
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, 0xFA])))
    plan: list[Fault] = []
    upcoming: list[FaultKind] = []
    for slot_start in range(start_ns + slot_ns, end_ns - slot_ns + 1, slot_ns):
        if not upcoming:
            upcoming = [kinds[i] for i in rng.permutation(len(kinds))]
        kind = upcoming.pop()
        target = series[int(rng.integers(len(series)))]
        begin = slot_start + int(slot_ns * rng.uniform(0.1, 0.3))
        length = min(int(slot_ns * rng.uniform(0.4, 0.6)), LONGEST_NS[kind])
        plan.append(Fault(kind, begin, begin + length, STRENGTHS[kind], target.service, target.model))
    return plan
