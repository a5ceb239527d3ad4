"""The Numenta Anomaly Benchmark: recordings with labelled windows, and how detections in them are scored.

A detection inside a window earns the more the earlier it comes, and only the earliest counts; one outside costs little just after a window
and the full price far from any. A window without a detection costs its full price. 100 is every window found at its first row and nothing
else, 0 is what silence earns. The first 15% of a recording, at most 750 rows, are not scored. Recordings are read from a folder one
names; none are part of this project.

Source: A. Lavin, S. Ahmad, Evaluating Real-time Anomaly Detection Algorithms, ICMLA 2015; the benchmark's version 1.1.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from sentinel.core.batch import Bool, Float64, Int64
from sentinel.core.errors import StartupError

PROBATION_SHARE: Final = 0.15
MOST_PROBATION_ROWS: Final = 750
ORIGIN: Final = "The benchmark is published at github.com/numenta/NAB."


@dataclass(frozen=True, slots=True)
class Profile:
    """What a detection is worth: the reward of a found window, the price of a missed one and of a false alarm."""

    found: float
    missed: float
    false_alarm: float


PROFILES: Final = {
    "standard": Profile(1.0, 1.0, 0.11),
    "reward_low_FP_rate": Profile(1.0, 1.0, 0.22),
    "reward_low_FN_rate": Profile(1.0, 2.0, 0.11),
}


@dataclass(frozen=True, slots=True)
class Recording:
    """One file of the benchmark.

    Attributes:
        name: folder and file.
        t_s: float64[n], seconds since the epoch; values: float64[n].
        windows: first and last row of each labelled anomaly, in order.
    """

    name: str
    t_s: Float64
    values: Float64
    windows: Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Result:
    """What a detector earned at one threshold, over all recordings.

    Attributes:
        scores: by profile, 0 to 100 or below; NaN where no recording has a window.
        found, windows: labelled windows with a detection, and those that could have had one.
        false_alarms: rows outside all windows where it fired.
    """

    scores: Mapping[str, float]
    found: int
    windows: int
    false_alarms: int


@dataclass(frozen=True, slots=True)
class _Worth:
    """What firing at each scored row of all recordings means: columns of n rows.

    Attributes:
        window: int64[n], number of the window a row lies in, -1 outside.
        value: float64[n], reward inside a window, price (negative) outside, both before the profile's weights.
        scored: one mask per recording, bool[rows].
        windows: how many windows there are, and how many of them have scored rows.
    """

    window: Int64
    value: Float64
    scored: Sequence[Bool]
    windows: tuple[int, int]


def recordings(folder: Path) -> list[Recording]:
    """All labelled recordings below a folder that holds `data/` and `labels/combined_windows.json`.

    Raises:
        StartupError: the folder or one of its files cannot be read as the benchmark.
    """
    labels = folder / "labels" / "combined_windows.json"
    try:
        windows = json.loads(labels.read_text(encoding="utf-8"))
        return [_recording(folder / "data" / name, name, windows[name]) for name in sorted(windows)]
    except OSError as error:
        raise StartupError(f"cannot read {error.filename} as part of the anomaly benchmark: {error.strerror}. {ORIGIN}") from error
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise StartupError(f"{folder} does not hold the anomaly benchmark: {error}. {ORIGIN}") from error


def score_at(files: Sequence[Recording], scores: Mapping[str, Float64], threshold: float) -> Result:
    """What firing wherever a score reaches the threshold earns.

    Args:
        files: the recordings.
        scores: by their names float64[n], higher is more anomalous.
        threshold: that fires.
    """
    worth = _worth(files)
    fired = _scored(files, scores, worth) >= threshold
    outside = worth.window < 0
    best = np.zeros(worth.windows[0])
    hit = fired & ~outside
    np.maximum.at(best, worth.window[hit], worth.value[hit])
    found = len(np.unique(worth.window[hit]))
    price = float(worth.value[fired & outside].sum())
    earned = {name: _normal(profile, float(best.sum()), found, price, worth) for name, profile in PROFILES.items()}
    return Result(earned, found, worth.windows[1], int((fired & outside).sum()))


def best_threshold(files: Sequence[Recording], scores: Mapping[str, Float64]) -> dict[str, tuple[float, float]]:
    """By profile, the highest score that any single threshold earns, and that threshold: the benchmark's own practice.

    A threshold that no score reaches is always among them, so no score is below 0.
    """
    worth = _worth(files)
    value = _scored(files, scores, worth)
    order = np.argsort(-value, kind="stable")
    value, window, gain = value[order], worth.window[order], worth.value[order]
    added, first = _improvements(window, gain)
    rewards, found, prices = np.cumsum(added), np.cumsum(first), np.cumsum(np.where(window < 0, gain, 0.0))
    whole = np.append(value[1:] != value[:-1], True)
    results: dict[str, tuple[float, float]] = {}
    for name, profile in PROFILES.items():
        earned = np.array([_normal(profile, *row, worth) for row in zip(rewards[whole], found[whole], prices[whole], strict=True)])
        top = int(np.argmax(earned)) if len(earned) else -1
        results[name] = (float(earned[top]), float(value[whole][top])) if top >= 0 and earned[top] > 0 else (0.0, float("inf"))
    return results


def _improvements(window: Int64, gain: Float64) -> tuple[Float64, Bool]:
    """For rows in falling order of score: by how much each raises its window's reward, and whether it is the window's first."""
    added, first = np.zeros(len(window)), np.zeros(len(window), bool)
    for number in np.unique(window[window >= 0]):
        rows = np.flatnonzero(window == number)
        added[rows] = np.diff(np.maximum.accumulate(gain[rows]), prepend=0.0)
        first[rows[0]] = True
    return added, first


def _normal(profile: Profile, reward: float, found: int, price: float, worth: _Worth) -> float:
    """Rewards and prices as the benchmark's score."""
    total, present = worth.windows
    raw = profile.found * reward + profile.false_alarm * price - profile.missed * (present - found)
    silent = -profile.missed * present
    return 100.0 * (raw - silent) / (profile.found * total - silent) if total else float("nan")


def _scored(files: Sequence[Recording], scores: Mapping[str, Float64], worth: _Worth) -> Float64:
    """The scores of all scored rows, in order of the files."""
    return np.concatenate([np.asarray(scores[file.name], float)[mask] for file, mask in zip(files, worth.scored, strict=True)])


def _worth(files: Sequence[Recording]) -> _Worth:
    window: list[Int64] = []
    value: list[Float64] = []
    scored: list[Bool] = []
    total = 0
    for file in files:
        number, gain = _rows(file)
        rows = np.arange(len(number))
        scored.append(rows >= min(np.floor(PROBATION_SHARE * len(rows)), MOST_PROBATION_ROWS))
        window.append(np.where(number >= 0, number + total, -1)[scored[-1]])
        value.append(gain[scored[-1]])
        total += len(file.windows)
    windows = np.concatenate(window)
    return _Worth(windows, np.concatenate(value), scored, (total, len(np.unique(windows[windows >= 0]))))


def _rows(file: Recording) -> tuple[Int64, Float64]:
    """For each row the window it lies in (-1 outside), and what firing there is worth."""
    n = len(file.values)
    number, value = np.full(n, -1), np.full(n, -1.0)
    for w, (first, last) in enumerate(file.windows):
        width = last - first + 1
        inside = np.arange(first, last + 1)
        number[inside] = w
        value[inside] = _sigmoid((inside - last - 1) / width) / _sigmoid(np.array([-1.0]))
        after = np.arange(last + 1, file.windows[w + 1][0] if w + 1 < len(file.windows) else n)
        value[after] = _sigmoid((after - last) / max(width - 1, 1))
    return number, value


def _sigmoid(position: Float64) -> Float64:
    """Near 1 one width before the end of a window, 0 at its end, near -1 after it."""
    return 2.0 / (1.0 + np.exp(5.0 * np.minimum(position, 100.0))) - 1.0


def _recording(path: Path, name: str, windows: Sequence[tuple[str, str]]) -> Recording:
    with path.open(newline="", encoding="utf-8") as file:
        rows = [(_seconds(row["timestamp"]), float(row["value"])) for row in csv.DictReader(file)]
    t_s, values = np.array([t for t, _ in rows]), np.array([v for _, v in rows])
    row_of = {t: i for i, t in reversed(list(enumerate(t_s.tolist())))}
    return Recording(name, t_s, values, [(row_of[_seconds(first)], row_of[_seconds(last)]) for first, last in windows])


def _seconds(text: str) -> float:
    """A time of the benchmark, read as UTC; fractions of a second are always zero."""
    return float(np.datetime64(text.partition(".")[0], "s").astype(np.int64))
