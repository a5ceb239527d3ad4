"""Episodes: when people are told, when they are left alone, and that neither depends on how the stream was cut."""

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

import msgspec
import pytest
from alert_anomalies import LOG, START_NS, Found, anomalies, columns
from hypothesis import given
from hypothesis import strategies as st

from sentinel.alerting.episode_rows import episode_of, row_of
from sentinel.alerting.episodes import GATHERED, STRONGEST, Episode, Route, Rules, Step, Told, gathering, links, step
from sentinel.alerting.sightings import Sighting, Subject, alert_worthy, sightings
from sentinel.core.alert import Alert, AlertStatus, Worth
from sentinel.core.anomaly import SEVERITIES
from sentinel.core.ids import alert_id, fingerprint, notification_id
from sentinel.core.timestamp import nanoseconds, rfc3339

WINDOW_S = 300.0
RULES = Rules(
    window_ns=int(WINDOW_S * 1e9),
    deduplicate=True,
    max_open=100,
    routes=(Route("all", 0), Route("pager", 2)),
    external_url="https://sentinel.example",
)
ONLY_ALL = replace(RULES, routes=(Route("all", 0),))


class Run:
    """Applies anomalies piece by piece, with episodes kept as rows in between, as a database keeps them."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.rows: dict[str, dict[str, object]] = {}
        self.told: list[Told] = []
        self.counted = 0
        self.gathered = 0
        self._offset = 0

    def give(self, *found: Found) -> Step:
        """One write."""
        seen = sightings(anomalies(*found, first_offset=self._offset))
        self._offset += len(found)
        return self.apply(seen)

    def apply(self, seen: Sequence[Sighting]) -> Step:
        """One write of what was seen."""
        known = {episode.subject: episode for episode in self.episodes() if episode.current}
        before = sum(episode.ended_ns is None for episode in known.values())
        done = step(self.rules, known, before, seen)
        self.rows |= {episode.alert_id: row_of(episode, 0) for episode in done.episodes}
        assert done.open_count == sum(episode.ended_ns is None for episode in self.episodes())
        self.told += done.told
        self.counted += done.counted
        self.gathered += done.gathered
        return done

    def episodes(self) -> list[Episode]:
        """Every episode, in the order they began."""
        return sorted((episode_of(row) for row in self.rows.values()), key=lambda episode: (episode.subject, episode.started_ns))


def ids(run: Run, receiver: str = "all") -> list[str]:
    """Ids of the messages one receiver got."""
    return [told.alert.notification_id for told in run.told if told.receiver == receiver]


def counts(run: Run, receiver: str = "all") -> list[int]:
    """How many anomalies each of its messages spoke of."""
    return [told.alert.count for told in run.told if told.receiver == receiver]


def test_the_first_anomaly_begins_an_alert() -> None:
    """One message for each receiver that wants the severity, with deterministic ids."""
    run = Run(RULES)
    run.give(Found(0))
    (told,) = run.told
    subject = Subject(run.episodes()[0].subject.series, "latency_spike")
    episode_id = alert_id(fingerprint(*subject), START_NS)
    assert (told.receiver, told.alert.alert_id, told.alert.fingerprint) == ("all", episode_id, fingerprint(*subject))
    assert told.alert.notification_id == notification_id(episode_id, "firing", 0, "all")
    assert (told.alert.status, told.alert.severity, told.alert.started_at) == (AlertStatus.FIRING, "warning", "2026-01-15T10:30:00.000Z")
    assert told.alert.ended_at is None


def test_repeats_within_the_window_are_only_counted() -> None:
    """People are not told again within the window of the last telling, its very end included."""
    run = Run(ONLY_ALL)
    run.give(Found(0), Found(1), Found(299), Found(300))
    assert counts(run) == [1]
    assert run.counted == 3
    (episode,) = run.episodes()
    assert (episode.count, episode.last_seen_ns, episode.notified_ns) == (4, START_NS + 300 * 10**9, START_NS)


def test_what_still_goes_on_is_told_again_after_the_window() -> None:
    """Same alert, next repeat number, the count so far; and again a window after that."""
    run = Run(ONLY_ALL)
    run.give(*(Found(at) for at in range(0, 1000, 100)))
    (episode,) = run.episodes()
    assert counts(run) == [1, 5, 9]
    assert ids(run) == [notification_id(episode.alert_id, "firing", repeat, "all") for repeat in range(3)]
    assert episode.repeat == 2


def test_after_a_longer_silence_a_new_alert_begins() -> None:
    """The old episode ends where it was last seen, and nobody is told of that; the new one has an id of its own."""
    run = Run(ONLY_ALL)
    run.give(Found(0), Found(100), Found(400.001))
    old, new = run.episodes()
    assert (old.status, old.ended_ns, old.resolve_reason, old.current) == (AlertStatus.RESOLVED, START_NS + 100 * 10**9, "expired", False)
    assert (new.status, new.ended_ns, new.count, new.current) == (AlertStatus.FIRING, None, 1, True)
    assert [told.alert.alert_id for told in run.told] == [old.alert_id, new.alert_id]
    assert old.alert_id != new.alert_id


def test_a_gap_of_exactly_the_window_goes_on() -> None:
    """The window belongs to the episode, its end included."""
    run = Run(ONLY_ALL)
    run.give(Found(0), Found(300), Found(600))
    assert len(run.episodes()) == 1
    assert counts(run) == [1, 3]


def test_a_rise_in_severity_is_told_at_once() -> None:
    """Whoever wants the new severity is told, with the next repeat number; a fall is not told, and the highest stays."""
    run = Run(RULES)
    run.give(Found(0), Found(1, "critical"), Found(2), Found(3, "critical"))
    assert counts(run, "all") == [1, 2]
    assert counts(run, "pager") == [2]
    (episode,) = run.episodes()
    assert ids(run, "pager") == [notification_id(episode.alert_id, "firing", 1, "pager")]
    assert SEVERITIES[episode.severity] == "critical"
    run.give(Found(302))
    assert counts(run, "pager") == [2, 5]  # it goes on, and the alert is still a critical one


def test_a_rise_begins_a_new_window() -> None:
    """The window runs from the last telling, whatever it was for."""
    run = Run(ONLY_ALL)
    run.give(Found(0), Found(200, "critical"), Found(450), Found(501))
    assert counts(run) == [1, 2, 4]


def test_types_and_series_are_told_apart() -> None:
    """An alert is about one type in one series; a service's other types and other services have their own."""
    run = Run(ONLY_ALL)
    run.give(Found(0), Found(0, metric="cost_usd"), Found(0, detector="cusum"), Found(0, service="search"), Found(0, metric="ttft_ms"))
    assert {(episode.subject.series.service, episode.subject.type): episode.count for episode in run.episodes()} == {
        ("chat", "latency_spike"): 2,  # latency_ms and ttft_ms are one type
        ("chat", "cost_anomaly"): 1,
        ("chat", "latency_drift"): 1,
        ("search", "latency_spike"): 1,
    }


def test_partitions_do_not_multiply_alerts() -> None:
    """The same series in two partitions is one alert."""
    run = Run(ONLY_ALL)
    run.give(Found(0))
    run.apply(sightings(anomalies(Found(5), log=LOG._replace(partition=1))))
    assert counts(run) == [1]
    assert run.episodes()[0].count == 2


def test_late_anomalies_are_counted_and_move_nothing() -> None:
    """What is not newer than the newest belongs to the alert that is going on, however old: no new alert, no end, no telling."""
    run = Run(ONLY_ALL)
    run.give(Found(1000), Found(1100), Found(0), Found(-90_000), Found(1050))
    (episode,) = run.episodes()
    assert (episode.started_ns, episode.last_seen_ns, episode.count) == (START_NS + 1000 * 10**9, START_NS + 1100 * 10**9, 5)
    assert counts(run) == [1]


def test_a_late_rise_is_told() -> None:
    """However late it comes, worse than was known is told; the window goes on from the later of both."""
    run = Run(ONLY_ALL)
    run.give(Found(1000), Found(0, "critical"), Found(1300))
    assert counts(run) == [1, 2]
    assert run.episodes()[0].notified_ns == START_NS + 1000 * 10**9


def test_two_partitions_far_apart_in_time_do_not_multiply_alerts() -> None:
    """One partition is live, another hours behind: their anomalies alternate, and there is one alert, not one for each."""
    run = Run(ONLY_ALL)
    run.give(*(Found(at + (36_000 if at % 2 else 0)) for at in range(100)))
    assert len(run.episodes()) == 2  # the one that began behind, and the live one
    assert len(run.told) == 2


def test_without_deduplication_every_anomaly_is_told() -> None:
    """`enabled: false`: one message for each, with rising repeat numbers; episodes stay the same."""
    run = Run(replace(ONLY_ALL, deduplicate=False))
    run.give(Found(0), Found(0), Found(-5), Found(100))
    assert counts(run) == [1, 2, 3, 4]
    assert len(set(ids(run))) == 4
    assert run.counted == 0
    assert len(run.episodes()) == 1


@pytest.mark.parametrize(("window_s", "told"), [(10, 5), (30, 3), (60, 2), (100, 1)])
def test_the_window_decides_how_often_people_are_told(window_s: float, told: int) -> None:
    """The same stream, told less often with a longer window."""
    run = Run(replace(ONLY_ALL, window_ns=int(window_s * 1e9)))
    run.give(*(Found(at) for at in (0, 10, 20, 30, 40, 50, 60, 70, 80, 90)))
    assert len(run.told) == told


def test_the_strongest_few_are_shown() -> None:
    """At most five, strongest first, the earlier first among equals; the count counts them all."""
    run = Run(ONLY_ALL)
    scores = [2.0, 2.5, 2.1, 2.9, 2.5, 2.2, 2.8, 2.5]
    run.give(*(Found(at, score=score) for at, score in enumerate(scores)))
    (episode,) = run.episodes()
    assert [(one.score, one.offset) for one in episode.anomalies()] == [(2.9, 3), (2.8, 6), (2.5, 1), (2.5, 4), (2.5, 7)]
    assert episode.count == len(scores)


def test_closed_in_between_makes_no_difference() -> None:
    """An episode that was closed for being quiet and goes on within the window after all is the same one, and people are not told twice."""
    run = Run(ONLY_ALL)
    run.give(Found(0))
    (row,) = run.rows.values()
    row |= {"status": "resolved", "ended_ns": START_NS, "resolve_reason": "expired"}
    run.give(Found(250))
    (episode,) = run.episodes()
    assert (episode.status, episode.ended_ns, episode.resolve_reason, episode.count) == (AlertStatus.FIRING, None, None, 2)
    assert len(run.told) == 1


def test_beyond_the_limit_new_subjects_share_one_alert() -> None:
    """No more than `max_open` alerts of their own: the others of a tenant are gathered in one, which tells of a critical one at once."""
    run = Run(replace(RULES, max_open=3))
    run.give(*(Found(i, service=f"s{i}") for i in range(5)))
    assert [told.alert.type for told in run.told] == ["latency_spike"] * 3 + [GATHERED]
    run.give(Found(6, "critical", service="s9"), Found(7, service="s8", tenant="other"), Found(8, service="s0"))
    gathered = [told for told in run.told if told.alert.type == GATHERED]
    assert [(told.receiver, told.alert.tenant, told.alert.count) for told in gathered] == [
        ("all", "default", 1),
        ("all", "default", 3),
        ("pager", "default", 3),
        ("all", "other", 1),
    ]
    assert gathered[1].alert.anomalies[0].service == "s9"
    assert "s9" in gathered[1].alert.title
    assert "alerting.max_open_alerts" in gathered[1].alert.description
    assert run.gathered == 4
    assert {episode.subject for episode in run.episodes()} >= {gathering("default"), gathering("other")}


def test_room_that_came_free_is_used_again() -> None:
    """When an episode has ended, the next new subject gets one of its own."""
    run = Run(replace(ONLY_ALL, max_open=1))
    run.give(Found(0, service="a"))
    (row,) = run.rows.values()
    row |= {"status": "resolved", "ended_ns": START_NS, "resolve_reason": "expired"}
    run.give(Found(1, service="b"))
    assert [told.alert.service for told in run.told] == ["a", "b"]
    run.give(Found(2, service="a"))  # its room is taken meanwhile
    assert run.told[-1].alert.type == GATHERED


def test_the_words_say_what_where_how_much_and_since_when() -> None:
    """A person who reads the title and one sentence knows the value, what was expected, how often, since when, and where."""
    run = Run(ONLY_ALL)
    run.give(Found(0), Found(61, "critical", score=12.0), Found(62))
    first, second = run.told
    assert first.alert.title == "Warning: latency_ms of chat / gpt-4o was 1,500, where about 1,000 is expected"
    assert first.alert.description == ("latency_ms of chat / gpt-4o was 1,500 at 2026-01-15T10:30:00.000Z, where about 1,000 is expected.")
    assert second.alert.title == "Critical: latency_ms of chat / gpt-4o was 4,000, where about 1,000 is expected"
    assert second.alert.description == (
        "latency_ms of chat / gpt-4o was 4,000 at 2026-01-15T10:31:01.000Z, where about 1,000 is expected; "
        "it is the strongest of 2 anomalies since 2026-01-15T10:30:00Z, the last of them at 2026-01-15T10:31:01Z."
    )


def test_links_lead_to_the_alert_when_the_address_is_known() -> None:
    """`external_url` makes links; without it there are none."""
    run = Run(RULES)
    run.give(Found(0))
    alert = run.told[0].alert
    assert alert.links == links("https://sentinel.example", alert.alert_id)
    assert alert.links["api"] == f"https://sentinel.example/api/v1/alerts/{alert.alert_id}"
    bare = Run(replace(RULES, external_url=None))
    bare.give(Found(0))
    assert bare.told[0].alert.links == {}


def test_a_message_survives_json() -> None:
    """What a receiver gets reads back as the same alert."""
    run = Run(RULES)
    run.give(Found(0), Found(1, "critical"))
    for told in run.told:
        assert msgspec.json.decode(msgspec.json.encode(told.alert), type=Alert) == told.alert


# ------------------------------------------------------------------------------------------------------------------- sightings


ALL = Worth("info", events=True, costly_usd=None)


def test_only_what_is_severe_enough_is_worthy() -> None:
    """`alert_worthy` leaves out what lies below the configured severity, and keeps the order."""
    batch, found = columns([Found(0, "info"), Found(1, "critical"), Found(2, "warning"), Found(3, "info")])
    assert [one.offset for one in alert_worthy(batch, found, (), Worth("warning", events=True, costly_usd=None))] == [1, 2]
    assert [one.offset for one in alert_worthy(batch, found, (), Worth("critical", events=True, costly_usd=None))] == [1]
    assert len(alert_worthy(batch, found, (), ALL)) == 4
    assert not alert_worthy(*columns([]), (), ALL)


def test_single_events_are_no_alerts_unless_wished_or_costly() -> None:
    """By default only time windows count, and a critical cost of at least `costly_event_usd`."""
    batch, found = columns([Found(0, "critical", metric="cost_usd"), Found(1, "critical"), Found(2, "warning", metric="cost_usd")])
    told = anomalies(Found(9), first_offset=9)

    def offsets(worth: Worth) -> list[int]:
        return [one.offset for one in alert_worthy(batch, found, told, worth)]

    assert offsets(Worth("warning", events=False, costly_usd=None)) == [9]
    assert offsets(Worth("warning", events=False, costly_usd=5_000.0)) == [9]
    assert offsets(Worth("warning", events=False, costly_usd=100.0)) == [0, 9]
    assert offsets(Worth("warning", events=True, costly_usd=None)) == [0, 1, 2, 9]
    assert offsets(Worth("critical", events=True, costly_usd=None)) == [0, 1]


def test_columns_and_objects_are_seen_alike() -> None:
    """The numbers taken from columns are those of the anomalies made from them."""
    batch, found = columns([Found(i / 7, service=f"s{i % 3}", metric=metric) for i, metric in enumerate(("cost_usd", "ttft_ms", "error"))])
    worthy = alert_worthy(batch, found, (), ALL)
    assert [one[:5] for one in sightings(worthy)] == [one[:5] for one in sightings(list(worthy))]
    assert [one.origin[one.at] for one in sightings(worthy)] == list(worthy) == worthy[:]
    assert worthy[-1] is worthy[len(worthy) - 1]


@given(st.integers(0, 7_000_000_000 * 10**9))
def test_times_read_back(ns: int) -> None:
    """`nanoseconds` is the inverse of `rfc3339`, to the nanosecond."""
    assert nanoseconds(rfc3339(ns)) == ns


# -------------------------------------------------------------------------------------------------------------------- properties

SEEN = st.builds(
    Found,
    at_s=st.one_of(st.integers(0, 2_000), st.integers(-2_000, 12_000)).map(float),
    severity=st.sampled_from(["info", "warning", "critical"]),
    service=st.sampled_from(["a", "b", "c", "d"]),
    score=st.one_of(st.none(), st.sampled_from([1.5, 2.0, 2.0, 3.5])),
    metric=st.sampled_from(["latency_ms", "latency_ms", "cost_usd"]),
    detector=st.just("zscore"),
    tenant=st.sampled_from(["default", "default", "other"]),
)
LIMITS = st.builds(
    lambda window, deduplicate, most: replace(RULES, window_ns=window * 10**9, deduplicate=deduplicate, max_open=most),
    st.sampled_from([1, 60, 300]),
    st.booleans() | st.just(value=True),
    st.sampled_from([1, 2, 3, 100]),
)


def pieces(seen: Sequence[Sighting], seed: int) -> Iterable[Sequence[Sighting]]:
    """The stream cut at random."""
    rng = random.Random(seed)  # noqa: S311  reproducible cuts, no secret
    cuts = sorted({0, len(seen), *(rng.randrange(len(seen) + 1) for _ in range(rng.randrange(len(seen) + 1)))})
    return [seen[start:end] for start, end in pairwise(cuts)]


@given(st.lists(SEEN, max_size=60), LIMITS, st.integers(0, 2**32))
def test_how_the_stream_was_cut_makes_no_difference(found: list[Found], rules: Rules, seed: int) -> None:
    """Episodes, messages, their ids and every word of them are the same for one write, random pieces, and one by one."""
    seen = sightings(alert_worthy(*columns(found), (), ALL))
    whole, cut, single = Run(rules), Run(rules), Run(rules)
    whole.apply(seen)
    for piece in pieces(seen, seed):
        cut.apply(piece)
    for one in seen:
        single.apply([one])
    assert whole.rows == cut.rows == single.rows
    assert whole.told == cut.told == single.told
    assert whole.counted == cut.counted == single.counted


@given(st.lists(SEEN, max_size=80), LIMITS)
def test_nothing_vanishes_and_nobody_is_flooded(found: list[Found], rules: Rules) -> None:
    """Every anomaly is counted in one episode and either told or not; ids are unique; open alerts stay within their limit."""
    run = Run(rules)
    run.apply(sightings(alert_worthy(*columns(found), (), ALL)))
    episodes = run.episodes()
    assert sum(episode.count for episode in episodes) == len(found)
    messages = Counter((told.receiver, told.alert.notification_id) for told in run.told)
    assert all(count == 1 for count in messages.values())
    assert sum(episode.repeat + 1 for episode in episodes) + run.counted == len(found)
    current = Counter(episode.subject for episode in episodes if episode.current)
    assert all(count == 1 for count in current.values())
    own = [episode for episode in episodes if episode.ended_ns is None and not episode.gathered]
    assert len(own) <= rules.max_open
    assert all(0 <= episode.last_seen_ns - episode.notified_ns <= rules.window_ns for episode in episodes)
    assert all(len(episode.strongest) == min(STRONGEST, episode.count) for episode in episodes)


@given(st.lists(SEEN, max_size=60), LIMITS)
def test_the_worst_is_always_known(found: list[Found], rules: Rules) -> None:
    """Whoever wants an alert's severity was told of it at that severity."""
    run = Run(rules)
    run.apply(sightings(alert_worthy(*columns(found), (), ALL)))
    told = {(one.receiver, one.alert.alert_id, one.alert.severity) for one in run.told}
    for episode in run.episodes():
        wanted = [route.receiver for route in rules.routes if episode.severity >= route.min_severity]
        assert all((receiver, episode.alert_id, SEVERITIES[episode.severity]) in told for receiver in wanted)
