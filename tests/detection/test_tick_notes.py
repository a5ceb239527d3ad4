"""Who contributed, what to look at, which rows and which markers: the names around the numbers."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from test_tick_order import batch, seconds

from sentinel.core.batch import OVERFLOW, Dimensions, SeriesKey
from sentinel.core.command import Marker, Which
from sentinel.core.tell import Kind
from sentinel.detection.tick_markers import MOST_MARKERS, Markers
from sentinel.detection.tick_notes import MOST_SERIES, RING, Note, Notes, contributors
from sentinel.detection.tick_rows import Rows
from sentinel.detection.tick_state import NOTE_EXTREME, NOTE_FAILED, NOTE_SAMPLE, NOTE_USUAL


def note(user: str | None, version: str | None = None, ts_ns: int = 0) -> Note:
    """A remembered event of a user and a prompt version."""
    return Note(ts_ns, NOTE_FAILED, 0.0, None, user, Dimensions(prompt_version=version))


def test_a_contributor_has_a_good_part_and_more_than_usual() -> None:
    """The one who always has most of the requests is none; the new prompt version is."""
    usual = [note("ann", "v1")] * 8 + [note("bob", "v1")] * 2
    found = contributors([note("ann", "v2")] * 4 + [note("bob", "v1")], usual)
    assert [(one.dimension, one.value, one.share, one.usual) for one in found] == [("prompt_version", "v2", 0.8, 0.0)]


def test_few_events_say_nothing_about_who() -> None:
    """Two events are no share."""
    assert contributors([note("ann")] * 2, []) == []


def test_notes_are_of_the_time_of_the_finding_and_bounded() -> None:
    """Contributors and traces come from events since it began, the most extreme first; rings and rows have an end."""
    notes = Notes()
    for i in range(1_000):
        notes.take(0, i, NOTE_EXTREME | NOTE_SAMPLE | NOTE_USUAL, float(i % 7), (f"trace-{i}", "ann", Dimensions()))
    notes.take(MOST_SERIES, 5, NOTE_EXTREME, 1.0, ("trace", None, Dimensions()))
    who, traces = notes.about(Kind.EXTREMES, 0, 990)
    assert [one.value for one in who] == []
    assert traces == ["trace-993", "trace-999", "trace-992"] or len(traces) == 3
    assert all(int(trace.removeprefix("trace-")) >= 990 for trace in traces)
    assert notes.about(Kind.EXTREMES, MOST_SERIES, 0) == ([], [])
    assert len(notes.about(Kind.SILENCE, 0, 0)[1]) == 0
    assert len(notes.tables()["notes"]) < 3 * RING * 200


def test_notes_survive_a_checkpoint() -> None:
    """The same contributors and traces as before."""
    notes, after = Notes(), Notes()
    for i in range(40):
        notes.take(3, i, NOTE_FAILED, 0.0, (f"trace-{i}", "ann" if i % 2 else None, Dimensions(finish_reason="stop")))
    after.load(notes.tables())
    assert after.about(Kind.FAILURES, 3, 10) == notes.about(Kind.FAILURES, 3, 10)


def names(*services: str) -> Sequence[SeriesKey]:
    """Series of one model."""
    return tuple(SeriesKey("default", service, "m") for service in services)


def test_rows_end_in_the_overflow_series_and_families_are_shared() -> None:
    """Known series keep their rows; series of one model are one family, those of one provider another."""
    rows, families = Rows(2), np.zeros((3, 2), np.int32)
    events = replace(batch(seconds(0, 1, 2, 3)), names=names("a", "b", "c", "d"), series=np.arange(4, dtype=np.int32))
    of, new = rows.of(events, families)
    assert of.tolist() == [0, 1, 2, 2]
    assert new == [0, 1, 2]
    assert [*rows.names] == [*names("a", "b"), OVERFLOW]
    assert families[0].tolist() == families[1].tolist()
    assert families[0, 0] != families[0, 1] != 0
    again = Rows(2)
    again.load(rows.tables(), rows.names)
    assert again.of(events, families)[0].tolist() == of.tolist()
    with pytest.raises(ValueError, match="max_series"):
        Rows(1).load(rows.tables(), [*rows.names, *names("x")])


def test_markers_cover_what_they_name_for_their_time() -> None:
    """The newest first; other tenants, services and times are not touched; the oldest are forgotten."""
    markers = Markers(reach_ns=100)
    chat = SeriesKey("default", "chat", "m")
    markers.add(Marker(kind="deploy", ts_ns=1_000, id="a", which=Which(service="chat")))
    markers.add(Marker(kind="price", ts_ns=1_050, id="b"))
    markers.add(Marker(kind="deploy", ts_ns=1_060, id="c", which=Which(tenant="other")))
    assert markers.explaining(chat, 1_080, 1_090) == ["b", "a"]
    assert markers.explaining(chat, 1_120, 1_130) == ["b"]
    assert markers.explaining(SeriesKey("default", "search", "m"), 1_080, 1_090) == ["b"]
    assert (markers.latest_ns(chat), markers.latest_ns(SeriesKey("t", "s", "m"))) == (1_050, 0)
    after = Markers(100)
    after.load(markers.tables())
    assert after.explaining(chat, 1_080, 1_090) == ["b", "a"]
    for i in range(2 * MOST_MARKERS):
        markers.add(Marker(kind="deploy", ts_ns=i, id=f"m{i}", text="x" * 10_000))
    assert len(markers.tables()["markers"]) < MOST_MARKERS * 500


def test_one_of_three_is_no_contributor() -> None:
    """A value is named from three events on; one that all have is named only where it is known that it was not always so."""
    odd = [note(f"user-{i}", "v2") for i in range(3)]
    assert contributors(odd, []) == []
    usual = [note("ann", "v1")] * 10
    assert [(one.dimension, one.value) for one in contributors(odd, usual)] == [("prompt_version", "v2")]
