"""The `detection.ticks` section: time windows."""

from typing import Literal

from pydantic import Field

from sentinel.config.section import Positive, Section

FallingQuantity = Literal[
    "latency_ms", "ttft_ms", "time_per_output_token_ms", "prompt_tokens", "completion_tokens", "cost_usd", "cost_usd_per_minute"
]


class LeastChange(Section):
    """Changes smaller than these are not told, however certain they are."""

    latency_pct: Positive = 10.0
    """Of latency for its length, time to first token and time per token, in per cent."""
    tokens_pct: Positive = 20.0
    """Of prompt and completion tokens, in per cent."""
    cost_pct: Positive = 20.0
    """Of the cost of a request, in per cent."""
    spend_pct: Positive = 100.0
    """Of the cost of a minute, in per cent."""
    error_points: Positive = 1.0
    """Of the share of failed requests, in percentage points."""
    traffic_factor: float = Field(default=2.0, gt=1)
    """Requests per minute must be this many times as many, or as few, as expected."""


class Ticks(Section):
    """What is judged over time instead of event by event."""

    enabled: bool = True
    """Watch time windows."""
    tick_secs: int = Field(default=10, ge=1, le=3_600)
    """Length of a time window, in seconds of event time."""
    lateness_secs: int = Field(default=5, ge=0, le=3_600)
    """How far events may come out of order and still count in their window, in seconds of event time."""
    sensitivity: Literal["low", "medium", "high"] = "medium"
    """Scales the thresholds: low x 1.33, medium x 1, high x 0.83."""
    false_alarm_days: float = Field(default=500.0, ge=1, le=100_000)
    """Days of healthy traffic of one series after which one test alone may be wrong once, at medium sensitivity."""
    hold_minutes: float = Field(default=30.0, ge=1, le=1_440)
    """What comes back within this time is the same trouble and is not told again, in minutes."""
    accept_minutes: float = Field(default=60.0, ge=5, le=10_080)
    """A level that has stayed shifted for this long is the new normal, in minutes."""
    marker_minutes: float = Field(default=60.0, ge=0, le=1_440)
    """How long bands are wider after a marker, in minutes."""
    least_change: LeastChange = LeastChange()
    """What is too small to be told."""
    tell_falls: list[FallingQuantity] = Field(default=["prompt_tokens", "completion_tokens"])
    """Quantities of which a fall is told; of all others only a rise."""
    max_series: int = Field(default=5_000, ge=1, le=100_000)
    """Series per partition with time windows of their own; further ones share those of one series named `__other__`."""
