"""Detectors of others: how they are found, what they are given, what becomes of what they answer, and of their failures."""

import os
import subprocess
import sys
import textwrap
from asyncio import CancelledError
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel.config.plugins import Plugin, configured, rule
from sentinel.core.batch import OVERFLOW, CleanBatch, Dimensions, PartitionId, SeriesKey
from sentinel.core.detector import MAX_SENTENCE, NO_EVENT, DetectorBatch, Finding, State, checked
from sentinel.core.errors import SnapshotError, StartupError
from sentinel.core.flags import Flag, learnable
from sentinel.core.ids import anomaly_id, tick_anomaly_id
from sentinel.core.metrics import LATENCY, METRICS
from sentinel.detection.plugin_run import BURST, EVENTS_PER_FINDING
from sentinel.detection.plugins import Plugins

ROOT = Path(__file__).parents[2]
LOG = PartitionId("kafka", "llm.telemetry", 3)
SECOND_NS = 1_000_000_000
START_NS = 1_768_473_000 * SECOND_NS
REFUSED, STOPPED = Dimensions(finish_reason="refusal"), Dimensions(finish_reason="stop")


def batch_of(n: int, *, first: int = 0, services: Sequence[str] = ("chat",), latency_ms: float = 100.0) -> CleanBatch:
    """Events of some services in turn, a second apart, from offset `first` on."""
    empty = CleanBatch.empty(LOG, 0)
    number = np.arange(first, first + n)
    used = list(dict.fromkeys(services[i % len(services)] for i in number.tolist()))
    metrics = np.full((n, len(METRICS)), np.nan)
    metrics[:, LATENCY] = latency_ms + number
    return replace(
        empty,
        index=np.arange(n, dtype=np.int32),
        offsets=number,
        subs=np.zeros(n, np.int32),
        ts_ns=START_NS + number * SECOND_NS,
        log_ns=np.zeros(n, np.int64),
        names=tuple(SeriesKey("default", name, "gpt") for name in used),
        series=np.array([used.index(services[i % len(services)]) for i in number.tolist()], np.int32),
        metrics=metrics,
        flags=np.zeros(n, np.int32),
        dialects=np.zeros(n, np.int8),
        dimension_sets=(STOPPED, REFUSED),
        dimensions=(number % 5 == 4).astype(np.int32),
        users=("user-a", None),
        user=(number % 2).astype(np.int32),
        personal=np.zeros(n, np.bool_),
        event_ids=[f"event-{i}" for i in number.tolist()],
        trace_ids=[f"trace-{i}" for i in number.tolist()],
        extra=[None] * n,
    )


class Counting:
    """Tells of every tenth event of a series, and at time marks of every series. `answer` changes what it tells."""

    def __init__(self, answer: Callable[[Finding], Any] = lambda finding: finding, every: int = 10) -> None:
        self.answer = answer
        self.every = every
        self.counts = np.zeros(0, np.int64)
        self.batches: list[DetectorBatch] = []

    def observe(self, batch: DetectorBatch) -> Sequence[Finding]:
        """Count."""
        self.batches.append(batch)
        self.counts = np.concatenate([self.counts, np.zeros(len(batch.names) - len(self.counts), np.int64)])
        found = []
        for event, series in enumerate(batch.series.tolist()):
            self.counts[series] += 1
            if self.counts[series] % self.every == 0:
                value = float(self.counts[series])
                found.append(self.answer(Finding(event=event, series=series, metric="count", value=value, score=2.0, sentence="Ten more.")))
        return found

    def mark(self, now_ns: int) -> Sequence[Finding]:
        """Tell what was counted."""
        return [
            self.answer(Finding(event=NO_EVENT, series=i, metric="total", value=float(n), score=1.0, sentence="Time.", ts_ns=now_ns))
            for i, n in enumerate(self.counts.tolist())
        ]

    def export(self) -> State:
        """The counts."""
        return {"counts": self.counts.copy()}

    def load(self, state: State) -> None:
        """The counts."""
        if "counts" not in state:
            raise ValueError("there are no counts")
        self.counts = state["counts"].copy()


def plugins_of(*made: Callable[[], Any], max_series: int = 100) -> Plugins:
    """The detectors of a partition, called `plugin_0` and so on."""
    return Plugins([Plugin(f"plugin_{i}", make) for i, make in enumerate(made)], LOG, max_series)


def observed(plugins: Plugins, batch: CleanBatch) -> list[dict[str, Any]]:
    """What is found in a batch, as plain values."""
    return [msgspec.to_builtins(anomaly) for anomaly in plugins.observe(batch, learnable(batch.metrics, batch.flags))]


# ------------------------------------------------------------------------------------------------------ what becomes of findings


def test_a_finding_becomes_an_anomaly() -> None:
    """It has the event's place, time and trace, the series by name, a severity by its score, and an id that anybody can compute."""
    told = {"expected": 5.0, "lower": 1.0, "upper": 7.0, "since_ns": START_NS, "type": "usage_abuse", "samples": 30, "confidence": 0.5}
    (found,) = observed(plugins_of(lambda: Counting(lambda finding: replace(finding, **told))), batch_of(10, first=40))
    series = SeriesKey("default", "chat", "gpt")
    assert found == {
        "id": anomaly_id(LOG, 49, 0, series, "count", "plugin_0"),
        "timestamp": "2026-01-15T10:30:49.000Z",
        "service": "chat",
        "model": "gpt",
        "metric": "count",
        "detector": "plugin_0",
        "type": "usage_abuse",
        "severity": "warning",
        "value": 10.0,
        "expected": 5.0,
        "lower": 1.0,
        "upper": 7.0,
        "score": 2.0,
        "baseline_mean": None,
        "baseline_stddev": None,
        "z_score": None,
        "samples": 30,
        "window": 0,
        "direction": "above",
        "confidence": 0.5,
        "explanation": "Ten more.",
        "event_id": "event-49",
        "trace_id": "trace-49",
        "partition": "kafka/llm.telemetry/3",
        "offset": 49,
        "tenant": "default",
        "since": "2026-01-15T10:30:00.000Z",
        "contributors": [],
        "exemplars": ["trace-49"],
        "markers": [],
    }


def test_a_finding_about_a_time_has_an_id_of_that_time() -> None:
    """A finding with a time of its own is the same anomaly whichever event or time mark brought it to light, and names no event."""
    of_window = lambda finding: replace(finding, metric="window", ts_ns=START_NS)  # noqa: E731  used twice
    by_event, at_mark = plugins_of(lambda: Counting(of_window)), plugins_of(lambda: Counting(of_window))
    (first,) = observed(by_event, batch_of(10))
    observed(at_mark, batch_of(3))
    (second,) = at_mark.mark(START_NS + 60 * SECOND_NS, 3)
    assert first["id"] == second.id == tick_anomaly_id(LOG, START_NS, SeriesKey("default", "chat", "gpt"), "window", "plugin_0")
    assert (first["event_id"], first["exemplars"], first["offset"]) == (None, [], 9)
    assert (second.timestamp, second.offset, second.severity) == ("2026-01-15T10:30:00.000Z", 3, "info")


@pytest.mark.parametrize(
    ("band", "direction"),
    [
        ({"upper": 9.0}, "above"),
        ({"lower": 11.0}, "below"),
        ({"expected": 9.0}, "above"),
        ({"expected": 11.0}, "below"),
        ({"expected": 10.0}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_the_direction_follows_from_the_band(band: dict[str, float], direction: str) -> None:
    """Above or below the band, or its centre where there is no band."""
    (found,) = observed(plugins_of(lambda: Counting(lambda finding: replace(finding, **band))), batch_of(10))
    assert found["direction"] == direction
    assert found["expected"] == band.get("expected")


def test_sentences_are_cut_and_escaped() -> None:
    """A sentence has a bounded length and no character that could forge a line or turn the text around."""
    (found,) = observed(
        plugins_of(lambda: Counting(lambda finding: replace(finding, sentence="a\nb\x1b[2J\u202ec" + "d" * 1_000))), batch_of(10)
    )
    assert found["explanation"].startswith("a?b?[2J?cddd")
    assert len(found["explanation"]) <= MAX_SENTENCE


GOOD = Finding(event=0, series=0, metric="count", value=1.0, score=1.0, sentence="It was.", expected=0.0, lower=0.0, upper=0.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"score": float("nan")}, "score is not a finite number"),
        ({"score": float("inf")}, "score is not a finite number"),
        ({"score": 0.99}, "score is below 1.0"),
        ({"score": "high"}, "score is not a number"),
        ({"value": None}, "value is not a number"),
        ({"value": 10**400}, "value is not a number"),
        ({"expected": float("inf")}, "expected is not a finite number"),
        ({"event": 1}, "event is out of range"),
        ({"event": -1}, "event is out of range"),
        ({"event": 0.5}, "event is not a whole number"),
        ({"series": 1}, "series is out of range"),
        ({"metric": "Count; drop"}, "metric is not one"),
        ({"metric": "m" * 65}, "metric is not one"),
        ({"metric": 7}, "metric is not one"),
        ({"type": "catastrophe"}, "type is not one"),
        ({"sentence": ""}, "sentence is empty"),
        ({"sentence": None}, "sentence is empty"),
        ({"ts_ns": 2**63}, "ts_ns is out of range"),
        ({"ts_ns": 5, "since_ns": 6}, "since_ns is out of range"),
        ({"samples": -1}, "samples is out of range"),
        ({"confidence": 1.5}, "confidence is not between 0 and 1"),
    ],
)
def test_a_finding_has_rules(change: dict[str, Any], words: str) -> None:
    """What breaks one is named, without quoting the value."""
    with pytest.raises(ValueError, match=words):
        checked(replace(GOOD, **change), 1, 1)
    assert checked(GOOD, 1, 1) == GOOD


def test_a_finding_that_breaks_a_rule_is_left_out_and_counted() -> None:
    """It is no anomaly and no reason to stop: the others are told, and the failure says which rule it was and how often."""
    plugins = plugins_of(lambda: Counting(lambda finding: finding if finding.value == 30 else replace(finding, score=float("nan"))))
    assert [found["value"] for found in observed(plugins, batch_of(35))] == [30.0]
    (failure,) = plugins.failures()
    assert (failure.plugin, failure.kind, failure.count) == ("plugin_0", "refused", 2)
    assert failure.what == "a finding was left out: score is not a finite number"


@pytest.mark.parametrize("answer", [None, 5, "text", {"event": 0}, object()])
def test_what_is_no_finding_is_left_out(answer: object) -> None:
    """A detector may answer with anything at all."""
    plugins = plugins_of(lambda: Counting(lambda _: answer))
    assert observed(plugins, batch_of(20)) == []
    assert [(failure.kind, failure.count) for failure in plugins.failures()] == [("refused", 2)]


def test_numbers_of_numpy_are_numbers() -> None:
    """A finding may hold numpy's numbers; the anomaly holds plain ones."""
    as_numpy = lambda finding: replace(finding, event=np.int32(finding.event), value=np.float32(2.5), samples=np.int64(3))  # noqa: E731
    (found,) = observed(plugins_of(lambda: Counting(as_numpy)), batch_of(10))
    assert (type(found["value"]), type(found["samples"]), found["value"]) == (float, int, 2.5)


# ------------------------------------------------------------------------------------------------------------- what they are given


def test_detectors_see_numbers_and_no_texts() -> None:
    """Series by number over all batches, time as a watermark, what may be learned, dimensions, pseudonyms; nothing can be written."""
    detector = Counting()
    plugins = plugins_of(lambda: detector)
    first, second = batch_of(4, services=("a", "b")), batch_of(3, first=4, services=("b", "c"))
    second = replace(second, ts_ns=second.ts_ns[::-1].copy(), flags=np.array([Flag.TOO_OLD, 0, 0], np.int32))
    for batch in (first, second):
        observed(plugins, batch)
    seen = detector.batches[-1]
    assert [name.service for name in seen.names] == ["a", "b", "c"]
    assert seen.series.tolist() == [1, 2, 1]
    assert seen.watermark_ns.tolist() == [START_NS + 6 * SECOND_NS] * 3
    assert np.isnan(seen.metric("latency_ms")).tolist() == [True, False, False]
    assert seen.dimension("finish_reason") == ["refusal", "stop", "stop"]
    assert [seen.users[i] for i in seen.user.tolist()] == ["user-a", None, "user-a"]
    assert {str, bytes}.isdisjoint(type(getattr(seen, name)) for name in DetectorBatch.__slots__)
    for column in (seen.series, seen.ts_ns, seen.watermark_ns, seen.metrics, seen.dimensions, seen.user, seen.personal):
        with pytest.raises(ValueError, match="read-only"):
            column[0] = 0
    assert second.metrics.flags.writeable


def test_time_marks_move_the_watermark() -> None:
    """After a time mark, older events do not turn time back."""
    detector = Counting()
    plugins = plugins_of(lambda: detector)
    observed(plugins, batch_of(2))
    plugins.mark(START_NS + 60 * SECOND_NS, 2)
    observed(plugins, batch_of(1, first=2))
    assert detector.batches[-1].watermark_ns.tolist() == [START_NS + 60 * SECOND_NS]


def test_series_beyond_the_limit_share_one() -> None:
    """However many names come, detectors see a bounded number of series, and known ones stay themselves."""
    detector = Counting()
    plugins = plugins_of(lambda: detector, max_series=3)
    observed(plugins, batch_of(50, services=[f"service-{i}" for i in range(25)]))
    assert [name.service for name in detector.batches[-1].names] == ["service-0", "service-1", "service-2", OVERFLOW.service]
    assert detector.batches[-1].series.tolist() == ([0, 1, 2] + [3] * 22) * 2
    assert detector.counts.tolist() == [2, 2, 2, 44]


def test_without_detectors_nothing_is_kept() -> None:
    """Nobody pays who has no detector of others."""
    plugins = plugins_of()
    assert observed(plugins, batch_of(5)) == []
    assert plugins.mark(START_NS, 5) == []
    assert plugins.tables() == {}


# ---------------------------------------------------------------------------------------------------------- batches and checkpoints


def cuts_of(n: int) -> st.SearchStrategy[list[int]]:
    """Places to cut n events."""
    return st.lists(st.integers(1, n - 1), max_size=20, unique=True).map(sorted)


def in_parts(batch: CleanBatch, cuts: Sequence[int]) -> Iterator[CleanBatch]:
    """A batch cut into several."""
    at = np.arange(len(batch))
    for begin, end in zip([0, *cuts], [*cuts, len(batch)], strict=True):
        yield batch.take((at >= begin) & (at < end))


@settings(max_examples=50)
@given(cuts=cuts_of(300), restored=st.integers(0, 20))
def test_neither_batches_nor_checkpoints_change_anything(cuts: list[int], restored: int) -> None:
    """However the log is cut, and wherever the state was stored and loaded, the same anomalies come in the same order with the same ids."""
    whole = batch_of(300, services=("a", "b", "c", "d", "e"))
    make = lambda: plugins_of(Counting, lambda: Counting(every=7), max_series=4)  # noqa: E731  used three times
    wanted = observed(make(), whole)
    plugins, found = make(), []
    for number, part in enumerate(in_parts(whole, cuts)):
        if number == restored:
            tables = {name: array.copy() for name, array in plugins.tables().items()}
            plugins = make()
            plugins.load(tables)
        found += observed(plugins, part)
    assert found == wanted
    assert len(wanted) > 50


def test_a_flood_is_bounded_by_events_and_not_by_batches() -> None:
    """A detector that tells of everything is cut off in the same place, however the log is cut, and the rest is counted."""
    whole = batch_of(1_500)
    flood = plugins_of(lambda: Counting(every=1))
    wanted = [found["offset"] for found in observed(flood, whole)]
    assert wanted[:BURST] == list(range(BURST))
    assert set(np.diff(wanted[-20:])) == {EVENTS_PER_FINDING}
    (failure,) = flood.failures()
    assert (failure.kind, failure.count) == ("surplus", 1_500 - len(wanted))
    rng = np.random.default_rng(1)
    for _ in range(10):
        plugins = plugins_of(lambda: Counting(every=1))
        cuts = sorted(rng.choice(np.arange(1, 1_500), 20, replace=False).tolist())
        assert [found["offset"] for part in in_parts(whole, cuts) for found in observed(plugins, part)] == wanted


def test_what_cannot_be_restored_starts_anew() -> None:
    """A detector that refuses its state begins without one, the others go on, and the failure is told."""
    plugins = plugins_of(Counting, Counting)
    observed(plugins, batch_of(15))
    tables = plugins.tables()
    del tables["plugin/plugin_0/counts"]
    again = plugins_of(Counting, Counting)
    again.load(tables)
    assert [(failure.plugin, failure.kind) for failure in again.failures()] == [("plugin_0", "restore")]
    assert "there are no counts" in again.failures()[0].what
    assert [found["detector"] for found in observed(again, batch_of(5, first=15))] == ["plugin_1"]


def test_fewer_series_than_before_start_anew() -> None:
    """A checkpoint with more series than are allowed now is not used, and that is told."""
    plugins = plugins_of(Counting)
    observed(plugins, batch_of(10, services=("a", "b", "c")))
    again = plugins_of(Counting, max_series=1)
    again.load(plugins.tables())
    assert "max_series allows 1" in again.failures()[0].what
    assert observed(again, batch_of(2)) == []


def test_a_new_detector_joins_and_an_old_one_leaves() -> None:
    """After a change of the configuration, known detectors go on, a new one begins, and what a former one left is ignored."""
    before = Plugins([Plugin("stays", Counting), Plugin("leaves", Counting)], LOG, 100)
    observed(before, batch_of(5))
    after = Plugins([Plugin("joins", Counting), Plugin("stays", Counting)], LOG, 100)
    after.load(before.tables())
    assert [(found["detector"], found["offset"]) for found in observed(after, batch_of(10, first=5))] == [("stays", 9), ("joins", 14)]
    assert after.failures() == []


def test_a_checkpoint_that_is_none_is_refused() -> None:
    """Tables that are not of this kind raise the error of all checkpoints."""
    with pytest.raises(SnapshotError, match="names of series"):
        plugins_of(Counting).load({"plugins/names": np.zeros(3, np.uint8), "plugins/clock": np.zeros(2, np.int64)})


# ------------------------------------------------------------------------------------------------------------------------- failures


class Failing(Counting):
    """Raises in one of its methods."""

    def __init__(self, where: str, error: BaseException) -> None:
        super().__init__()

        def fail(*_: object) -> None:
            raise error

        setattr(self, where, fail)


@pytest.mark.parametrize("error", [ValueError("bad\nvalue"), KeyError("x"), SystemExit(1), MemoryError(), CancelledError()], ids=repr)
def test_a_detector_that_raises_is_switched_off(error: BaseException) -> None:
    """Whatever it raises, it is not asked again; the others go on, and the failure is told once, with its place, on one line."""
    plugins = plugins_of(lambda: Failing("observe", error), Counting)
    found = observed(plugins, batch_of(10)) + observed(plugins, batch_of(10, first=10))
    assert [anomaly["detector"] for anomaly in found] == ["plugin_1", "plugin_1"]
    (failure,) = plugins.news()
    assert (failure.plugin, failure.kind, failure.count, failure.offset) == ("plugin_0", "raised", 1, 9)
    assert type(error).__name__ in failure.what
    assert "at test_plugins.py:" in failure.what
    assert "\n" not in failure.what
    assert plugins.news() == []
    assert plugins.failures() == [failure]


@pytest.mark.parametrize("where", ["observe", "load"])
def test_the_operator_can_interrupt(where: str) -> None:
    """Ctrl-C while a detector runs is not the detector's failure."""
    before = plugins_of(Counting)
    observed(before, batch_of(5))
    plugins = plugins_of(lambda: Failing(where, KeyboardInterrupt()))

    def live() -> None:
        plugins.load(before.tables())
        observed(plugins, batch_of(10, first=5))

    with pytest.raises(KeyboardInterrupt):
        live()
    assert plugins.failures() == []


@pytest.mark.parametrize("where", ["mark", "export"])
def test_other_methods_may_raise_as_well(where: str) -> None:
    """A detector that fails at a time mark or when it is stored is switched off as well; a stored state holds nothing of it."""
    plugins = plugins_of(lambda: Failing(where, RuntimeError("no")), Counting)
    observed(plugins, batch_of(15))
    assert [anomaly.detector for anomaly in plugins.mark(START_NS, 15)] == (["plugin_1"] if where == "mark" else ["plugin_0", "plugin_1"])
    tables = plugins.tables()
    assert [failure.plugin for failure in plugins.failures()] == ["plugin_0"]
    assert {name for name in tables if "plugin_0" in name} == set()
    assert [found["detector"] for found in observed(plugins, batch_of(5, first=15))] == ["plugin_1"]


def test_a_detector_that_cannot_be_made_is_off() -> None:
    """One whose constructor raises in a partition does not take the partition down."""
    made = iter([Counting()])
    plugins = plugins_of(lambda: next(made), lambda: next(made))
    assert [failure.plugin for failure in plugins.failures()] == ["plugin_1"]
    assert len(observed(plugins, batch_of(10))) == 1


@pytest.mark.parametrize("state", [{"a": [1, 2]}, {"a": np.array([object()])}, {"not a word": np.zeros(1)}, {1: np.zeros(1)}, None])
def test_a_state_that_cannot_be_stored_switches_it_off(state: object) -> None:
    """Only arrays of numbers under plain names go into a checkpoint, so that reading one never runs code."""

    class Odd(Counting):
        def export(self) -> State:
            return state

    plugins = plugins_of(Odd)
    observed(plugins, batch_of(5))
    assert set(plugins.tables()) == {"plugins/names", "plugins/clock"}
    assert plugins.failures()[0].kind == "raised"


# ------------------------------------------------------------------------------------------------------------------ configuration


MODULE = """
    from typing import Literal
    from pydantic import Field
    from sentinel.detection.port import Parameters

    class Settings(Parameters):
        limit: int = Field(default=10, ge=1, le=100)
        factor: float = 1.5
        loud: bool = False
        mode: Literal["fast", "slow"] = "fast"
        words: list[str] = ["a"]

    class Good:
        parameters = Settings
        def __init__(self, parameters):
            if parameters.factor == 13:
                raise ValueError("unlucky\\nnumber")
            self.given = parameters
        def observe(self, batch): return ()
        def mark(self, now_ns): return ()
        def export(self): return {}
        def load(self, state): pass

    class Needs(Parameters):
        limit: int

    class Demanding(Good):
        parameters = Needs
        def __init__(self, parameters): self.given = parameters

    class Half:
        parameters = Settings
        def __init__(self, parameters): pass
        def observe(self, batch): return ()

    class Strange(Parameters):
        table: dict[str, int] = {}

    class Unreadable(Good):
        parameters = Strange

    bare = 5
"""
POINTS = {
    "good": "others_detectors:Good",
    "demanding": "others_detectors:Demanding",
    "half": "others_detectors:Half",
    "unreadable": "others_detectors:Unreadable",
    "bare": "others_detectors:bare",
    "broken": "others_nowhere:Nothing",
    "zscore": "others_detectors:Good",
}


def install(site: Path, distribution: str, points: Mapping[str, str]) -> None:
    """What pip would leave of a distribution with entry points."""
    info = site / f"{distribution}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    lines = "".join(f"{name} = {value}\n" for name, value in points.items())
    (info / "entry_points.txt").write_text(f"[llm_sentinel.detectors]\n{lines}")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place with a distribution that has good and bad detectors, where Python finds it."""
    (tmp_path / "others_detectors.py").write_text(textwrap.dedent(MODULE))
    install(tmp_path, "others", POINTS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "others_detectors", raising=False)
    return tmp_path


@pytest.mark.usefixtures("site")
def test_parameters_reach_the_detector() -> None:
    """Each value of the configuration, read as its parameter wants it, is what the detector is made with; others have their defaults."""
    (plugin,) = configured({"good": {"limit": "20", "factor": "2e-1", "loud": "yes", "mode": "slow", "words": ["b", "c"]}})
    given = plugin.make().given
    assert (given.limit, given.factor, given.loud, given.mode, given.words) == (20, 0.2, True, "slow", ["b", "c"])
    (plugin,) = configured({"good": {}})
    assert plugin.make().given.limit == 10
    assert plugin.make() is not plugin.make()


@pytest.mark.usefixtures("site")
@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({"good": {"limt": "5"}}, "detection.plugins.good.limt: is no parameter of this detector. Did you mean `limit`?"),
        (
            {"good": {"xyz": "5"}},
            "detection.plugins.good.xyz: is no parameter of this detector. It takes limit, factor, loud, mode, words.",
        ),
        ({"good": {"limit": "101"}}, "detection.plugins.good.limit: must be a whole number from 1 to 100. Correct the value"),
        ({"good": {"limit": "2.5"}}, "detection.plugins.good.limit: must be a whole number from 1 to 100."),
        ({"good": {"limit": ["2"]}}, "detection.plugins.good.limit: must be a whole number from 1 to 100."),
        ({"good": {"factor": "inf"}}, "detection.plugins.good.factor: must be a number."),
        ({"good": {"mode": "medium"}}, "detection.plugins.good.mode: must be one of fast, slow."),
        ({"good": {"words": "b"}}, "detection.plugins.good.words: must be a list of texts."),
        ({"good": {"factor": "13"}}, "detection.plugins.good: refuses its parameters: ValueError: unlucky?number. Correct them."),
        ({"demanding": {}}, "detection.plugins.demanding.limit: is required by this detector. Add it."),
        ({"half": {}}, "detection.plugins.half: is no detector: it has no mark, export, load. See docs/detectors.md"),
        ({"unreadable": {}}, "detection.plugins.unreadable: has a parameter of a type that a configuration cannot hold."),
        ({"bare": {}}, "detection.plugins.bare: is no detector: it is not a class with `parameters`."),
        ({"broken": {}}, "detection.plugins.broken: of others cannot be imported: ModuleNotFoundError: No module named 'others_nowhere'."),
        ({"zscore": {}}, "detection.plugins.zscore: is the name of a detector of our own. Ask its author"),
        ({"godo": {}}, "detection.plugins.godo: is not installed. Did you mean `good`?"),
        ({"missing": {}}, "detection.plugins.missing: is not installed. Install the distribution that has it beside llm-sentinel ("),
    ],
)
def test_what_is_wrong_is_told_with_its_cure(section: dict[str, Any], told: str) -> None:
    """A detector that cannot be had, and a parameter it does not take, are named with what to do; no value is quoted."""
    with pytest.raises(StartupError) as error:
        configured(section)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.usefixtures("site")
def test_everything_wrong_is_told_at_once() -> None:
    """One start shows all problems of all detectors, in the order of their names."""
    with pytest.raises(StartupError) as error:
        configured({"missing": {}, "good": {"limit": "0", "limt": "5", "loud": "perhaps"}, "demanding": {"limit": "3"}})
    assert [line.split(":")[0] for line in str(error.value).splitlines()] == [
        "detection.plugins.good.limt",
        "detection.plugins.good.loud",
        "detection.plugins.good.limit",
        "detection.plugins.missing",
    ]


def test_a_name_that_two_distributions_have_is_ambiguous(site: Path) -> None:
    """Which of them is meant is the operator's choice, not chance's."""
    install(site, "rivals", {"good": "others_detectors:Demanding"})
    with pytest.raises(StartupError, match="is in several distributions: others and rivals"):
        configured({"good": {}})


@pytest.mark.usefixtures("site")
def test_validate_warns_where_run_refuses() -> None:
    """A detector that is missing here may be installed where the daemon runs; a parameter it does not take is an error anywhere."""
    loaded: Any = SimpleNamespace(config=SimpleNamespace(detection=SimpleNamespace(plugins={"missing": {}, "good": {"limt": "5"}})))
    unknown, missing = rule(loaded)
    assert (unknown.code, unknown.severity, unknown.path) == ("unknown_key", "error", ("detection", "plugins", "good", "limt"))
    assert (missing.code, missing.severity, missing.blocks_run) == ("no_detector", "warning", True)


@pytest.mark.usefixtures("site")
def test_only_what_is_configured_is_imported() -> None:
    """A detector that is installed and not asked for does not run, not even its import."""
    assert configured({}) == ()
    assert "others_detectors" not in sys.modules


def test_the_worked_example_installs_and_is_found(tmp_path: Path) -> None:
    """Installed by pip as its users do, the example is found by its entry point, takes its parameters, and tells of a streak."""
    example = ROOT / "examples" / "detectors" / "refusal_streak"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index", "--no-deps"]
    subprocess.run([*pip, "--no-build-isolation", "--target", str(tmp_path), str(example)], check=True, timeout=120)
    story = """
        from sentinel.config.plugins import configured
        from sentinel.core.flags import learnable
        from sentinel.detection.plugins import Plugins
        from test_plugins import LOG, REFUSED, batch_of, replace
        import numpy as np

        plugins = Plugins(configured({"refusal_streak": {"chance": "1e-3"}}), LOG, 100)
        batch = replace(batch_of(200), dimensions=(np.arange(200) >= 196).astype(np.int32))
        for anomaly in plugins.observe(batch, learnable(batch.metrics, batch.flags)):
            print(anomaly.detector, anomaly.severity, anomaly.explanation)
        print(plugins.failures(), sorted(plugins.tables()))
    """
    path = os.pathsep.join(map(str, [tmp_path, ROOT, Path(__file__).parent]))
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(story)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.splitlines() == [
        "refusal_streak info chat / gpt refused 2 answers in a row, where 1.49% are refused usually.",
        "refusal_streak warning chat / gpt refused 3 answers in a row, where 1.49% are refused usually.",
        "[] ['plugin/refusal_streak', 'plugin/refusal_streak/series', 'plugins/clock', 'plugins/names']",
    ]
