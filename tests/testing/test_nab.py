"""The anomaly benchmark: its rules in small, against its public scorer where that is at hand, and what the gauge reaches on it."""

import importlib.util
import json
from datetime import datetime, timedelta
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from sentinel.core.batch import Float64
from sentinel.core.errors import StartupError
from sentinel.detection.gauge import Gauge
from sentinel.testing.nab import PROFILES, Recording, best_threshold, recordings, score_at

SHARED = Path(__file__).parents[3] / "shared"
DATA = SHARED / "data" / "nab"
SCORER = SHARED / "bench" / "nab_score.py"
ROWS = 1_000
WINDOW = (400, 499)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A benchmark of two recordings, one with a window of 100 rows, one without any."""
    moments = [f"{datetime(2014, 4, 1) + timedelta(minutes=5 * i)}" for i in range(ROWS)]  # noqa: DTZ001  the benchmark's times have no zone
    (tmp_path / "labels").mkdir()
    (tmp_path / "data" / "made").mkdir(parents=True)
    for name in ("one", "none"):
        lines = [f"{moment},{i}.5" for i, moment in enumerate(moments)]
        (tmp_path / "data" / "made" / f"{name}.csv").write_text("timestamp,value\n" + "\n".join(lines) + "\n")
    labels = {"made/one.csv": [[f"{moments[WINDOW[0]]}.000000", f"{moments[WINDOW[1]]}.000000"]], "made/none.csv": []}
    (tmp_path / "labels" / "combined_windows.json").write_text(json.dumps(labels))
    return tmp_path


def firing(files: list[Recording], rows: dict[str, list[int]]) -> dict[str, Float64]:
    """Scores of 1 at these rows of the recordings, 0 at all others."""
    scores = {file.name: np.zeros(len(file.values)) for file in files}
    for name, chosen in rows.items():
        scores[name][chosen] = 1.0
    return scores


def test_recordings_are_read(folder: Path) -> None:
    """Names, seconds, values and the rows of windows."""
    none, one = recordings(folder)
    assert (none.name, one.name) == ("made/none.csv", "made/one.csv")
    assert (none.windows, one.windows) == ([], [WINDOW])
    assert one.t_s[1] - one.t_s[0] == 300.0
    assert one.values[-1] == 999.5


def test_silence_is_zero_and_a_perfect_detector_a_hundred(folder: Path) -> None:
    """Nothing raised earns 0 in every profile; the first row of every window and nothing else nearly 100."""
    files = recordings(folder)
    assert set(score_at(files, firing(files, {}), 0.5).scores.values()) == {0.0}
    perfect = score_at(files, firing(files, {"made/one.csv": [WINDOW[0]]}), 0.5)
    assert perfect.scores == pytest.approx(dict.fromkeys(PROFILES, 100.0), abs=0.01)
    assert (perfect.found, perfect.windows, perfect.false_alarms) == (1, 1, 0)


def test_later_is_worth_less_and_only_the_earliest_counts(folder: Path) -> None:
    """Detections of one window after another add nothing; a late one earns less than an early one."""
    files = recordings(folder)
    late = score_at(files, firing(files, {"made/one.csv": [480]}), 0.5).scores["standard"]
    both = score_at(files, firing(files, {"made/one.csv": [410, 480]}), 0.5).scores["standard"]
    early = score_at(files, firing(files, {"made/one.csv": [410]}), 0.5).scores["standard"]
    assert 50.0 < late < early == both


def test_false_alarms_cost_and_those_just_after_a_window_little(folder: Path) -> None:
    """A false alarm far from windows costs its full price, one row after a window next to nothing; probation is free."""
    files = recordings(folder)
    price = 100.0 * PROFILES["standard"].false_alarm / 2.0
    costs = [
        score_at(files, firing(files, {name: [row]}), 0.5).scores["standard"]
        for name, row in (("made/none.csv", 900), ("made/one.csv", 500))
    ]
    assert costs[0] == pytest.approx(-price)
    assert -0.05 * price < costs[1] < 0.0
    assert score_at(files, firing(files, {"made/one.csv": list(range(150))}), 0.5).scores["standard"] == 0.0


def test_the_best_threshold_is_the_best_of_all(folder: Path) -> None:
    """No threshold earns more than the one that is found."""
    files = recordings(folder)
    rng = np.random.default_rng(1)
    scores = {file.name: rng.random(ROWS).round(2) ** 8 for file in files}
    scores["made/one.csv"][430] = 0.9
    for name, (earned, threshold) in best_threshold(files, scores).items():
        tried = [score_at(files, scores, limit).scores[name] for limit in np.unique(np.concatenate(list(scores.values())))]
        assert earned == pytest.approx(max(*tried, 0.0))
        assert np.isinf(threshold) or score_at(files, scores, threshold).scores[name] == pytest.approx(earned)


def test_what_is_no_benchmark_is_refused(tmp_path: Path, folder: Path) -> None:
    """A missing folder, labels that are none and a recording without values are named, with where to get it."""
    with pytest.raises(StartupError, match=r"cannot read .*combined_windows\.json"):
        recordings(tmp_path / "nothing")
    (folder / "data" / "made" / "one.csv").write_text("timestamp,number\n2014-04-01 00:00:00,1\n")
    with pytest.raises(StartupError, match=r"github\.com/numenta/NAB"):
        recordings(folder)
    (folder / "labels" / "combined_windows.json").write_text("[1]")
    with pytest.raises(StartupError, match="does not hold"):
        recordings(folder)


@pytest.fixture
def benchmark() -> list[Recording]:
    """The benchmark's recordings, where they are at hand."""
    if not DATA.exists():
        pytest.skip(f"the anomaly benchmark is not in {DATA}")
    return recordings(DATA)


def public_scorer() -> ModuleType:
    """The benchmark's rules in somebody else's words."""
    if not SCORER.exists():
        pytest.skip(f"the public scorer is not in {SCORER}")
    spec = importlib.util.spec_from_file_location("public_nab_scorer", SCORER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_scores_are_those_of_the_public_scorer(benchmark: list[Recording]) -> None:
    """On random scores both agree in every profile, at fixed thresholds and at the best."""
    public = public_scorer()
    rng = np.random.default_rng(1)
    scores = {file.name: rng.random(len(file.values)).round(4) ** 4 for file in benchmark}
    for threshold in (0.5, 0.99, 0.998, 2.0):
        ours, theirs = score_at(benchmark, scores, threshold), public.score_at(scores, threshold)
        assert (ours.found, ours.windows, ours.false_alarms) == (theirs["windows_found"], theirs["windows"], theirs["false_rows"])
        assert dict(ours.scores) == pytest.approx({name: theirs[name] for name in PROFILES}, abs=0.006)
    best = public.score(scores)
    for name, (earned, _) in best_threshold(benchmark, scores).items():
        assert earned == pytest.approx(best[name]["score"], abs=0.006)


def test_the_gauge_reaches_its_goal_at_the_default_threshold(benchmark: list[Recording]) -> None:
    """The standard score at the product's default threshold is at least 62."""
    scores = {}
    for file in benchmark:
        gauge = Gauge()
        gauge.reserve(1)
        scores[file.name] = gauge.score(np.zeros(len(file.values), np.int32), file.t_s, file.values).score
    assert score_at(benchmark, scores, 1.0).scores["standard"] >= 62.0
