"""What multivariate detection brings: fault weeks with the time windows alone, with half-space trees alone, and with both.

python bench/multivariate.py                      three weeks at each rate, about two minutes
python bench/multivariate.py --seeds 10 --rates 0.5

Needs `llm-sentinel[multivariate]`. Anomalies of the trees count whatever their severity, which shows them at their best. The second
maker's weeks are used as well where they lie beside the repository.
"""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.quality_tasks import OTHER, OTHER_STREAMS, OWN, other_week
from sentinel.config.schema import Detection
from sentinel.config.sections_ticks import Ticks as TicksSection
from sentinel.config.sections_usage import Abuse, Drift, Leaks, Multivariate, Watching
from sentinel.core.anomaly import Anomaly
from sentinel.detection.over_time import OverTime
from sentinel.detection.watch import Watch
from sentinel.testing.fault_weeks import Week, fault_week
from sentinel.testing.quality_columns import LOG, log_of
from sentinel.testing.quality_replay import alerts_of, replay
from sentinel.testing.quality_score import Score, pooled, scored

WITHOUT: Final = "time windows"
ALONE: Final = "trees alone"
WITH: Final = "both"


class Found(NamedTuple):
    """What one week gave, by who was watching, and the seconds of CPU that the trees took."""

    scores: Mapping[str, Score]
    trees_s: float
    events: int


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--seeds", type=int, default=3, help="weeks at each rate and of each maker")
    parser.add_argument("--rates", type=float, nargs="+", default=[0.5, 0.05], help="requests a second")
    options = parser.parse_args()
    makers = [OWN]
    if OTHER_STREAMS.exists():
        makers.append(OTHER)
    else:
        print(f"skipped: the second maker's weeks ({OTHER_STREAMS.name} is not beside the repository)")
    print("recall, chance, false alerts a day and alerts after a deploy:")
    for maker in makers:
        for rate in options.rates:
            report(maker, rate, [judged(week_of(maker, seed, rate)) for seed in range(100, 100 + options.seeds)])


def week_of(maker: str, seed: int, rate: float) -> Week:
    """A week of one maker."""
    return fault_week(seed, rate=rate) if maker == OWN else other_week(seed, 7, rate)


def judged(week: Week) -> Found:
    """Watch a week in all ways."""
    windows = replay(OverTime(Detection(), LOG), log_of(week.columns, week.total_s))
    started = time.process_time()
    trees = replay(only_trees(), log_of(week.columns, week.total_s))
    trees_s = time.process_time() - started
    scores = {WITHOUT: score(week, windows), ALONE: score(week, trees), WITH: score(week, [*windows, *trees])}
    return Found(scores, trees_s, len(week.columns))


def only_trees() -> Watch:
    """A watch with nothing but the trees."""
    rules = Watching(
        drift=Drift(enabled=False), abuse=Abuse(enabled=False), leaks=Leaks(enabled=False), multivariate=Multivariate(enabled=True)
    )
    return Watch(rules, TicksSection(), LOG)


def score(week: Week, anomalies: Sequence[Anomaly]) -> Score:
    """What the alerts about a week are worth."""
    told = alerts_of([one for one in anomalies if one.detector == "multivariate"], min_severity="info")
    told += alerts_of([one for one in anomalies if one.detector != "multivariate"])
    return scored([alert.at_s for alert in told], week.faults, week.total_s, len(week.columns))


def report(maker: str, rate: float, found: Sequence[Found]) -> None:
    """Print what some weeks of one kind gave."""
    print(f"\n{maker}, {rate:g} requests/s, {len(found)} weeks")
    for who in (WITHOUT, ALONE, WITH):
        of = pooled([one.scores[who] for one in found])
        after = float(np.mean(of.after_deploy))
        print(
            f"  {who:13} recall {of.recall:4.2f}  chance {of.chance:4.2f}  false a day {of.false_per_day:5.2f}  after a deploy {after:4.1f}"
        )
    kinds = sorted({outcome.fault.kind for one in found for outcome in one.scores[ALONE].outcomes})
    parts = []
    for kind in kinds:
        hits = [outcome.found for one in found for outcome in one.scores[ALONE].outcomes if outcome.fault.kind == kind]
        parts.append(f"{kind} {np.mean(hits):.2f}")
    print("  trees alone, recall by kind: " + ", ".join(parts))
    events = sum(one.events for one in found)
    print(f"  CPU of the trees, with counting: {sum(one.trees_s for one in found) / events * 1e6:.1f} us an event")


if __name__ == "__main__":
    main()
