"""The state of time windows: records side by side in arrays, one a series or one a series x quantity, and what kernels are called with."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from sentinel.core.batch import Float64, Int8, Int32, Int64
from sentinel.core.metrics import COMPLETION_TOKENS, COST, LATENCY, METRIC_NAMES, PROMPT_TOKENS, TIME_PER_OUTPUT_TOKEN, TTFT
from sentinel.core.tell import SPEND
from sentinel.detection.profile import PROFILE
from sentinel.detection.tick_baseline import BASELINE
from sentinel.detection.tick_evidence import evidence_fields
from sentinel.detection.tick_failures import FAILURES
from sentinel.detection.tick_flow import FLOW
from sentinel.detection.tick_hours import OF_DAY
from sentinel.detection.tick_order import CLOCK
from sentinel.detection.tick_scores import SCORES
from sentinel.detection.tick_tail import TESTS
from sentinel.detection.tick_tokens import TOKENS

Records = npt.NDArray[Any]

EVENT_QUANTITIES: Final = (LATENCY, TTFT, TIME_PER_OUTPUT_TOKEN, PROMPT_TOKENS, COMPLETION_TOKENS, COST)
"""Columns of an event that have a level of their own, by their number in METRICS."""
QUANTITY_NAMES: Final = (*(METRIC_NAMES[column] for column in EVENT_QUANTITIES), SPEND)
QUANTITIES: Final = len(QUANTITY_NAMES)
SPEND_QUANTITY: Final = QUANTITIES - 1
BY_LENGTH: Final = 2
"""The first so many quantities are judged for their length in tokens."""
COLUMNS: Final = np.array(EVENT_QUANTITIES)
FLOORS: Final = np.array([0.1, 0.1, 0.01, 1.0, 1.0, 1e-6, 1e-6])
"""Added before logarithms are taken, in the unit of each quantity: what is too little to matter, so that zero has a place."""

GROUPS: Final = 4
SHAPE, FAILING, TRAFFIC, SILENT = range(GROUPS)
"""Troubles that are told once each: levels and tails of all quantities together, failures, traffic, silence."""

SERIES: Final = np.dtype(
    [
        ("active", "i8"),
        ("born", "i8"),
        ("events", "f8"),
        ("last_ns", "i8"),
        ("tick_n", "f8"),
        ("spent", "f8"),
        ("payers", "f8"),
        ("base", "f8"),
        ("quiet", "i8"),
        ("marked_ns", "i8"),
        ("sampled_ns", "i8"),
        ("usual_ns", "i8"),
    ]
)
"""One series: whether it is walked each tick; requests; the open tick; what was spent by how many; `base` of its edges; whether
silence was told; markers."""

FORK: Final[list[Any]] = [
    ("fork_ns", "i8"),
    ("seen_ns", "i8"),
    ("fork", "f8"),
    ("fork_n", "f8"),
    ("former", "f8"),
    ("former_ns", "i8"),
    ("extremes", "f8"),
]
"""A shifted level under observation: since when, last evidence, how far, over how many; the level before the last regime; extremes seen."""

LEVEL: Final = np.dtype([*SCORES, *BASELINE, *evidence_fields(TESTS), *OF_DAY, *FORK])
INCIDENT: Final = np.dtype([("open_ns", "i8"), ("seen_ns", "i8"), ("told", "i8"), ("quantities", "i8")])
"""One trouble: since when it is told (0 for none), last evidence, highest severity told, quantities that are part of it as a bit mask."""

PRIOR: Final = np.dtype(
    [
        ("weight", "f8", (QUANTITIES,)),
        ("width", "f8", (QUANTITIES,)),
        ("wander", "f8", (QUANTITIES,)),
        ("by_prompt", "f8", (BY_LENGTH,)),
        ("by_completion", "f8", (BY_LENGTH,)),
        ("share_weight", "f8"),
        ("share", "f8"),
        ("sway", "f8"),
    ]
)
"""What series of one model, of one provider or of all have in common."""

FINDING: Final = np.dtype(
    [(name, "i8") for name in ("row", "kind", "quantity", "severity", "tick_ns", "ts_ns", "since_ns", "others", "series_count")]
    + [(name, "f8") for name in ("value", "expected", "lower", "upper", "score", "samples", "share", "deviation")]
)
"""What a kernel found; times in nanoseconds, `others` as a bit mask of quantities."""


class State(NamedTuple):
    """The arrays of a partition; r rows of series.

    Attributes:
        clock: one record of `tick_order.CLOCK`.
        series, failures, flows, profiles: [r].
        levels: [r, QUANTITIES]; tokens: [r, BY_LENGTH]; incidents: [r, GROUPS].
        families: int32[r, 2], index into `priors` of the model and of the provider.
        priors: [f], the first one of all series.
        walked: int32[r], rows that are walked each tick; `clock["walked"]` of them.
    """

    clock: Records
    series: Records
    failures: Records
    flows: Records
    profiles: Records
    levels: Records
    tokens: Records
    incidents: Records
    families: Int32
    priors: Records
    walked: Int32


class Limits(NamedTuple):
    """What the kernels go by, from the configuration.

    Attributes:
        tick_ns, tick_s: length of a tick.
        minute, quarter: ticks in a minute and in a quarter of an hour, at least one.
        false_days, strictness: see `tick_evidence`.
        hold_ns, accept_ns, marker_ns: how long a trouble is one, a shift is under observation, a marker counts.
        least: float64[QUANTITIES], changes worth telling, on log scale.
        falls: int64[QUANTITIES], 1 where a fall is told.
        error_share: rise of the share of failures worth telling.
        traffic_factor: change of traffic worth telling.
    """

    tick_ns: int
    tick_s: float
    minute: int
    quarter: int
    false_days: float
    strictness: float
    hold_ns: int
    accept_ns: int
    marker_ns: int
    least: Float64
    falls: Int64
    error_share: float
    traffic_factor: float


class Out(NamedTuple):
    """What a walk brings to light.

    Attributes:
        findings: records of FINDING; used: int64[1], how many.
        noted: int8[n], why each released event is worth remembering, bits of `Note`; weight: float64[n], how extreme it is.
    """

    findings: Records
    used: Int64
    noted: Int8
    weight: Float64


NOTE_FAILED, NOTE_EXTREME, NOTE_SAMPLE, NOTE_USUAL = 1, 2, 4, 8


def new_state(rows: int, priors: int) -> State:
    """Empty arrays; memory that is not written to costs nothing."""
    return State(
        clock=np.zeros(1, CLOCK),
        series=np.zeros(rows, SERIES),
        failures=np.zeros(rows, np.dtype(FAILURES)),
        flows=np.zeros(rows, np.dtype(FLOW)),
        profiles=np.zeros(rows, PROFILE),
        levels=np.zeros((rows, QUANTITIES), LEVEL),
        tokens=np.zeros((rows, BY_LENGTH), np.dtype(TOKENS)),
        incidents=np.zeros((rows, GROUPS), INCIDENT),
        families=np.zeros((rows, 2), np.int32),
        priors=np.zeros(priors, PRIOR),
        walked=np.zeros(rows, np.int32),
    )


PER_ROW: Final = ("series", "failures", "flows", "profiles", "levels", "tokens", "incidents", "families")


def tables_of(state: State, rows: int) -> dict[str, Records]:
    """What a checkpoint keeps of the first so many rows, as copies."""
    kept = {name: getattr(state, name)[:rows].copy() for name in PER_ROW}
    walked = state.walked[: int(state.clock[0]["walked"])].copy()
    return {**kept, "clock": state.clock.copy(), "priors": state.priors.copy(), "walked": walked}


def fill(state: State, tables: Mapping[str, Records], rows: int) -> None:
    """Put back what `tables_of` gave. Raises KeyError or ValueError when it is of another version, or says what cannot be."""
    for name in (*PER_ROW, "clock", "priors", "walked"):
        target, given = getattr(state, name), tables[name]
        length = rows if name in PER_ROW else len(given)
        if given.dtype != target.dtype or given.shape != (length, *target.shape[1:]):
            raise ValueError(f"table {name} is of another version")
        target[:length] = given
    walked = tables["walked"]
    if int(state.clock[0]["walked"]) != len(walked) or not np.all((walked >= 0) & (walked < rows)):
        raise ValueError("the walked series are not among the known ones")
    if not np.all((state.families[:rows] >= 0) & (state.families[:rows] < len(state.priors))):
        raise ValueError("families of series that are not known")
