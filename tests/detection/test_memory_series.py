"""Who has windows: hostile names cost little and push nobody out, and it is the same however the stream is cut."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from sentinel.config.schema import Baseline, Detection
from sentinel.core.batch import OVERFLOW, Float64, Int32, PartitionId, SeriesKey, by_appearance
from sentinel.core.errors import SnapshotError
from sentinel.core.metrics import LATENCY, METRICS, TOTAL_TOKENS
from sentinel.detection import snapshot
from sentinel.detection.baselines import Baselines
from sentinel.detection.roster import OPEN_LEAST, STRANGERS, Roster
from sentinel.detection.windows_learn import KEPT_IDLE

LOG = PartitionId("c", "t", 0)


def key(name: object) -> SeriesKey:
    """A series of that name."""
    return SeriesKey("default", str(name), "m")


def come(roster: Roster, *names: object) -> list[str]:
    """Events of these series, one after the other; the services of the rows they went to, as these were named just after."""
    code = {name: i for i, name in enumerate(dict.fromkeys(names))}
    series = np.array([code[name] for name in names], np.int32)
    return [roster.names[row].service for row in roster.place([key(name) for name in code], series).rows]


def crowd(first: int, count: int) -> list[str]:
    """Names that come once."""
    return [f"hostile-{i}" for i in range(first, first + count)]


def test_with_room_a_series_has_a_row_from_its_first_event() -> None:
    """Below a quarter of the cap nobody waits."""
    roster = Roster(Baseline(max_series=1_000))
    assert come(roster, *crowd(0, 250)) == crowd(0, 250)


def test_beyond_that_a_name_has_to_come_three_times() -> None:
    """The first two events of a late name go to the overflow series and are counted there, the third is its own."""
    roster = Roster(Baseline(max_series=1_000))
    come(roster, *crowd(0, 250))
    assert come(roster, "late", "late", "late", "late") == ["__other__", "__other__", "late", "late"]
    assert roster.overflow_events == 2


def test_names_that_come_once_never_get_a_row() -> None:
    """However many: the rows are those of the open quarter, the real ones and the overflow series."""
    roster = Roster(Baseline(max_series=1_000))
    come(roster, *crowd(0, 30_000))
    assert len(roster.names) == 251
    assert roster.overflow_events == 30_000 - 250
    assert come(roster, "real", "real", "real")[-1] == "real"


def test_the_table_of_strangers_is_bounded_and_forgets_the_oldest() -> None:
    """A name that was not seen while the table filled with others begins again; one seen meanwhile does not."""
    roster = Roster(Baseline(max_series=OPEN_LEAST))
    come(roster, *crowd(0, OPEN_LEAST))
    come(roster, "a", "b", "a", "b", *crowd(1000, STRANGERS // 2))
    come(roster, "b", *crowd(100_000, STRANGERS // 2))
    assert len(roster._strangers) == STRANGERS
    assert come(roster, "a")[0] == "__other__"
    assert len(roster._strangers) == STRANGERS


def test_who_came_first_does_not_keep_out_who_comes_later() -> None:
    """All rows taken by names that came a few times: a real service gets the row of the one that was silent for longest."""
    roster = Roster(Baseline(max_series=100, active_series=50))
    come(roster, *[name for name in crowd(0, 100) for _ in range(4)])
    assert "hostile-0" in [name.service for name in roster.names]
    assert come(roster, *["real"] * 20)[2:] == ["real"] * 18
    assert "hostile-0" not in [name.service for name in roster.names]
    assert roster.evicted_series == 1


def test_a_proven_active_series_never_loses_its_row() -> None:
    """Hostile names by the thousand, each often enough to get a row: they push out each other."""
    roster = Roster(Baseline(max_series=100, active_series=50))
    real = [f"real-{i}" for i in range(40)]
    come(roster, *real * 10)
    for wave in range(30):
        come(roster, *[name for name in crowd(1000 * wave, 300) for _ in range(5)], *real)
    assert {*real} <= {name.service for name in roster.names}
    assert come(roster, *real) == real
    assert len(roster.names) == 101


def test_when_all_are_active_newcomers_share_the_overflow_series() -> None:
    """Nobody is idle or on probation: a newcomer waits in the overflow series, and gets a row when somebody falls silent."""
    roster = Roster(Baseline(max_series=3, active_series=3, min_samples=2))
    come(roster, *"abcabc")
    assert come(roster, *["late"] * 6) == ["__other__"] * 6
    assert come(Roster(Baseline(max_series=3, active_series=2, min_samples=2)), *"abcabc", *["late"] * 6)[-4:] == ["late"] * 4


def test_the_overflow_name_itself_is_nobodys() -> None:
    """A producer that calls itself `__other__` shares that series and never gets another."""
    roster = Roster(Baseline())
    rows = roster.place([OVERFLOW], np.zeros(20, np.int32)).rows
    assert roster.names == [OVERFLOW]
    assert not rows.any()


# ------------------------------------------------------------------------------------------------------------ with windows


def baselines(**sizes: int) -> Baselines:
    """Baselines of a small partition."""
    return Baselines(Detection(baseline=Baseline(**{"window_size": 100, "min_samples": 5, **sizes})))


def fed(into: Baselines, names: Sequence[SeriesKey], series: Int32, metrics: Float64) -> list[tuple[int, int, int, float, float, int]]:
    """One batch; what fired, in order."""
    distinct, codes = by_appearance(names, series)
    found = into.score_and_update(distinct, codes, metrics)
    rows = [
        (int(event), fired.metric, fired.detector, float(score), float(mean), int(n))
        for fired in found
        for event, score, mean, n in zip(fired.event, fired.score, fired.stats.mean, fired.stats.n, strict=True)
    ]
    return sorted(rows)


def busy(n: int, seed: int) -> tuple[list[SeriesKey], Int32, Float64]:
    """Events of few frequent and many rare series, in two metrics."""
    rng = np.random.default_rng(seed)
    series = np.where(rng.random(n) < 0.5, rng.integers(0, 4, n), (60 * rng.random(n) ** 2).astype(int)).astype(np.int32)
    metrics = np.full((n, len(METRICS)), np.nan)
    metrics[:, LATENCY], metrics[:, TOTAL_TOKENS] = rng.lognormal(5, 1, n), rng.lognormal(3, 1, n)
    return [key(i) for i in range(60)], series, metrics


SCARCE = {"max_series": 12, "active_series": 5}


def test_fifty_random_cuts_give_the_same_verdicts_where_rows_change_hands() -> None:
    """Rows given away, series falling idle and coming back: the same scores against the same windows however the stream is cut."""
    names, series, metrics = busy(1500, 5)
    whole = baselines(**SCARCE)
    expected = fed(whole, names, series, metrics)
    assert len(expected) > 100
    assert whole.roster.evicted_series > 100
    rng = np.random.default_rng(1)
    for _ in range(50):
        cut = baselines(**SCARCE)
        edges = [0, *np.sort(rng.choice(1500, rng.integers(1, 100), replace=False)).tolist(), 1500]
        found = []
        for start, stop in pairwise(edges):
            found += [(event + start, *rest) for event, *rest in fed(cut, names, series[start:stop], metrics[start:stop])]
        assert found == expected
        assert (cut.names, cut.roster.overflow_events) == (whole.names, whole.roster.overflow_events)


def test_a_restored_state_goes_on_where_rows_change_hands() -> None:
    """Through a checkpoint at any point: the same verdicts, the same rows, the same counts."""
    names, series, metrics = busy(2000, 9)
    for point in (1, 7, 100, 555, 1200):
        kept = baselines(**SCARCE)
        fed(kept, names, series[:point], metrics[:point])
        restored, _ = snapshot.decode(snapshot.copied(kept, LOG, point, 0, []).blob(), kept.rules, LOG)
        assert fed(restored, names, series[point:], metrics[point:]) == fed(kept, names, series[point:], metrics[point:])
        assert restored.names == kept.names
        assert restored.roster.tables().keys() == kept.roster.tables().keys()
        for name, table in kept.roster.tables().items():
            assert restored.roster.tables()[name].tolist() == table.tolist()


def test_active_series_keep_full_windows_and_the_others_their_last_samples() -> None:
    """`active_series` acts: the series that had an event last keep all, the others 64 samples."""
    metrics = np.full((800, len(METRICS)), np.nan)
    metrics[:, LATENCY] = np.arange(800)
    series = np.repeat(np.arange(8, dtype=np.int32), 100)
    for active in (3, 8):
        into = baselines(active_series=active)
        fed(into, [key(i) for i in range(8)], series, metrics)
        assert [into.windows[LATENCY].count(row) for row in range(8)] == [KEPT_IDLE] * (8 - active) + [100] * active


def test_fewer_active_series_after_a_restart() -> None:
    """A smaller `active_series` than the checkpoint was made with: the surplus is idle at once."""
    names, metrics = [key(i) for i in range(8)], np.full((800, len(METRICS)), 1.0)
    into = baselines()
    fed(into, names, np.repeat(np.arange(8, dtype=np.int32), 100), metrics)
    rules = Detection(baseline=Baseline(window_size=100, active_series=3))
    restored, _ = snapshot.decode(snapshot.copied(into, LOG, 0, 0, []).blob(), rules, LOG)
    assert [restored.windows[LATENCY].count(row) for row in range(8)] == [KEPT_IDLE] * 5 + [100] * 3


def test_other_rules_keep_series_and_windows() -> None:
    """Renewed: the same rows and windows; metrics come and go; sums that nobody kept begin at zero."""
    old = baselines()
    fed(old, [key("a")], np.zeros(50, np.int32), np.arange(50.0 * len(METRICS)).reshape(50, -1))
    new = old.renewed(Detection(enabled_detectors=["mad"], baseline=Baseline(window_size=100, metrics=["error"])))
    assert (new.names, new.samples_learned) == (old.names, old.samples_learned)
    assert new.windows[LATENCY] is old.windows[LATENCY]
    assert len(new.windows) == 2
    again = new.renewed(Detection(baseline=Baseline(window_size=100)))
    assert not again.windows[LATENCY].export(1)[0]["up"].any()
    with pytest.raises(ValueError, match="another size"):
        old.renewed(Detection())


def test_a_roster_that_contradicts_itself_is_refused() -> None:
    """Tables that name a row twice or are missing are refused with a reason, not used."""
    roster = Roster(Baseline())
    come(roster, *"abc")
    tables = roster.tables()
    with pytest.raises(SnapshotError, match="order of series"):
        Roster(Baseline()).load(roster.names, {**tables, "order": np.array([0, 1, 1], np.int32)})
    del tables["events"]
    with pytest.raises(SnapshotError, match="table of series"):
        Roster(Baseline()).load(roster.names, tables)
