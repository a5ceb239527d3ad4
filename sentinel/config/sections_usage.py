"""The parts of the `detection` section about minutes, hours and days: drift, users, personal data, thresholds, budgets."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from sentinel.config.section import Count, Name, Positive, Section

MeasuredName = Literal[
    "latency_ms",
    "ttft_ms",
    "time_per_output_token_ms",
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "cost_usd",
    "error",
    "requests",
]
GaugedName = Literal[
    "latency_ms",
    "ttft_ms",
    "time_per_output_token_ms",
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "cost_usd",
    "error_rate",
    "requests_per_minute",
]
Share = Annotated[float, Field(gt=0, le=1)]


class Drift(Section):
    """Whether prompts and answers are still of the usual kind: lengths, finish reasons, embeddings, refusals, empty answers."""

    enabled: bool = True
    """Watch for drift."""
    min_psi: Positive = 0.25
    """Population stability index from which a change matters, however sure it is; 0.25 is the usual limit of a major shift."""
    min_embedding_shift: Positive = 0.2
    """Move of the mean embedding from which it matters, in parts of how far single events lie from it; Cohen calls 0.2 small."""
    min_increase: Share = 0.03
    """Increase of the share of refusals or empty answers from which it matters."""
    reference_days: Positive = 7.0
    """Half-life of what is usual, in days."""
    warm_up_hours: Count = 24
    """Hours of history before a series is judged, for users and personal data as well: a day has been seen once."""
    accept_hours: Count = 24
    """Hours after which a change that stays is the new normal, for users and personal data as well."""


class Abuse(Section):
    """Whether single users take far more of a service than its busiest users usually do."""

    enabled: bool = True
    """Watch users."""
    factor: float = Field(default=3.0, gt=1)
    """How many times what the busiest user usually takes."""
    min_requests: Count = 300
    """Requests an hour from which a user can be told, and a quarter of them in five minutes."""
    min_tokens: Count = 500_000
    """Tokens an hour from which a user can be told, and a quarter of them in five minutes."""
    min_cost_usd: Positive = 5.0
    """Spend an hour from which a user can be told, and a quarter of it in five minutes, in US dollars."""
    max_users: int = Field(default=16_384, ge=64, le=1_000_000)
    """Users per partition that are counted exactly in one window; beyond it the least active are dropped."""


class Leaks(Section):
    """Whether more events than usual hold personal data or secrets."""

    enabled: bool = True
    """Watch the share of events with findings."""
    min_events: Count = 5
    """Events with findings in a window before it is judged."""
    min_increase: Share = 0.01
    """Increase of the share from which it matters."""


class ThresholdRule(Section):
    """One static limit on a metric of all matching series."""

    name: Name
    """What the rule is called in anomalies; unique."""
    service: Name = "*"
    """Services it is for; `*` and `?` stand for any characters."""
    model: Name = "*"
    """Models it is for; `*` and `?` stand for any characters."""
    metric: MeasuredName
    """What is measured; `requests` counts events."""
    statistic: Literal["mean", "p50", "p90", "p95", "p99", "per_minute"] = "mean"
    """How a window becomes one number; the mean of `error` is the error rate, percentiles are right to 2%."""
    direction: Literal["above", "below"] = "above"
    """Which side of the limit is bad."""
    warning: float | None = None
    """Limit of a warning, in the metric's unit."""
    critical: float | None = None
    """Limit of a critical anomaly, in the metric's unit."""
    window_minutes: int = Field(default=5, ge=1, le=1_440)
    """Length of a window, in minutes; 1440 must be a multiple of it."""
    windows: Count = 1
    """Windows in a row beyond the limit before people are told."""
    min_samples: int = Field(default=10, ge=0)
    """Samples a window must have to be judged; rates per minute are judged with any number."""

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        """Refuse a rule that could never fire or whose limits contradict each other."""
        if self.warning is None and self.critical is None:
            raise PydanticCustomError("rule_no_limit", "needs `warning` or `critical`")
        if self.warning is not None and self.critical is not None:
            wrong = self.critical < self.warning if self.direction == "above" else self.critical > self.warning
            if wrong:
                raise PydanticCustomError("rule_limits_crossed", "`critical` must lie beyond `warning`")
        if self.metric == "requests" and self.statistic != "per_minute":
            raise PydanticCustomError("rule_no_statistic", "`requests` goes with `statistic: per_minute` only")
        if 1_440 % self.window_minutes:
            raise PydanticCustomError("rule_bad_window", "`window_minutes` must divide 1440, so that windows fit into a day")
        return self


class BudgetRule(Section):
    """One limit on spend."""

    name: Name
    """What the rule is called in anomalies; unique."""
    service: Name = "*"
    """Services that count; `*` and `?` stand for any characters."""
    model: Name = "*"
    """Models that count; `*` and `?` stand for any characters. Not for budgets per user."""
    per: Literal["all", "service", "model", "user"] = "all"
    """Who has the limit: all that matches together, each service, each model or each user. Users are told apart per tenant."""
    period: Literal["hour", "day", "month"] = "month"
    """Time the limit is for, by the calendar in UTC."""
    limit_usd: Positive
    """Spend allowed in a period, in US dollars."""
    warn_at: list[Positive] = Field(min_length=1, max_length=10, default=[0.5, 0.8, 1.0])
    """Shares of the limit that are told once a period each: info below 0.8, a warning from there, critical from 1."""
    forecast: bool = True
    """Tell once a period when its end is forecast beyond the limit, at 95% confidence."""

    @model_validator(mode="after")
    def _countable(self) -> Self:
        """Users are counted per service, not per model."""
        if self.per == "user" and self.model != "*":
            raise PydanticCustomError("rule_user_model", "`per: user` counts all models: leave `model` out")
        return self


class Multivariate(Section):
    """Half-space trees over several metrics at once; needs `llm-sentinel[multivariate]`."""

    enabled: bool = False
    """Watch combinations of metrics; see docs/detection.md for what it brings."""
    max_series: int = Field(default=100, ge=1, le=1_000)
    """Series with trees, the first to come; each takes about a megabyte."""
    trees: int = Field(default=25, ge=1, le=100)
    """Trees of each series."""
    probability: Share = 1e-3
    """How rare a healthy window would have to be, by the series' own scores."""


class Gauges(Section):
    """Means of five minutes against their slow level and daily rhythm."""

    enabled: bool = False
    """Watch slow, seasonal values; time windows of seconds (`detection.ticks`) watch the same series faster."""
    metrics: list[GaugedName] = Field(default=["latency_ms", "cost_usd"], min_length=1)
    """What has a gauge, 7 kB for each series: means, the share of errors, or the rate of requests."""
    threshold: Positive = 1.0
    """Scores are divided by it: more than 1 for fewer alerts."""

    @model_validator(mode="after")
    def _metrics_differ(self) -> Self:
        """Two gauges of one metric would tell everything twice."""
        if len(set(self.metrics)) < len(self.metrics):
            raise PydanticCustomError("gauge_same_metric", "names a metric twice")
        return self


class Watching(Section):
    """What is judged over minutes, hours and days."""

    max_watched_series: int = Field(default=5_000, ge=1, le=100_000)
    """Series per partition that are watched over minutes, hours and days; idle ones make room, further ones share `__other__`."""
    drift: Drift = Drift()
    """Prompts and answers of another kind."""
    abuse: Abuse = Abuse()
    """Users."""
    leaks: Leaks = Leaks()
    """Personal data and secrets."""
    thresholds: list[ThresholdRule] = Field(default=[], max_length=200)
    """Static limits."""
    budgets: list[BudgetRule] = Field(default=[], max_length=200)
    """Limits on spend. Each partition counts its own log."""
    multivariate: Multivariate = Multivariate()
    """Combinations of metrics."""
    gauges: Gauges = Gauges()
    """Slow, seasonal values."""

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        """Two rules of one name would share their anomalies' ids."""
        for rules in (self.thresholds, self.budgets):
            names = [rule.name for rule in rules]
            if len(set(names)) < len(names):
                raise PydanticCustomError("rule_same_name", "two rules of one kind have the same name")
        return self
