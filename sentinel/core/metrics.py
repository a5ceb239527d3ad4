"""The measured columns of an event, in the order they stand in every batch."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Metric:
    """One measured column.

    Attributes:
        name: the column's name with its unit.
        resolution: the smallest difference that can matter, in the metric's unit. No band is narrower than this, so a
            constant stream with a rounding error in it raises nothing.
        spike: anomaly type when a single value stands out.
        drift: anomaly type when the level has moved (CUSUM).
    """

    name: str
    resolution: float
    spike: str
    drift: str


METRICS: Final[tuple[Metric, ...]] = (
    Metric("latency_ms", 1.0, "latency_spike", "latency_drift"),
    Metric("ttft_ms", 1.0, "latency_spike", "latency_drift"),
    Metric("time_per_output_token_ms", 0.1, "latency_spike", "latency_drift"),
    Metric("prompt_tokens", 1.0, "token_usage_spike", "input_drift"),
    Metric("completion_tokens", 1.0, "token_usage_spike", "output_drift"),
    Metric("total_tokens", 1.0, "token_usage_spike", "token_usage_spike"),
    Metric("cost_usd", 1e-5, "cost_anomaly", "cost_anomaly"),
    Metric("error", 0.01, "error_rate_increase", "error_rate_increase"),
)

METRIC_NAMES: Final[tuple[str, ...]] = tuple(metric.name for metric in METRICS)
METRIC_INDEX: Final[dict[str, int]] = {name: index for index, name in enumerate(METRIC_NAMES)}

LATENCY: Final = METRIC_INDEX["latency_ms"]
TTFT: Final = METRIC_INDEX["ttft_ms"]
TIME_PER_OUTPUT_TOKEN: Final = METRIC_INDEX["time_per_output_token_ms"]
PROMPT_TOKENS: Final = METRIC_INDEX["prompt_tokens"]
COMPLETION_TOKENS: Final = METRIC_INDEX["completion_tokens"]
TOTAL_TOKENS: Final = METRIC_INDEX["total_tokens"]
COST: Final = METRIC_INDEX["cost_usd"]
ERROR: Final = METRIC_INDEX["error"]
