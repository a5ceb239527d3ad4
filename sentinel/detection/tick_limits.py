"""From the configuration to what kernels go by."""

from typing import Final

import numpy as np

from sentinel.config.sections_ticks import Ticks as TickRules
from sentinel.detection.tick_order import SECOND_NS
from sentinel.detection.tick_state import QUANTITY_NAMES, Limits
from sentinel.detection.zscore import SENSITIVITY

MINUTE_NS: Final = 60 * SECOND_NS


def limits_of(rules: TickRules) -> Limits:
    """The limits that the `detection.ticks` section asks for.

    >>> limits = limits_of(TickRules())
    >>> limits.minute, limits.quarter, round(float(np.exp(limits.least[0])), 3)
    (6, 90, 1.1)
    """
    least = rules.least_change
    percent = {
        "prompt_tokens": least.tokens_pct,
        "completion_tokens": least.tokens_pct,
        "cost_usd": least.cost_pct,
        "cost_usd_per_minute": least.spend_pct,
    }
    minute = max(1, round(60 / rules.tick_secs))
    return Limits(
        tick_ns=rules.tick_secs * SECOND_NS,
        tick_s=float(rules.tick_secs),
        minute=minute,
        quarter=minute * 15 if rules.tick_secs <= 60 else max(1, round(900 / rules.tick_secs)),
        false_days=rules.false_alarm_days,
        strictness=SENSITIVITY[rules.sensitivity],
        hold_ns=int(rules.hold_minutes * MINUTE_NS),
        accept_ns=int(rules.accept_minutes * MINUTE_NS),
        marker_ns=int(rules.marker_minutes * MINUTE_NS),
        least=np.log1p(np.array([percent.get(name, least.latency_pct) for name in QUANTITY_NAMES]) / 100.0),
        falls=np.array([name in rules.tell_falls for name in QUANTITY_NAMES], np.int64),
        error_share=least.error_points / 100.0,
        traffic_factor=least.traffic_factor,
    )
