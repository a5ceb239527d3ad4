"""The suite finds every broken promise, and detectors of our own keep them all."""

import os
import random
import re
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from math import log, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sentinel.core.detector import Detector, DetectorBatch, Finding, State
from sentinel.core.metrics import LATENCY
from sentinel.testing.detector_streams import STREAMS, constant, faults, many
from sentinel.testing.detector_suite import CHECKS, Case, Check, check_detector, run, run_check
from sentinel.testing.purity import watched

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "detectors" / "refusal_streak"
ROW = np.dtype([("n", "f8"), ("mean", "f8"), ("variance", "f8")])


class _Slow:
    """An honest one: latency far above what its series usually takes, on log scale."""

    def __init__(self) -> None:
        self.rows = np.zeros(0, ROW)

    def observe(self, batch: DetectorBatch) -> Sequence[Finding]:
        self.rows = np.concatenate([self.rows, np.zeros(max(len(batch.names) - len(self.rows), 0), ROW)])
        found = []
        for event, (series, value) in enumerate(zip(batch.series.tolist(), batch.metric("latency_ms").tolist(), strict=True)):
            if value > 0:
                found += self.judged(event, series, value)
                self.learn(self.rows[series], log(value))
        return found

    def judged(self, event: int, series: int, value: float) -> list[Finding]:
        n, mean, variance = self.rows[series].tolist()
        score = (log(value) - mean) / (6.0 * max(sqrt(variance), 0.1))
        return [self.finding(event, series, value, score)] if n >= 100 and score >= 1.0 else []

    def finding(self, event: int, series: int, value: float, score: float) -> Finding:
        return Finding(event=event, series=series, metric="latency_ms", value=value, score=score, sentence="It was slow.")

    def learn(self, row: np.void, value: float) -> None:
        row["n"] += 1
        step = max(0.01, 1.0 / float(row["n"]))
        away = min(max(value - float(row["mean"]), -5.0), 5.0)
        row["mean"] += step * away
        row["variance"] += step * (away * away - float(row["variance"]))

    def mark(self, now_ns: int) -> Sequence[Finding]:
        del now_ns
        return ()

    def export(self) -> State:
        return {"rows": self.rows.copy()}

    def load(self, state: State) -> None:
        if "rows" not in state:
            raise ValueError("no rows")
        self.rows = state["rows"].copy()


# --------------------------------------------------------------------------------------------------- one for each promise


class _Mute(_Slow):
    """Never says anything."""

    def judged(self, event: int, series: int, value: float) -> list[Finding]:
        del event, series, value
        return []


class _Batchwise(_Slow):
    """Learns a whole batch before it judges any of it."""

    def observe(self, batch: DetectorBatch) -> Sequence[Finding]:
        super().observe(batch)
        return super().observe(batch)


class _WrongEvent(_Slow):
    """Counts events from the first of all instead of the batch's first."""

    seen = 0

    def observe(self, batch: DetectorBatch) -> Sequence[Finding]:
        found = [self.finding(self.seen + one.event, one.series, one.value, one.score) for one in super().observe(batch)]
        self.seen += len(batch)
        return found


class _Forgetful(_Slow):
    """Exports only half of what it knows."""

    def export(self) -> State:
        rows = self.rows.copy()
        rows["n"] = 0
        return {"rows": rows}


class _Exhausted(_Slow):
    """Loses what it exports."""

    def export(self) -> State:
        rows, self.rows = self.rows, np.zeros(len(self.rows), ROW)
        return {"rows": rows}


class _Gullible(_Slow):
    """Loads anything."""

    def load(self, state: State) -> None:
        self.rows = state.get("rows", self.rows).copy()


class _Shared(_Slow):
    """Counts in common with all others."""

    count = [0]  # noqa: RUF012  what must not be

    def judged(self, event: int, series: int, value: float) -> list[Finding]:
        self.count[0] += 1
        return super().judged(event, series, value) if self.count[0] % 3 else []


class _Chancy(_Slow):
    """Forgets to mention every other finding, by numpy's shared generator."""

    def judged(self, event: int, series: int, value: float) -> list[Finding]:
        return super().judged(event, series, value) if np.random.random() < 0.5 else []  # noqa: NPY002  what must not be


class _Asking(_Slow):
    """Asks something outside at every batch, and does not use it."""

    def __init__(self, ask: Callable[[], object]) -> None:
        super().__init__()
        self.ask = ask

    def observe(self, batch: DetectorBatch) -> Sequence[Finding]:
        self.ask()
        return super().observe(batch)


class _Infinite(_Slow):
    """Scores beyond all numbers."""

    def finding(self, event: int, series: int, value: float, score: float) -> Finding:
        return super().finding(event, series, value, score * float("inf"))


class _Nameless(_Slow):
    """Names a metric as nobody can."""

    def finding(self, event: int, series: int, value: float, score: float) -> Finding:
        return Finding(event=event, series=series, metric="Latency; drop", value=value, score=score, sentence="It was slow.")


class _Touchy(_Slow):
    """Takes any difference for a change."""

    def observe(self, batch: DetectorBatch) -> Sequence[Finding]:
        values = batch.metric("latency_ms")
        changed = [self.finding(event, 0, 250.0, 1.0) for event in np.flatnonzero((values > 250.0) & (values < 250.0001)).tolist()]
        return [*super().observe(batch), *changed]


class _Talkative(_Slow):
    """Speaks up at three deviations."""

    def judged(self, event: int, series: int, value: float) -> list[Finding]:
        n, mean, variance = self.rows[series].tolist()
        score = (log(value) - mean) / (3.0 * max(sqrt(variance), 0.1))
        return [self.finding(event, series, value, score)] if n >= 100 and score >= 1.0 else []


class _Hoarder(_Slow):
    """Remembers every user."""

    def __init__(self) -> None:
        super().__init__()
        self.users: set[str | None] = set()

    def observe(self, batch: DetectorBatch) -> Sequence[Finding]:
        self.users.update(batch.users[number] for number in batch.user.tolist())
        return super().observe(batch)


class _Spendthrift(_Slow):
    """Keeps a megabyte for each series."""

    def __init__(self) -> None:
        super().__init__()
        self.samples: list[Any] = []

    def observe(self, batch: DetectorBatch) -> Sequence[Finding]:
        self.samples += [np.zeros(131_072) for _ in range(len(batch.names) - len(self.samples))]
        return super().observe(batch)


class _Scribbler(_Slow):
    """Writes into the columns it was given."""

    def observe(self, batch: DetectorBatch) -> Sequence[Finding]:
        batch.metrics[:, LATENCY] = 1.0
        return super().observe(batch)


BROKEN: list[tuple[Callable[[], Detector], set[str], str]] = [
    (_Mute, {"check_it_finds_something"}, "nothing was found"),
    (_Batchwise, {"check_batches_mean_nothing"}, "every event alone"),
    (_WrongEvent, {"check_batches_mean_nothing"}, "is not in its batch"),
    (_Forgetful, {"check_a_restored_one_goes_on"}, "restored after"),
    (_Exhausted, {"check_a_restored_one_goes_on"}, "restored after"),
    (_Gullible, {"check_foreign_state_is_refused"}, "raise ValueError"),
    (_Shared, {"check_the_same_again"}, "side by side"),
    (_Chancy, {"check_the_same_again"}, "side by side"),
    (lambda: _Asking(time.time), {"check_no_clock_no_chance_no_io"}, "time.time"),
    (lambda: _Asking(lambda: datetime.now(UTC)), {"check_no_clock_no_chance_no_io"}, "datetime.now"),
    (lambda: _Asking(random.random), {"check_no_clock_no_chance_no_io"}, "random.random"),
    (lambda: _Asking(lambda: random.choice("ab")), {"check_no_clock_no_chance_no_io"}, "random."),  # noqa: S311  what must not be
    (lambda: _Asking(lambda: np.random.default_rng().random()), {"check_no_clock_no_chance_no_io"}, "posix.urandom"),
    (lambda: _Asking(lambda: os.environ.get("HOME") and Path("/etc/hostname").exists()), {"check_no_clock_no_chance_no_io"}, "posix.stat"),
    (lambda: _Asking(lambda: Path(__file__).read_bytes()), {"check_no_clock_no_chance_no_io"}, "io.open"),
    (_Infinite, {"check_findings_keep_the_rules"}, "score is not a finite number"),
    (_Nameless, {"check_findings_keep_the_rules"}, "metric is not one"),
    (_Touchy, {"check_constants_are_silent"}, "number of findings"),
    (_Talkative, {"check_it_is_quiet"}, "findings in 1,000 healthy events"),
    (_Hoarder, {"check_memory_is_bounded"}, "it keeps some of each"),
    (_Spendthrift, {"check_memory_is_bounded"}, "MiB for 2,000 series"),
    (_Scribbler, {"check_it_finds_something"}, "read-only"),
]


@pytest.mark.parametrize(("make", "checks", "words"), BROKEN)
def test_a_broken_promise_is_found(make: Callable[[], Detector], checks: set[str], words: str) -> None:
    """Each of these breaks one promise, and the check of that promise says so in words that help."""
    for check in CHECKS:
        if check.__name__ in checks:
            with pytest.raises((AssertionError, ValueError), match=words):
                run_check(check, make)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_an_honest_detector_passes(check: Check) -> None:
    """One that keeps all promises passes every check."""
    check(Case(_Slow, faults=lambda: faults(events=3_000)))


def test_every_promise_that_is_broken_is_told() -> None:
    """In one call all broken promises are named, those whose check was stopped by another error among them."""
    with pytest.raises(AssertionError) as told:
        check_detector(_Scribbler)
    assert {line.split(":")[0] for line in str(told.value).splitlines()} >= {check.__name__ for check in CHECKS} - {
        "check_foreign_state_is_refused"
    }


def test_what_is_stated_is_what_is_checked() -> None:
    """A detector may state that it speaks more often, and is held to that."""
    check = next(check for check in CHECKS if check.__name__ == "check_it_is_quiet")
    run_check(check, _Talkative, quiet_per_1000=50.0)
    with pytest.raises(AssertionError, match=r"stated are 0\.1"):
        run_check(check, _Talkative, quiet_per_1000=0.1)


def test_a_fault_of_ones_own_can_be_given() -> None:
    """Where the suite's faults are not what a detector is for, its author gives a stream that has it."""
    check = next(check for check in CHECKS if check.__name__ == "check_it_finds_something")
    run_check(check, _Slow, faults=STREAMS["disordered"])
    with pytest.raises(AssertionError, match="as `faults`"):
        run_check(check, _Slow, faults=constant)


@pytest.mark.parametrize("make", [*STREAMS.values(), constant], ids=lambda make: make.__name__)
def test_streams_are_what_detectors_are_promised(make: Callable[[], Any]) -> None:
    """Always the same: read-only, series numbered in order of appearance, a watermark that never falls, finite or absent metrics."""
    stream, again = make(), make()
    batch = stream.cut(0, len(stream))
    assert batch.series.tolist() == again.batch.series.tolist()
    assert np.array_equal(batch.metrics, again.batch.metrics, equal_nan=True)
    first = list(dict.fromkeys(batch.series.tolist()))
    assert first == list(range(len(batch.names)))
    assert (np.diff(batch.watermark_ns) >= 0).all()
    assert (batch.watermark_ns >= batch.ts_ns).all()
    assert not np.isinf(batch.metrics).any()
    assert np.nanmin(batch.metrics) >= 0
    assert not any(column.flags.writeable for column in (batch.series, batch.ts_ns, batch.metrics, batch.user, batch.personal))
    assert len(stream.cut(0, 1).names) == 1


def test_names_without_end_are_all_different() -> None:
    """The stream for the check of memory has a new user and a new version at each event."""
    batch = many(10, 5, first=100).batch
    assert len({batch.users[number] for number in batch.user.tolist()}) == 50
    assert len(set(batch.dimension("prompt_version"))) == 50


def test_marks_come_where_they_stand() -> None:
    """A run passes each time mark on, with its time, between the events it stands between, however the events are cut."""
    told: list[tuple[int, int]] = []

    class Listening(_Mute):
        seen = 0

        def observe(self, batch: DetectorBatch) -> Sequence[Finding]:
            self.seen += len(batch)
            return ()

        def mark(self, now_ns: int) -> Sequence[Finding]:
            told.append((self.seen, now_ns))
            return ()

    stream = faults()
    run(Listening(), stream, (1, 17, 5_000))
    assert tuple(told) == stream.marks


# ------------------------------------------------------------------------------------------------------------- with pytest


def pytest_run(arguments: Sequence[str], where: Path, path: Sequence[Path]) -> subprocess.CompletedProcess[str]:
    """What an author of detectors runs: pytest with our plugin and nothing else."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV"))}
    environment = kept | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": os.pathsep.join(map(str, [*path, ROOT]))}
    command = [sys.executable, "-m", "pytest", "-p", "sentinel.testing.pytest_plugin", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_each_check_is_a_test_of_its_own(tmp_path: Path) -> None:
    """A test that takes `llm_sentinel_check` becomes one for each check; what is stated reaches them; a broken promise is one failure."""
    (tmp_path / "test_it.py").write_text(
        "from test_detector_suite import _Talkative\n\n\n"
        "def test_slow(llm_sentinel_check):\n    llm_sentinel_check(_Talkative, quiet_per_1000=0.01)\n"
    )
    done = pytest_run(["-q", "-k", "quiet or finds_something"], tmp_path, [Path(__file__).parent])
    assert "test_slow[check_it_is_quiet]" in done.stdout
    assert "1 failed, 1 passed" in done.stdout
    assert "healthy events, stated are 0.01" in done.stdout


def test_the_plugin_costs_others_nothing(tmp_path: Path) -> None:
    """Who does not ask for it gets no import of the package's dependencies, no fixture, no option and no marker."""
    (tmp_path / "test_it.py").write_text(
        "import sys\n\n\ndef test_nothing():\n"
        "    mine = {name for name in sys.modules if name.startswith('sentinel')}\n"
        "    assert mine == {'sentinel', 'sentinel.testing', 'sentinel.testing.pytest_plugin'}\n"
        "    assert not {'numpy', 'numba', 'pydantic', 'msgspec'} & set(sys.modules)\n"
    )
    done = pytest_run(["-q", "-W", "error", "--strict-markers"], tmp_path, [])
    assert "1 passed" in done.stdout, done.stdout


def test_the_plugin_is_an_entry_point() -> None:
    """Installing llm-sentinel is enough for pytest to have it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"]["pytest11"] == {"llm_sentinel": "sentinel.testing.pytest_plugin"}


def test_the_worked_example_passes_its_tests() -> None:
    """The detector of docs/detectors.md keeps all promises and its own, by its own tests."""
    done = pytest_run(["-q", "-W", "error"], EXAMPLE, [EXAMPLE])
    assert done.returncode == 0, done.stdout
    assert f"{len(CHECKS) + 7} passed" in done.stdout


def test_the_document_shows_the_example() -> None:
    """Every piece of code in docs/detectors.md stands in the example, word for word."""
    files = ("refusal_streak.py", "tests/test_refusal_streak.py", "pyproject.toml")
    example = "\n".join((EXAMPLE / name).read_text(encoding="utf-8") for name in files)
    document = (ROOT / "docs" / "detectors.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```(?:python|toml)\n(.*?)^```$", document, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 8
    words = " ".join(example.split())
    assert [block for block in blocks if " ".join(block.split()) not in words] == []


@pytest.mark.parametrize(
    ("do", "seen"),
    [
        (lambda: None, []),
        (lambda: os.fspath(EXAMPLE), []),
        (lambda: np.random.default_rng(1).random(), []),
        (time.monotonic, ["time.monotonic"]),
        (lambda: [time.time() for _ in range(3)], ["time.time"]),
        (lambda: os.urandom(1), ["posix.urandom"]),
        (lambda: datetime.now(UTC), ["datetime.now"]),
        (lambda: socket.socket().close(), ["socket"]),
    ],
)
def test_impure_calls_are_seen(do: Callable[[], object], seen: list[str]) -> None:
    """Clocks, chance, files and sockets are noticed, each once; seeded generators are not; the profiler that was there comes back."""
    profiler = lambda *_: None  # noqa: E731  compared by identity
    before = sys.getprofile()
    sys.setprofile(profiler)
    try:
        with watched() as impure:
            do()
        assert sys.getprofile() is profiler
    finally:
        sys.setprofile(before)
    assert len(impure) == len(seen)
    assert all(name in found for name, found in zip(seen, impure, strict=True))
