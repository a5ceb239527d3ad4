"""A new configuration while the daemon runs: read, checked, and applied as a whole between two deliveries, or not at all.

A reload never closes a source, a store or a shard, so nothing in flight is lost and baselines stay. What can change is named by the parts
below; every other key keeps its value, and a warning names it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from sentinel.app.daemon import Daemon
from sentinel.config.checks import check_run
from sentinel.config.loader import Loaded
from sentinel.config.problems import KeyPath, Problem, dotted
from sentinel.config.schema import Config
from sentinel.config.section import Section
from sentinel.core.errors import SentinelError
from sentinel.observability import logs
from sentinel.storage.embedded import EmbeddedStore

APPLY_LIMIT_S: Final = 30.0
"""A part that takes longer to take a new configuration has failed."""

log = logs.get(__name__)

Reread = Callable[[], Loaded]
"""Reads the configuration anew, secret files included, as the start did; errors are among its problems."""


class Result(StrEnum):
    """How a reload ended."""

    APPLIED = "applied"
    UNCHANGED = "unchanged"
    INVALID = "invalid"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the daemon that takes new values while it runs.

    Attributes:
        name: for the log.
        keys: the keys it takes, dotted; a section stands for all of its keys.
        reconfigure: takes them from a whole configuration. When it raises, it is called again with the old one.
        always: called at every reload, because its values also change in other ways.
    """

    name: str
    keys: tuple[str, ...]
    reconfigure: Callable[[Config], Awaitable[None]]
    always: bool = False

    def takes(self, key: str) -> bool:
        """Whether a key is one of its own."""
        return any(key == own or key.startswith(f"{own}.") for own in self.keys)


LOG_KEYS: Final = ("observability.log_level", "observability.log_json")
API_KEYS: Final = (
    "api.timeout_secs",
    "api.enable_cors",
    "api.cors_origins",
    "api.enable_logging",
    "ingestion.http.max_events_per_request",
)
STORE_KEYS: Final = (
    "storage.embedded.telemetry_retention_hours",
    "storage.embedded.anomaly_retention_hours",
    "storage.embedded.rollup_retention_hours",
    "storage.embedded.rollup_interval_secs",
)
ALERT_KEYS: Final = (
    "alerting.min_severity",
    "alerting.event_anomalies",
    "alerting.costly_event_usd",
    "alerting.external_url",
    "alerting.max_open_alerts",
    "alerting.history_days",
    "alerting.history_rows",
    "alerting.deduplication",
    "alerting.rabbitmq.min_severity",
    "alerting.webhook.min_severity",
)
PIPELINE_KEYS: Final = (
    "ingestion.parsing.max_text_length",
    "ingestion.parsing.enable_sanitization",
    "ingestion.parsing.sanitize_patterns",
    "ingestion.validation",
    "ingestion.dead_letters.max_record_chars",
    "privacy.capture",
    "detection.enabled_detectors",
    "detection.baseline.min_samples",
    "detection.baseline.update_interval_secs",
    "detection.baseline.metrics",
    "detection.zscore",
    "detection.iqr",
    "detection.mad",
    "detection.cusum",
    "pipeline.queue_max_bytes",
    "pipeline.drain_timeout_secs",
)


def parts_of(daemon: Daemon) -> tuple[Part, ...]:
    """What can change, in the order it does; the pipeline last, because its change is the one that is between two deliveries."""

    async def logging(config: Config) -> None:
        logs.configure(config.observability.log_level, as_json=config.observability.log_json)

    async def api(config: Config) -> None:
        daemon.context.config = config

    async def store(config: Config) -> None:
        if isinstance(daemon.store, EmbeddedStore):
            daemon.store.section = config.storage.embedded

    async def alerts(config: Config) -> None:
        if daemon.alerts is not None:
            daemon.alerts.configure(config.alerting)

    return (
        Part("log", LOG_KEYS, logging, always=True),
        Part("api", API_KEYS, api),
        Part("store", STORE_KEYS, store),
        Part("alerts", ALERT_KEYS, alerts),
        Part("pipeline", PIPELINE_KEYS, daemon.reconfigure_pipeline),
    )


class Reloader:
    """Reloads a running daemon, one time after the other.

    Args:
        daemon: started.
        parts: what can change.
        reread: reads the configuration.
    """

    def __init__(self, daemon: Daemon, parts: Iterable[Part], reread: Reread) -> None:
        self._daemon = daemon
        self._parts = tuple(parts)
        self._reread = reread
        self._lock = asyncio.Lock()

    async def reload(self) -> Result:
        """Read and apply; whatever is wrong is logged and counted, and the old configuration stays."""
        async with self._lock:
            result = await self._reload()
        metrics = self._daemon.metrics
        metrics.config_reloads.labels(result.value).inc()
        metrics.config_last_reload_successful.set(int(result in {Result.APPLIED, Result.UNCHANGED}))
        return result

    async def _reload(self) -> Result:
        loaded = await asyncio.to_thread(self._reread)
        problems = check_run(loaded)
        _log_problems(problems)
        if _errors(problems):
            log.error("configuration not reloaded, the old one stays in force: correct what is named above")
            return Result.INVALID
        old = self._daemon.config
        keys = list(changed_keys(old, loaded.config))
        live = [key for key in keys if any(part.takes(dotted(key)) for part in self._parts)]
        held = [dotted(key) for key in keys if key not in live]
        if held:
            log.warning("these keys have changed and need a restart; until then the old values are in force", keys=held)
        merged = with_values(old, loaded.config, live)
        if held and (misfits := _errors(check_run(replace(loaded, config=merged)))):
            _log_problems(misfits)
            log.error("configuration not reloaded: the new values do not fit the old ones that need a restart", keys=held)
            return Result.INVALID
        return await self._apply(old, merged, [dotted(key) for key in live])

    async def _apply(self, old: Config, new: Config, keys: list[str]) -> Result:
        begun: list[Part] = []
        for part in self._parts:
            if not part.always and not any(part.takes(key) for key in keys):
                continue
            begun.append(part)
            try:
                async with asyncio.timeout(APPLY_LIMIT_S):
                    await part.reconfigure(new)
            except Exception as error:  # noqa: BLE001  whatever it is, the daemon goes on as it was
                log.error("a part did not take the new configuration, the old one is put back", part=part.name, **_told(error))  # noqa: TRY400  see `frames`
                await self._put_back(begun, old)
                return Result.FAILED
        self._daemon.config = self._daemon.context.config = new
        log.info("configuration reloaded", keys=keys, positions=self._positions())
        return Result.APPLIED if keys else Result.UNCHANGED

    @staticmethod
    async def _put_back(parts: list[Part], old: Config) -> None:
        for part in reversed(parts):
            try:
                async with asyncio.timeout(APPLY_LIMIT_S):
                    await part.reconfigure(old)
            except Exception as error:  # noqa: BLE001  the others are still put back
                log.error("a part did not take the old configuration back: restart the daemon", part=part.name, **_told(error))  # noqa: TRY400  see `frames`

    def _positions(self) -> dict[str, int]:
        """Where the change stands in each log, at most a hundred of them."""
        shards = list(self._daemon.pipeline.shards.values())[:100]
        return {str(shard.source): shard.next_offset for shard in shards}


def changed_keys(old: Section, new: Section, path: KeyPath = ()) -> Iterator[KeyPath]:
    """The keys whose values differ; a section that is only in one of them is one key.

    >>> [dotted(key) for key in changed_keys(Config(), Config(state_dir="elsewhere"))]
    ['state_dir']
    """
    for name in type(old).model_fields:
        before, after = getattr(old, name), getattr(new, name)
        if before == after:
            continue
        if isinstance(before, Section) and isinstance(after, Section):
            yield from changed_keys(before, after, (*path, name))
        else:
            yield (*path, name)


def with_values(old: Config, new: Config, keys: Iterable[KeyPath]) -> Config:
    """The old configuration with the new one's values of some keys."""
    merged = old
    for key in keys:
        merged = _with_value(merged, new, key)
    return merged


def _with_value(old: Any, new: Any, key: KeyPath) -> Any:  # noqa: ANN401  a section, or a value of one
    if not key:
        return new
    name = str(key[0])
    return old.model_copy(update={name: _with_value(getattr(old, name), getattr(new, name), key[1:])})


def _errors(problems: Iterable[Problem]) -> list[Problem]:
    """Why `sentinel run` would refuse it."""
    return [problem for problem in problems if problem.severity == "error"]


def _log_problems(problems: Iterable[Problem]) -> None:
    for problem in problems:
        where = problem.file if problem.line is None else f"{problem.file}:{problem.line}"
        tell = log.error if problem.severity == "error" else log.warning
        tell("configuration", where=where, key=problem.key, problem=problem.what, cure=problem.suggestion)


def _told(error: Exception) -> dict[str, Any]:
    """What may be logged of an error: our own words, else its kind and place."""
    if isinstance(error, SentinelError):
        return {"error": str(error)}
    return {"error": type(error).__name__, "frames": logs.frames(error)}
