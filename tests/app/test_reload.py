"""A reload: what changes, what stays, what is refused, and that a failure leaves everything as it was."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from daemon_run import EVER, event, running, saved
from prometheus_client import Counter, Gauge

from sentinel.app.daemon import Daemon
from sentinel.app.reload import Part, Reloader, Result, changed_keys, parts_of, with_values
from sentinel.config.loader import draft
from sentinel.config.problems import dotted
from sentinel.config.schema import Config, Detection
from sentinel.config.section import Section
from sentinel.config.shape import shapes_of
from sentinel.core.batch import SeriesKey
from sentinel.core.errors import StartupError
from sentinel.core.metrics import LATENCY, METRICS, TTFT
from sentinel.core.query import AnomalyQuery, TelemetryQuery
from sentinel.detection.baselines import Baselines
from sentinel.observability import logs

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    """A reload sets logging up anew; other tests keep what they had."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level


@dataclass
class Running:
    """A daemon and its configuration file."""

    daemon: Daemon
    file: Path
    base: str

    def write(self, text: str) -> None:
        """Another file."""
        self.file.write_text(self.base + text)

    async def reload(self, *more: Part) -> Result:
        """As at SIGHUP."""
        reloader = Reloader(self.daemon, (*parts_of(self.daemon), *more), lambda: draft(self.file, {}, read_secrets=True))
        return await reloader.reload()

    async def submit(self, *records: bytes) -> None:
        """Store events."""
        assert self.daemon.context.ingest is not None
        await self.daemon.context.ingest.submit(list(records))


Start = Callable[[str], Awaitable[Running]]


@pytest.fixture
async def running_with(tmp_path: Path) -> AsyncIterator[Start]:
    """Starts one daemon with keys in its file besides the state directory."""
    base = f"state_dir: {tmp_path / 'state'}\n"
    opened: list[Any] = []

    async def start(text: str) -> Running:
        file = tmp_path / "sentinel.yaml"
        file.write_text(base + text)
        context = running(
            draft(file, {}, read_secrets=True).config.model_copy(
                update={"api": Config().api.model_copy(update={"bind_addr": "127.0.0.1:0"})}
            )
        )
        opened.append(context)
        return Running(await context.__aenter__(), file, f"{base}api: {{bind_addr: '127.0.0.1:0'}}\n")

    yield start
    for context in opened:
        await context.__aexit__(None, None, None)


def value(metric: Counter | Gauge, *labels: str) -> float:
    """A metric's value."""
    found: float = (metric.labels(*labels) if labels else metric)._value.get()
    return found


# ------------------------------------------------------------------------------------------------------------- what stays


def learned(rules: Detection, samples: int = 50) -> Baselines:
    """Baselines that have seen a few samples of two series."""
    baselines = Baselines(rules)
    metrics = np.full((samples, len(METRICS)), np.nan)
    metrics[:, LATENCY] = np.arange(samples) % 7 + 100.0
    baselines.score_and_update(
        [SeriesKey("default", "a", "m"), SeriesKey("default", "b", "m")], np.arange(samples, dtype=np.int32) % 2, metrics
    )
    return baselines


def rules_with(**detection: Any) -> Detection:
    """The default rules with other values."""
    return Detection.model_validate(detection)


def test_windows_and_sums_are_carried_over() -> None:
    """Another threshold: the same windows object, the same sums, the same series in the same rows, nothing copied."""
    old = learned(Detection())
    new = old.renewed(rules_with(zscore={"threshold": 9.0}))
    assert new.windows[LATENCY] is old.windows[LATENCY]
    assert (new.names, new.samples_learned) == (old.names, 50)
    assert [view.samples for view in new.views(range(2), lambda _key, metric: metric == "latency_ms")] == [25, 25]


def test_metrics_come_and_go() -> None:
    """A metric nobody names any more is forgotten, a new one starts empty with room for every series; verdicts go on."""
    old = learned(Detection())
    new = old.renewed(rules_with(enabled_detectors=["mad"], baseline={"metrics": ["ttft_ms"]}))
    assert set(new.windows) == {LATENCY, TTFT}
    metrics = np.full((1, len(METRICS)), np.nan)
    metrics[0, LATENCY] = 1e6
    assert len(new.score_and_update([SeriesKey("default", "b", "m")], np.zeros(1, np.int32), metrics)) == 1


def test_the_same_rules_give_the_same_verdicts() -> None:
    """Carried over in the middle of a stream, scores equal those of baselines that were not."""
    metrics = np.full((200, len(METRICS)), np.nan)
    metrics[:, LATENCY] = np.random.default_rng(3).normal(100, 20, 200)
    series, names = np.zeros(200, np.int32), [SeriesKey("default", "a", "m")]
    straight, first = Baselines(Detection()), Baselines(Detection())
    expected = [hit for half in (metrics[:100], metrics[100:]) for hit in straight.score_and_update(names, series[:100], half)]
    found = first.score_and_update(names, series[:100], metrics[:100])
    found += first.renewed(Detection()).score_and_update(names, series[:100], metrics[100:])
    assert [hit.score.tolist() for hit in found] == [hit.score.tolist() for hit in expected]


def test_windows_of_another_size_are_refused() -> None:
    """They would have to be learned anew."""
    with pytest.raises(ValueError, match="another size"):
        learned(Detection()).renewed(rules_with(baseline={"window_size": 10}))


# ----------------------------------------------------------------------------------------------------------- what changes


async def test_thresholds_act_from_the_next_event_on_with_the_old_baseline(running_with: Start) -> None:
    """A spike that was an anomaly before is none after the threshold is raised, judged by the window learned before."""
    run = await running_with("detection: {enabled_detectors: [mad]}\n")
    await run.submit(*(event(i) for i in range(40)), event(40, latency_ms=130))
    before = len(await run.daemon.store.anomalies(AnomalyQuery(range=EVER)))
    run.write("detection: {enabled_detectors: [mad], mad: {threshold: 1000}}\n")
    assert await run.reload() is Result.APPLIED
    await run.submit(event(41, latency_ms=130))
    assert (before, len(await run.daemon.store.anomalies(AnomalyQuery(range=EVER)))) == (1, 1)
    (shard,) = run.daemon.pipeline.shards.values()
    assert shard.baselines.samples_learned == 42
    run.write("detection: {enabled_detectors: [mad], mad: {threshold: 3.5}}\n")
    await run.reload()
    await run.submit(event(42, latency_ms=130))
    found = await run.daemon.store.anomalies(AnomalyQuery(range=EVER))
    assert [anomaly.samples for anomaly in found] == [42, 40]


async def test_it_takes_effect_between_two_deliveries(running_with: Start) -> None:
    """A delivery that the worker has already is finished by the old rules, the one after the reload goes by the new."""
    run = await running_with("")
    await run.submit(event(0))
    busy = threading.Event()
    run.daemon._worker.submit(busy.wait)
    before = asyncio.create_task(run.submit(event(1, latency_ms=900)))
    while not run.daemon.pipeline._in_worker:  # noqa: ASYNC110  handed over in a task of its own
        await asyncio.sleep(0)
    run.write("ingestion: {validation: {max_latency_ms: 500, on_out_of_range: reject}}\n")
    reloading = asyncio.create_task(run.reload())
    while run.daemon.pipeline._config.ingestion.validation.max_latency_ms != 500:  # noqa: ASYNC110  read aside
        await asyncio.sleep(0)
    busy.set()
    assert await reloading is Result.APPLIED
    await before
    await run.submit(event(2, latency_ms=900))
    page = await run.daemon.store.telemetry(TelemetryQuery(range=EVER))
    assert sorted(item["event_id"] for item in page.items) == ["e0", "e1"]


async def test_the_state_is_saved_with_the_next_delivery(running_with: Start) -> None:
    """So that a restart learns what follows by the rules it was judged by."""
    run = await running_with("")
    await run.submit(event(0))
    run.write("detection: {cusum: {drift: 0.1}}\n")
    await run.reload()
    await run.submit(event(1))
    checkpoints = Path(run.daemon.config.state_dir) / "checkpoints"
    async with asyncio.timeout(20):
        while not saved(checkpoints):  # noqa: ASYNC110  saved aside, after the ack
            await asyncio.sleep(0)


async def test_validation_and_patterns_act(running_with: Start) -> None:
    """ingestion.validation and ingestion.parsing: the next event is judged and cleaned by the new rules."""
    run = await running_with("privacy: {capture: redacted}\n")
    await run.submit(event(0, latency_ms=900, prompt_text="codename: tulip"))
    run.write(
        "privacy: {capture: redacted}\n"
        "ingestion: {validation: {max_latency_ms: 500, on_out_of_range: reject}, parsing: {sanitize_patterns: [codename]}}\n"
    )
    assert await run.reload() is Result.APPLIED
    await run.submit(event(1, latency_ms=900), event(2, prompt_text="codename: tulip"))
    page = await run.daemon.store.telemetry(TelemetryQuery(range=EVER))
    texts = {item["event_id"]: item.get("prompt_text") for item in page.items}
    assert texts.keys() == {"e0", "e2"}
    assert "tulip" in texts["e0"]
    assert "tulip" not in texts["e2"]
    assert run.daemon.pipeline.ledger.total().dead_lettered == 1


async def test_retention_and_limits_act(running_with: Start) -> None:
    """What the store and the API read at each use."""
    run = await running_with("")
    run.write(
        "storage: {embedded: {telemetry_retention_hours: 1}}\n"
        "ingestion: {http: {max_events_per_request: 2}}\n"
        "pipeline: {queue_max_bytes: 65536}\n"
    )
    assert await run.reload() is Result.APPLIED
    await run.submit(event(0, timestamp=(run.daemon.clock.now_ns() - 2 * 3_600 * 10**9) // 10**6))
    assert await run.daemon.store.prune(run.daemon.clock.now_ns()) == 1
    assert run.daemon.context.config.ingestion.http.max_events_per_request == 2
    assert run.daemon.config.pipeline.queue_max_bytes == 65_536


async def test_the_configured_log_level_comes_back(running_with: Start) -> None:
    """A level that was set at run time lasts until the next reload, changed or not."""
    run = await running_with("observability: {log_level: warning}\n")
    logs.set_level("debug")
    run.write("observability: {log_level: warning}\n")
    assert await run.reload() is Result.UNCHANGED
    assert logs.current_level() == "warning"
    run.write("observability: {log_level: error}\n")
    assert await run.reload() is Result.APPLIED
    assert logs.current_level() == "error"


async def test_secret_files_are_read_again(running_with: Start, tmp_path: Path) -> None:
    """A part that takes a secret gets the file's new content; the key's name is told, never its value."""
    secret = tmp_path / "secret"
    secret.write_text("first-secret-of-many-characters")
    secret.chmod(0o600)
    run = await running_with(f"privacy: {{pseudonym_key_file: {secret}}}\n")
    taken: list[str] = []

    async def take(config: Config) -> None:
        assert config.privacy.pseudonym_key is not None
        taken.append(config.privacy.pseudonym_key.reveal())

    secret.write_text("second-secret-of-many-characters")
    run.write(f"privacy: {{pseudonym_key_file: {secret}}}\n")
    assert await run.reload() is Result.UNCHANGED
    assert await run.reload(Part("keys", ("privacy.pseudonym_key",), take)) is Result.APPLIED
    assert taken == ["second-secret-of-many-characters"]


# ----------------------------------------------------------------------------------------------------------- what does not


async def test_what_needs_a_restart_keeps_its_value(running_with: Start, capsys: pytest.CaptureFixture[str]) -> None:
    """It is named in a warning; what can change beside it does."""
    run = await running_with("")
    state_dir, window = run.daemon.config.state_dir, run.daemon.config.detection.baseline.window_size
    run.write("detection: {baseline: {window_size: 50, min_samples: 20}}\n")
    logs.configure("info", as_json=True)
    assert await run.reload() is Result.APPLIED
    assert (run.daemon.config.state_dir, run.daemon.config.detection.baseline.window_size) == (state_dir, window)
    assert run.daemon.config.detection.baseline.min_samples == 20
    assert '"keys":["detection.baseline.window_size"]' in capsys.readouterr().err


async def test_new_values_that_do_not_fit_the_old_are_refused(running_with: Start) -> None:
    """min_samples fits the new window_size, but that needs a restart: nothing changes."""
    run = await running_with("")
    run.write("detection: {baseline: {window_size: 5000, min_samples: 2000}, mad: {threshold: 99}}\n")
    assert await run.reload() is Result.INVALID
    assert run.daemon.config.detection == Detection()


async def test_an_invalid_file_changes_nothing(running_with: Start) -> None:
    """Counted, and the gauge says so until a reload goes well."""
    run = await running_with("")
    metrics = run.daemon.metrics
    run.write("detection: {mad: {threshold: -1}}\n")
    assert await run.reload() is Result.INVALID
    run.file.unlink()
    assert await run.reload() is Result.INVALID
    assert (value(metrics.config_reloads, "invalid"), value(metrics.config_last_reload_successful)) == (2, 0)
    run.write("")
    assert await run.reload() is Result.UNCHANGED
    assert value(metrics.config_last_reload_successful) == 1


@pytest.mark.parametrize("error", [StartupError("no broker"), ValueError("an event"), TimeoutError()])
async def test_a_part_that_fails_rolls_everything_back(running_with: Start, error: Exception) -> None:
    """Parts that had changed get the old configuration back, the failed one too; the daemon goes on as it was."""
    run = await running_with("")
    asked: list[float] = []

    async def take(config: Config) -> None:
        asked.append(config.detection.mad.threshold)
        if config.detection.mad.threshold == 99:
            raise error

    run.write("detection: {mad: {threshold: 99}}\n")
    assert await run.reload(Part("alerts", ("detection.mad",), take)) is Result.FAILED
    assert asked == [99, 3.5]
    assert run.daemon.config.detection.mad.threshold == 3.5
    assert value(run.daemon.metrics.config_reloads, "failed") == 1
    await run.submit(event(0))
    (shard,) = run.daemon.pipeline.shards.values()
    assert shard.rules.mad.threshold == 3.5


async def test_a_reload_after_the_inputs_have_ended(running_with: Start, tmp_path: Path) -> None:
    """Files are read to their end, the daemon goes on answering queries: it can still be reloaded."""
    lines = tmp_path / "a.jsonl"
    lines.write_bytes(event(0) + b"\n")
    files = f"ingestion: {{http: {{enabled: false}}, files: {{paths: [{lines}]}}}}\n"
    run = await running_with(files)
    async with asyncio.timeout(20):
        while run.daemon.pipeline.ledger.total().stored < 1 or not run.daemon.pipeline._ended:  # noqa: ASYNC110  read aside
            await asyncio.sleep(0)
    run.write(f"{files}detection: {{mad: {{threshold: 99}}}}\n")
    assert await run.reload() is Result.APPLIED
    assert {shard.rules.mad.threshold for shard in run.daemon.pipeline.shards.values()} == {99}


# --------------------------------------------------------------------------------------------------------------- the keys


def keys_of(section: type[Section], path: str = "") -> Iterator[str]:
    """Every section and key of the configuration, dotted."""
    for name, shape in shapes_of(section).items():
        yield f"{path}{name}"
        if shape.section is not None:
            yield from keys_of(shape.section, f"{path}{name}.")


async def test_every_key_that_can_change_exists_and_is_documented(running_with: Start) -> None:
    """The parts name keys of the schema, and docs/operations.md lists exactly these."""
    parts = parts_of((await running_with("")).daemon)
    named = {key for part in parts for key in part.keys}
    assert named <= set(keys_of(Config))
    text = OPERATIONS.read_text(encoding="utf-8")
    table = text[text.index("| Changes at a reload |") :].split("\n\n", 1)[0]
    assert {word for word in table.replace("`", " ").replace(",", " ").split() if "." in word} == named


def test_only_what_differs_is_changed() -> None:
    """A key, a nested key, and a section that was not there."""
    old = Config()
    new = Config.model_validate({"state_dir": "x", "detection": {"mad": {"threshold": 9}}, "ingestion": {"kafka": {"brokers": ["a:1"]}}})
    keys = list(changed_keys(old, new))
    assert {dotted(key) for key in keys} == {"state_dir", "detection.mad.threshold", "ingestion.kafka"}
    assert with_values(old, new, keys) == new
    assert with_values(old, new, [key for key in keys if key[0] == "detection"]).state_dir == old.state_dir
