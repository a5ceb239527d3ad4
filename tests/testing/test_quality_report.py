"""The report of `make quality`: every goal, fault and alert is on it, it needs nothing from outside, and the command line makes it."""

import argparse
import doctest
import importlib
import json
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from quality_anomalies import found

from bench import quality_goals
from bench.quality import notes, tasks
from bench.quality_bins import ERRORS, LATENCY_MS, QUANTITIES, SHOWS, TRAFFIC, binned
from bench.quality_goals import GOALS, Figures, table
from bench.quality_index import index_page
from bench.quality_page import WeekReport, week_page
from bench.quality_plot import Band, Pin, Plot, Shade
from bench.quality_results import CleanResult, FleetResult, Judged, Results, WeekResult
from bench.quality_tasks import fired_s, nab, told_s
from sentinel.core.batch import SeriesKey
from sentinel.testing.fault_weeks import Week, WeekFault, fault_week
from sentinel.testing.quality_columns import columns_of
from sentinel.testing.quality_replay import Alert
from sentinel.testing.quality_score import scored

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def week() -> Week:
    """A small week."""
    return fault_week(1, rate=0.02)


class Reader(HTMLParser):
    """The words of a page, its elements, and what is open at its end."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: Counter[str] = Counter()
        self.open: list[str] = []
        self.links: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.tags[tag] += 1
        self.links += [value for name, value in attrs if name in {"href", "src"} and value]
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """An element ends where it began."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Note words."""
        self.words.append(data)


def report_of(week: Week, told: dict[int, str]) -> WeekReport:
    """The report of a week in which alerts came 10 s after the faults of these numbers."""
    alerts = [Alert(week.faults[number].start_s + 10, found(week.faults[number].start_s + 10, kind), 1) for number, kind in told.items()]
    score = scored([alert.at_s for alert in alerts], week.faults, week.total_s, len(week.columns))
    return WeekReport("A week", week, alerts, score, {})


def test_the_page_of_a_week_tells_what_was_found_and_what_was_missed(week: Week) -> None:
    """Every fault has its row and its plot, every missed one is named, and names from outside are never markup."""
    page = week_page(report_of(week, {0: HOSTILE, 3: "hang"}))
    reader = Reader(page)
    assert HOSTILE not in page
    assert HOSTILE in "".join(reader.words)
    assert reader.open == []
    assert "script" not in reader.tags
    assert reader.links == ["index.html"]
    assert reader.tags["svg"] == len(QUANTITIES) + len(week.faults)
    assert reader.words.count("missed") == 18
    assert reader.words.count("found") == 2
    missed = next(words for words in reader.words if words.startswith("Missed: "))
    assert missed.count("(") == 18


def test_a_false_alert_is_shown_close_up(week: Week) -> None:
    """What was raised for nothing has a plot of its own and stands out in the list."""
    report = report_of(week, {})
    alert = Alert(100_000.0, found(100_000.0, "cost_anomaly"), 2)
    score = scored([alert.at_s], week.faults, week.total_s, len(week.columns))
    page = week_page(WeekReport("A week", week, [alert], score, {}))
    assert Reader(page).tags["svg"] == Reader(week_page(report)).tags["svg"] + 1
    assert "cost_anomaly: latency" in page


def test_a_plot_shows_line_band_shades_and_marks_of_its_time_only() -> None:
    """A line is cut at gaps, a lonely value is a point, and what lies outside of the time shown is left out."""
    at_s = np.arange(10.0)
    values = np.array([1, 2, np.nan, 3, np.nan, 5, 6, 7, 8, 9])
    shades = [Shade(2, 4, "in", "fault"), Shade(20, 30, "out", "fault")]
    pins = [Pin(3, "inside", "pin-hit"), Pin(40, "outside", "pin-hit")]
    plot = Plot("t", at_s, values, 0, 9, values * 2, Band(at_s, values - 1, values + 1), shades, pins)
    svg = str(plot.svg())
    assert (svg.count('class="value"'), svg.count('class="high"')) == (2, 2)
    assert svg.count('class="point"') == 2
    assert svg.count('class="band"') == 3
    assert (svg.count('class="fault"'), svg.count("inside"), svg.count("outside")) == (1, 1, 0)
    assert "nan" not in svg


def test_an_empty_plot_is_a_plot() -> None:
    """Nothing to show is shown as nothing."""
    assert "nan" not in str(Plot("t", np.array([1.0]), np.array([np.nan]), 0, 10).svg())


def test_bins_are_what_they_say() -> None:
    """Counts, shares and quantiles of each stretch; a stretch without requests has traffic 0 and nothing else."""
    seconds = np.array([0.0, 10.0, 20.0, 130.0])
    columns = columns_of(
        SeriesKey("default", "a", "m"), seconds, latency_ms=np.array([1.0, 5.0, 9.0, 7.0]), error=np.array([0.0, 1.0, 0.0, 0.0])
    )
    bins = binned(columns, (0.0, 180.0), 60.0)
    assert bins.at_s.tolist() == [30.0, 90.0, 150.0]
    assert bins.usual[TRAFFIC].tolist() == [3.0, 0.0, 1.0]
    np.testing.assert_allclose(bins.usual[ERRORS], [100 / 3, np.nan, 0])
    np.testing.assert_allclose(bins.usual[LATENCY_MS], [5.0, np.nan, 7.0])
    np.testing.assert_allclose(bins.high[LATENCY_MS], [5.0, np.nan, 7.0])
    part = binned(columns, (65.0, 180.0), 60.0)
    assert (part.at_s.tolist(), part.usual[TRAFFIC].tolist()) == ([90.0, 150.0], [0.0, 1.0])
    assert set(SHOWS) == set(WeekFault)


def test_the_first_page_and_the_table_hold_every_figure(week: Week) -> None:
    """Each goal that was measured stands beside its limits; figures that nothing measured are left out."""
    judged = Judged(scored([fault.start_s + 5 for fault in week.faults], week.faults, week.total_s, len(week.columns)), 21, 0.5)
    results = Results(notes=["a <note>"])
    for rate in (0.5, 0.05):
        results.add(WeekResult("own simulator", rate, 1, 7.0, 100, judged, {"zscore": judged}, Counter(), "own-1.html"))
    results.add(FleetResult(20, 400.0, 1_000, Counter(silence=4), Counter(), 1.0))
    results.add(CleanResult("constant", 1_000, Counter(), 0.1))
    results.add(CleanResult("lognormal 1.5", 1_000, Counter(latency_spike=2), 0.1))
    figures = results.figures()[0].values
    assert figures["recall"] == figures["sparse recall"] == 1.0
    assert (figures["fleet"], figures["clean"], figures["deploy"], figures["silence"]) == (0.01, 2.0, 1.0, pytest.approx(5.0))
    lines = table(results.figures())
    assert len(lines) == len(GOALS)  # a head, and no row for NAB
    reader = Reader(index_page(results))
    assert reader.open == []
    assert {"a <note>", "own-1.html"} <= {*reader.words, *reader.links}
    assert json.loads(json.dumps(results.as_json()))["figures"]["own simulator"]["recall"] == 1.0


def test_a_level_is_reached_from_its_own_side() -> None:
    """More is better for recall, less for false alerts, and a figure that was not measured reaches nothing."""
    assert [GOALS["recall"].reached(value) for value in (0.89, 0.9, 0.95, 0.97)] == ["missed", "floor", "goal", "moonshot"]
    assert [GOALS["false"].reached(value) for value in (2.1, 2.0, 1.0, 0.5)] == ["missed", "floor", "goal", "moonshot"]
    assert GOALS["silence"].reached(float("nan")) == "missed"
    assert "none found" in "\n".join(table([Figures("x", {"silence": float("nan")})]))


@pytest.mark.parametrize("name", ["goals", "bins", "page", "plot", "index", "results", "tasks"])
def test_examples_in_the_tools_hold(name: str) -> None:
    """What docstrings show is what comes out."""
    assert doctest.testmod(importlib.import_module(f"bench.quality_{name}")).failed == 0
    assert doctest.testmod(quality_goals).attempted > 0


def test_textbook_detectors_alert_as_their_anomalies_are_merged() -> None:
    """A detector's anomalies within five minutes of a telling are one alert; a constant stream with one extreme has one."""
    assert told_s(np.array([0.0, 100.0, 300.0, 301.0, 900.0])).tolist() == [0.0, 301.0, 900.0]
    assert told_s(np.empty(0)).tolist() == []
    latency = np.full(200, 100.0)
    latency[150] = 9_000.0
    columns = columns_of(SeriesKey("default", "a", "m"), np.arange(200.0), latency_ms=latency)
    assert [times.tolist() for times in fired_s(columns, "zscore")] == [[150.0]]


def test_the_public_benchmark_is_read_from_a_folder(tmp_path: Path) -> None:
    """A recording with one plain anomaly in its window earns nearly everything; where there is no folder, the report says so."""
    n = 2_000
    values = np.random.default_rng(1).normal(50, 1, n)
    values[1_500:1_520] += 40
    times = np.datetime64("2026-01-05T00:00:00") + np.arange(n) * np.timedelta64(300, "s")
    rows = [f"{str(at).replace('T', ' ')},{value}" for at, value in zip(times, values.tolist(), strict=True)]
    (tmp_path / "data" / "made").mkdir(parents=True)
    (tmp_path / "data" / "made" / "up.csv").write_text("\n".join(["timestamp,value", *rows]))
    (tmp_path / "labels").mkdir()
    window = [str(times[row]).replace("T", " ") for row in (1_480, 1_540)]
    (tmp_path / "labels" / "combined_windows.json").write_text(json.dumps({"made/up.csv": [window]}))
    figures = nab(tmp_path)
    assert figures["standard"] > 80
    assert figures["windows found of 1"] == 1.0
    options = argparse.Namespace(only=("nab",), nab=tmp_path / "nowhere")
    assert [task.name for task in tasks(options)] == []
    assert "nowhere is not there" in next(notes(options))


def test_the_command_line_measures_and_writes_the_report(tmp_path: Path) -> None:
    """A short run writes the first page, a page a week and the figures, and prints the goals."""
    options = ["--seeds", "1", "--days", "4", "--kinds", "silence,hang", "--rate", "0.05", "--only", "weeks,clean", "--clean-events", "500"]
    command = [sys.executable, "bench/quality.py", *options, "--jobs", "1", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    assert "fault weeks, .05 requests/s: recall" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.html", "own-0.05-1.html", "results.json"]
    weeks = json.loads((tmp_path / "results.json").read_text())["weeks"]
    assert [week["source"] for week in weeks] == ["own simulator"]


def test_the_command_line_says_what_it_does_not_know(tmp_path: Path) -> None:
    """A wrong kind is refused with the right ones."""
    command = [sys.executable, "bench/quality.py", "--kinds", "flood", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "latency_spike" in done.stderr
