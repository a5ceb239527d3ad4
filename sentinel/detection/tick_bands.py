"""Bands: what is expected of every watched quantity of a series now, for people and the API."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import nan

import numpy as np

from sentinel.core.batch import SeriesKey
from sentinel.core.tell import ERROR_RATE, REQUESTS
from sentinel.detection.tick_baseline import LEAST_EVENTS
from sentinel.detection.tick_findings import band, in_unit
from sentinel.detection.tick_flow import WARM_UP_TICKS
from sentinel.detection.tick_incidents import is_open
from sentinel.detection.tick_report import confidence
from sentinel.detection.tick_state import FAILING, QUANTITY_NAMES, SHAPE, SILENT, TRAFFIC, Limits, State


@dataclass(frozen=True, slots=True)
class TickBand:
    """What is expected of a quantity of a series now: centre and band, in the unit its name says.

    Attributes:
        series: where.
        quantity: what, as in `Anomaly.metric`.
        expected, lower, upper: centre and band; of latency for requests of usual length.
        latest: what the last minutes gave; NaN when nothing came.
        confidence: how much to trust it, 0 to 1.
        samples: events it rests on.
        open: whether an anomaly of it is going on.
    """

    series: SeriesKey
    quantity: str
    expected: float
    lower: float
    upper: float
    latest: float
    confidence: float
    samples: int
    open: bool


def bands_of(state: State, limits: Limits, row: int, series: SeriesKey, now_ns: int) -> Iterator[TickBand]:
    """The bands of one series; quantities that are not judged yet are left out."""
    flow = state.flows[row]
    if flow["ticks"] < WARM_UP_TICKS:
        return
    troubles = [bool(is_open(state.incidents[row, group], now_ns, limits.hold_ns)) for group in (SHAPE, FAILING, TRAFFIC, SILENT)]
    rate, factor = 60.0 * float(flow["rate"]), limits.traffic_factor
    latest = 60.0 * float(flow["brisk"])
    sure = confidence(float(flow["ticks"]))
    yield TickBand(series, REQUESTS, rate, rate / factor, rate * factor, latest, sure, int(flow["ticks"]), troubles[2] or troubles[3])
    failures = state.failures[row]
    sought = float(failures["sought"][0])
    samples = float(failures["n"])
    yield TickBand(series, ERROR_RATE, float(failures["share"]), 0.0, sought, nan, confidence(samples), int(samples), troubles[1])
    for quantity, name in enumerate(QUANTITY_NAMES):
        rec = state.levels[row, quantity]
        if rec["n"] < LEAST_EVENTS:
            continue
        level, half = float(rec["centre"] + rec["shade"]), band(rec, limits.least[quantity])
        lower, expected, upper, seen = (in_unit(quantity, level + off) for off in (-half, 0.0, half, float(rec["recent"])))
        part = troubles[0] and bool(int(state.incidents[row, SHAPE]["quantities"]) >> quantity & 1)
        yield TickBand(series, name, expected, lower, upper, seen, confidence(float(rec["n"])), int(np.floor(rec["n"])), part)
