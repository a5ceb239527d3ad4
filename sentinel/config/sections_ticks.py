"""The `detection.ticks` section: time windows."""

from typing import Literal

from pydantic import Field

from sentinel.config.section import Section


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
