"""The `detection` section: what is an anomaly."""

from typing import Literal

from pydantic import Field

from sentinel.config.section import MetricName, Positive, Section
from sentinel.config.sections_plugins import Plugins
from sentinel.config.sections_ticks import Ticks
from sentinel.config.sections_usage import Watching

DetectorChoice = Literal["zscore", "iqr", "mad", "cusum"]


class Baseline(Section):
    """What is normal, per service x model x metric."""

    window_size: int = Field(default=1_000, ge=4, le=100_000)
    """Samples in a window."""
    min_samples: int = Field(default=10, ge=2)
    """Samples before a window is judged against."""
    update_interval_secs: Positive = 60.0
    """How often the state is saved, in seconds."""
    enable_persistence: bool = True
    """Save and restore the state."""
    persistence_path: str | None = None
    """Directory of the saved state, which replicas of one group may share; `checkpoints` in the state directory when absent."""
    metrics: list[MetricName] = Field(default=["latency_ms", "ttft_ms", "prompt_tokens", "completion_tokens", "total_tokens", "cost_usd"])
    """Metrics that get a baseline, besides those the detectors name."""
    max_series: int = Field(default=20_000, ge=1, le=1_000_000)
    """Series per partition; when all are taken, new ones push out those that are idle or hardly known, or share `__other__`."""
    active_series: int = Field(default=1_000, ge=1, le=1_000_000)
    """Series per partition that keep full windows: those that had an event last; the others keep the last 64 samples."""


class Zscore(Section):
    """Distance from the mean in standard deviations."""

    threshold: Positive = 3.0
    """Standard deviations from the mean at medium sensitivity."""
    sensitivity: Literal["low", "medium", "high"] = "medium"
    """Scales the threshold: low x 1.33, medium x 1, high x 0.83."""
    metrics: list[MetricName] = Field(default=["latency_ms", "total_tokens", "cost_usd"])
    """Metrics it watches."""


class Iqr(Section):
    """Distance beyond the quartiles in interquartile ranges."""

    multiplier: Positive = 1.5
    """Interquartile ranges beyond the quartiles."""
    metrics: list[MetricName] = Field(default=["latency_ms", "total_tokens"])
    """Metrics it watches."""


class Mad(Section):
    """Distance from the median in median absolute deviations (modified z-score)."""

    threshold: Positive = 3.5
    """Modified z-score."""
    metrics: list[MetricName] = Field(default=["latency_ms"])
    """Metrics it watches."""


class Cusum(Section):
    """Sum of small deviations, for drifts."""

    threshold: Positive = 5.0
    """Cumulative sum that fires, in standard deviations."""
    drift: float = Field(default=0.5, ge=0)
    """Slack per sample, in standard deviations."""
    metrics: list[MetricName] = Field(default=["latency_ms"])
    """Metrics it watches."""


class Detection(Watching):
    """What is an anomaly."""

    enabled_detectors: list[DetectorChoice] = Field(default=["zscore", "iqr", "mad", "cusum"])
    """Detectors that run."""
    baseline: Baseline = Baseline()
    """Windows."""
    zscore: Zscore = Zscore()
    """Z-score."""
    iqr: Iqr = Iqr()
    """Interquartile range."""
    mad: Mad = Mad()
    """Median absolute deviation."""
    cusum: Cusum = Cusum()
    """Cumulative sum."""
    ticks: Ticks = Ticks()
    """Time windows."""
    plugins: Plugins = Field(default_factory=dict)
    """Detectors of others that run, by the name of their entry point, each with its parameters."""
