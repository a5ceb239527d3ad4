"""Drift of the mean embedding."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from usage_events import CHANGE_S, CHAT, DAY_S, HOUR_S, JIT_DISABLED, NOON, Traffic, healthy, watch_of

from sentinel.core.anomaly import Anomaly
from sentinel.core.batch import SeriesKey
from sentinel.core.command import AcceptRegime, Which
from sentinel.core.sketches import AXES, KINDS, PROMPT, RESPONSE, UNIT, Sketches
from sentinel.detection.embedding_panes import COLUMNS, SQUARES, SUMS, add
from sentinel.detection.embeddings import Moved
from sentinel.detection.significance import SURE, chi_square
from sentinel.detection.watch import Watch

ONLY_DRIFT: dict[str, Any] = {"abuse": {"enabled": False}, "leaks": {"enabled": False}}
MODEL_A, MODEL_B = 1_536, 3_072


@dataclass
class Meant:
    """Traffic with the sketches of its embeddings."""

    traffic: Traffic
    sketches: Sketches

    def run(self, watch: Watch, cuts: Sequence[int] = (), until_s: float | None = None) -> list[Anomaly]:
        """What a watch tells of the embeddings, to two hours after the last event."""
        if JIT_DISABLED and len(self.traffic) > 3_000:
            pytest.skip("long streams are for compiled kernels")
        found = []
        for batch in self.traffic.batches(cuts):
            first = int(batch.offsets[0])
            found += watch.observe(replace(batch, sketches=self.sketches[first : first + len(batch)]), batch.metrics)
        end_s = self.traffic.ts_s[-1] + 2 * HOUR_S if until_s is None else until_s
        return of_embeddings([*found, *watch.mark(round(end_s * 1e9), len(self.traffic))])

    def told(self, **drift: Any) -> list[Anomaly]:
        """What drift alone tells."""
        return self.run(watch_of(drift=drift, **ONLY_DRIFT))


def of_embeddings(found: list[Anomaly]) -> list[Anomaly]:
    """Those of this detector."""
    return [anomaly for anomaly in found if anomaly.metric.endswith("_embedding")]


def sketches_of(seed: int, topic: npt.NDArray[np.int64], *, part: float = 0.5, kinds: Sequence[int] = (PROMPT,)) -> Sketches:
    """Sketches of events with topics: of unit length about, all on one side, with `part` of their variance between the topics."""
    rng = np.random.default_rng(seed)
    topics = rng.normal(size=(int(topic.max()) + 1, AXES)) * np.sqrt(part * 0.6 / AXES)
    found = np.zeros((len(topic), KINDS, 1 + AXES), np.int16)
    for kind in kinds:
        values = np.sqrt(0.4 / AXES) + topics[topic] + rng.normal(size=(len(topic), AXES)) * np.sqrt((1 - part) * 0.6 / AXES)
        found[:, kind, 0], found[:, kind, 1:] = MODEL_A, np.rint(values * UNIT)
    return found


def mixture(seed: int, traffic: Traffic, topics: int, cycle: float = 0.0) -> npt.NDArray[np.int64]:
    """A topic for each event, at random with weights that sway over the day."""
    rng = np.random.default_rng(seed)
    phase, weights = rng.uniform(0, 2 * np.pi, topics), rng.dirichlet(np.full(topics, 2.0))
    shares = weights * np.exp(cycle * np.sin(2 * np.pi * traffic.ts_s[:, None] / DAY_S + phase))
    return ((shares / shares.sum(axis=1, keepdims=True)).cumsum(axis=1)[:, :-1] < rng.random((len(traffic), 1))).sum(axis=1)


def shifted(seed: int = 1, share: float = 0.9, hours: float = 30, kinds: Sequence[int] = (PROMPT,), until_s: float = np.inf) -> Meant:
    """A part of the events is about a topic that was not there, from the time of change on."""
    traffic = healthy(seed, hours * HOUR_S, 0.3)
    topic = mixture(seed, traffic, 5)
    later = (traffic.ts_s >= NOON + CHANGE_S) & (traffic.ts_s < until_s)
    topic[later & (np.random.default_rng(seed).random(len(traffic)) < share)] = 5
    return Meant(traffic, sketches_of(seed, topic, kinds=kinds))


def sums(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Count, sums and squares of float64[w, n, AXES] in w windows."""
    n = np.full((len(values), 1), float(values.shape[1]))
    return np.concatenate((n, values.sum(axis=1), (values**2).sum(axis=1)), axis=1)


def test_the_statistic_is_one_on_average_and_as_sure_as_chance_allows() -> None:
    """Of windows without a change, whose axes are independent, few look as sure as three standard deviations, and none is told."""
    rng = np.random.default_rng(1)
    windows, reference = sums(rng.normal(0.2, 0.25, (4_000, 100, AXES))), sums(rng.normal(0.2, 0.25, (1, 20_000, AXES)))
    moved = Moved.of(windows, np.repeat(reference, 4_000, axis=0))
    assert float(moved.statistic.mean()) == pytest.approx(1.0, abs=0.03)
    assert float((moved.distance / moved.spread / moved.chance).mean()) == pytest.approx(1.0, abs=0.03)
    sure = chi_square(moved.statistic * AXES, np.full(4_000, float(AXES)))
    assert float((sure > 3.0).mean()) < 0.006
    assert float(sure.max()) < SURE


def test_sums_are_whole_and_of_one_length() -> None:
    """A slot adds up the vectors of its first length, to the last unit and whatever their size, and notes that others came."""
    largest = np.iinfo(np.int16).max
    sketches = np.full((4, 1 + AXES), largest, np.int16)
    sketches[:, 0], sketches[1] = [MODEL_A, MODEL_A, MODEL_B, MODEL_A], [MODEL_A, *range(-8, 8)]
    dimensions, others, total = np.zeros(2, np.int32), np.zeros(2, np.int32), np.zeros((2, 2, COLUMNS), np.int64)
    add(np.array([1, 1, 1, 1]), np.array([0, 0, 0, 1]), sketches, dimensions, others, total)
    assert (dimensions.tolist(), others.tolist()) == ([0, MODEL_A], [0, MODEL_B])
    assert total[1, :, 0].tolist() == [2, 1]
    assert total[1, 0, SUMS].tolist() == [largest + axis for axis in range(-8, 8)]
    assert total[1, 0, SQUARES].tolist() == [largest**2 + axis**2 for axis in range(-8, 8)]
    assert not total[0].any()


def test_a_shift_is_measured_in_parts_of_the_spread() -> None:
    """The distance of the means over the spread of single events, and the cosine of their angle, are those of the textbook."""
    before, came = np.zeros((1, 2, AXES)), np.zeros((1, 2, AXES))
    before[0, :, 0], before[0, :, 1], came[0, :, 0], came[0, :, 1] = 1.0, [-0.5, 0.5], 0.6, [0.3, 1.3]
    moved = Moved.of(sums(came), sums(before))
    assert moved.distance.tolist() == pytest.approx([0.4**2 + 0.8**2])
    assert moved.spread.tolist() == pytest.approx([0.5**2 + 0.05**2])
    assert moved.cosine.tolist() == pytest.approx([1 - 0.6])
    assert moved.chance.tolist() == [1.0]


def test_nothing_to_compare_is_no_change() -> None:
    """Without a reference, or without events, nothing has moved."""
    full = sums(np.random.default_rng(1).normal(size=(1, 50, AXES)))
    for came, reference in ((full, np.zeros((1, COLUMNS))), (np.zeros((1, COLUMNS)), full)):
        moved = Moved.of(came, reference)
        assert (moved.distance[0], moved.statistic[0], moved.chance[0]) == (0.0, 0.0, 0.0)
        assert np.isfinite(moved.cosine[0])


@pytest.mark.parametrize(
    ("kind", "metric", "type_"), [(PROMPT, "prompt_embedding", "input_drift"), (RESPONSE, "response_embedding", "output_drift")]
)
def test_another_topic_is_told_once_and_soon(kind: int, metric: str, type_: str) -> None:
    """Prompts, or answers, of a new topic are told within a few windows, and not again while they go on, unless they become worse."""
    found = shifted(kinds=[kind]).told()
    assert {(a.metric, a.type, a.detector) for a in found} == {(metric, type_, "drift")}
    assert found[0].timestamp <= "2026-01-02T03:20"
    assert found[0].since is not None
    assert found[0].since >= "2026-01-02T02:55"
    assert len(found) == len({a.severity for a in found})
    assert "about other things since" in found[0].explanation
    assert "cosine distance" in found[0].explanation
    assert found[0].score >= 1.0
    assert found[0].direction == "above"


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("sessions", [1, 6])
def test_healthy_traffic_is_silent(seed: int, sessions: int) -> None:
    """Five days of a mixture of topics, in clumps of a session each, give nothing."""
    traffic = healthy(seed, 5 * DAY_S, 0.1)
    topic = np.repeat(mixture(seed, traffic, 3 + 3 * seed)[::sessions], sessions)[: len(traffic)]
    assert Meant(traffic, sketches_of(seed, topic)).told() == []


@pytest.mark.parametrize("seed", range(3))
def test_a_daily_cycle_is_usual(seed: int) -> None:
    """Topics that come and go over the day are no news."""
    traffic = healthy(seed, 6 * DAY_S, 0.1)
    assert Meant(traffic, sketches_of(seed, mixture(seed, traffic, 6, cycle=1.5))).told() == []


def test_equal_embeddings_are_no_drift() -> None:
    """Vectors that are all the same have no spread, and differ by less than they would have to."""
    traffic = healthy(1, 30 * HOUR_S, 0.2)
    meant = Meant(traffic, sketches_of(1, np.zeros(len(traffic), np.int64), part=1.0))
    meant.sketches[traffic.ts_s >= NOON + CHANGE_S, PROMPT, 1] += 30
    assert meant.told() == []


def test_another_model_is_no_drift_but_a_new_reference() -> None:
    """Vectors of another length are not compared with those before: they are learned anew, and judged after that."""
    hours = 60
    meant = shifted(hours=hours)
    traffic = meant.traffic
    later = traffic.ts_s >= NOON + CHANGE_S
    meant.sketches[later, PROMPT, 0] = MODEL_B
    assert meant.told() == []
    changed_again = Meant(traffic, meant.sketches.copy())
    changed_again.sketches[traffic.ts_s >= NOON + (CHANGE_S + 28 * HOUR_S), PROMPT, 1:] = sketches_of(9, np.zeros(len(traffic), np.int64))[
        traffic.ts_s >= NOON + (CHANGE_S + 28 * HOUR_S), PROMPT, 1:
    ]
    assert [a.timestamp[:10] for a in changed_again.told()][:1] == ["2026-01-03"]


def test_a_few_vectors_of_another_model_change_nothing() -> None:
    """While the usual model goes on, vectors of another length are left out."""
    alone = shifted()
    mixed = Meant(alone.traffic, alone.sketches.copy())
    strange = np.arange(len(alone.traffic)) % 7 == 3
    mixed.sketches[strange, PROMPT] = MODEL_B
    alone.sketches[strange, PROMPT] = 0
    assert mixed.told() == alone.told() != []


def test_the_least_shift_is_configured() -> None:
    """`drift.min_embedding_shift` decides how far the mean must move."""
    meant = shifted()
    assert meant.told(min_embedding_shift=0.2)
    assert not meant.told(min_embedding_shift=2.0)


def test_it_can_be_switched_off_and_warms_up() -> None:
    """`detection.drift.enabled` switches it off, and warm-up comes first."""
    meant = shifted()
    assert not meant.told(enabled=False)
    assert not meant.told(warm_up_hours=72)


def test_a_change_that_stays_is_accepted() -> None:
    """After `drift.accept_hours` the new mean is the reference: going back is told, and before that it is not."""
    for accept_hours, tells_again in ((3, True), (48, False)):
        found = shifted(hours=36, until_s=NOON + CHANGE_S + 6 * HOUR_S).told(accept_hours=accept_hours)
        assert any(a.timestamp > "2026-01-02T09:00" for a in found) is tells_again


def test_an_accepted_regime_is_normal() -> None:
    """After a person accepted what a series does now, its finding has ended and does not come again."""
    meant, watch = shifted(), watch_of(**ONLY_DRIFT)
    assert meant.run(watch, until_s=meant.traffic.ts_s[-1])
    assert watch.tables()["embeddings/telling.active"][0, 0] == 1
    assert watch.command(AcceptRegime(which=Which(service="chat")), 0) == []
    assert watch.tables()["embeddings/telling.active"][0, 0] == 0


def test_the_reference_fades() -> None:
    """`drift.reference_days` decides what a slow change is compared with: days, or the last hours, of which it is no news."""
    traffic = healthy(4, 40 * HOUR_S, 0.3)
    topic = mixture(4, traffic, 5)
    share = np.clip((traffic.ts_s - NOON - CHANGE_S) / (10 * HOUR_S), 0, 1)
    topic[np.random.default_rng(4).random(len(traffic)) < share] = 5
    meant = Meant(traffic, sketches_of(4, topic))
    assert meant.told(reference_days=7.0)
    assert not meant.told(reference_days=0.02)


BUSY: dict[str, Any] = {"drift": {"warm_up_hours": 3}, **ONLY_DRIFT}


def eventful() -> Meant:
    """Nine hours of two series whose embeddings change, some of another model, some with none."""
    meant = shifted(3, hours=9, kinds=(PROMPT, RESPONSE))
    rng = np.random.default_rng(3)
    traffic = meant.traffic
    traffic.ts_s = traffic.ts_s + (CHANGE_S - 6 * HOUR_S)
    later = traffic.ts_s >= NOON + CHANGE_S
    meant.sketches[later] = sketches_of(8, np.zeros(len(traffic), np.int64), kinds=(PROMPT, RESPONSE))[later]
    meant.sketches[rng.random(len(traffic)) < 0.1] = 0
    meant.sketches[rng.random(len(traffic)) < 0.1, RESPONSE, 0] = MODEL_B
    traffic.series = (rng.random(len(traffic)) < 0.3).astype(np.int64)
    traffic.names = [CHAT, SeriesKey("default", "search", "m")]
    return meant


def test_cuts_change_nothing() -> None:
    """However the log is cut into batches, anomalies, ids and state are the same to the last bit."""
    meant, whole = eventful(), watch_of(**BUSY)
    told = meant.run(whole)
    assert {a.metric for a in told} == {"prompt_embedding", "response_embedding"}
    assert {a.service for a in told} == {"chat", "search"}
    for seed in range(4):
        rng, watch = np.random.default_rng(seed), watch_of(**BUSY)
        assert meant.run(watch, rng.integers(0, len(meant.traffic), rng.integers(1, 100)).tolist()) == told
        tables = watch.tables()
        assert all(np.array_equal(table, tables[name]) for name, table in whole.tables().items())


@pytest.mark.parametrize("seed", range(3))
def test_a_snapshot_anywhere_changes_nothing(seed: int) -> None:
    """A watch that was saved and loaded goes on exactly as the one that never stopped."""
    meant = eventful()
    cut = int(np.random.default_rng(seed).integers(1, len(meant.traffic) - 1))
    first, second = Meant(meant.traffic.take(slice(0, cut)), meant.sketches[:cut]), meant.traffic.take(slice(cut, None)).batch(cut)
    saved, watch = watch_of(**BUSY), watch_of(**BUSY)
    found = first.run(saved, until_s=first.traffic.ts_s[-1])
    watch.load(saved.tables())
    assert all(np.array_equal(table, watch.tables()[name]) for name, table in saved.tables().items())
    found += of_embeddings(watch.observe(replace(second, sketches=meant.sketches[cut:]), second.metrics))
    end = round((meant.traffic.ts_s[-1] + 2 * HOUR_S) * 1e9)
    assert [*found, *of_embeddings(watch.mark(end, len(meant.traffic)))] == meant.run(watch_of(**BUSY))


def test_who_sends_none_has_no_state() -> None:
    """Series without embeddings take nothing; one with prompts and answers takes less than 7 kB."""

    def held(meant: Meant) -> int:
        watch = watch_of(**BUSY)
        meant.run(watch)
        return sum(table.nbytes for name, table in watch.tables().items() if name.startswith("embeddings/"))

    traffic = healthy(1, 6 * HOUR_S, 0.3)
    traffic.names = [SeriesKey("default", f"service {i}", "m") for i in range(100)]
    traffic.series = np.arange(len(traffic)) % 100
    meant = Meant(traffic, np.zeros((len(traffic), KINDS, 1 + AXES), np.int16))
    assert held(meant) < 100
    meant.sketches[traffic.series < 10] = sketches_of(1, np.zeros(len(traffic), np.int64), kinds=(PROMPT, RESPONSE))[traffic.series < 10]
    assert held(meant) < 10 * 7_000


def test_idle_series_give_their_slots_back() -> None:
    """A series that makes room gives its slots to the next, which starts from nothing; the one that stays keeps its own."""
    watch = watch_of(max_watched_series=10, **ONLY_DRIFT)
    for hour in range(6):
        traffic = healthy(hour, HOUR_S, 0.1, start_s=NOON + hour * HOUR_S)
        traffic.names = [CHAT, *(SeriesKey("default", f"of hour {hour}: {i}", "m") for i in range(8))]
        traffic.series = np.arange(len(traffic)) % 9
        Meant(traffic, sketches_of(hour, np.zeros(len(traffic), np.int64))).run(watch, until_s=NOON + (hour + 1) * HOUR_S + 6)
    tables = watch.tables()
    owners = tables["embeddings/panes.owner"]
    assert len(owners) <= 11
    assert len(set(owners[owners > 0].tolist())) == int((owners > 0).sum())
    assert tables["embeddings/hours"][0] == 6
    of_overflow = 2 * 10 + 1
    assert int(tables["embeddings/hours"][1:][owners[1:] != of_overflow].max()) <= 2
    again = watch_of(max_watched_series=10, **ONLY_DRIFT)
    again.load(tables)
    assert all(np.array_equal(table, again.tables()[name]) for name, table in tables.items())


def test_other_panes_lose_only_what_was_open() -> None:
    """A checkpoint of panes of another length keeps the references."""
    meant, watch = shifted(hours=29), watch_of(**ONLY_DRIFT)
    meant.run(watch, until_s=meant.traffic.ts_s[-1])
    rule = {"name": "x", "metric": "latency_ms", "statistic": "p50", "warning": 1e6, "window_minutes": 1}
    other = watch_of(**ONLY_DRIFT, thresholds=[rule])
    other.load(watch.tables())
    before, after = watch.tables(), other.tables()
    assert np.array_equal(before["embeddings/reference"], after["embeddings/reference"])
    assert not after["embeddings/panes.panes"].any()
