"""How notifications are put into messages."""

import itertools

from delivery_inputs import notification
from hypothesis import given
from hypothesis import strategies as st

from sentinel.alerting.parcels import lanes

due_lists = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6)), max_size=40).map(
    lambda rows: [notification(number, alert=f"a{alert}", attempts=attempts) for number, (alert, attempts) in enumerate(rows)]
)


def test_alone_each_alert_has_its_lane() -> None:
    """Without batching every message holds one notification, and only those of the same alert wait for each other."""
    due = [notification(2, alert="x"), notification(3, alert="y"), notification(1, alert="x")]
    found = [[[one.id[-1] for one in parcel] for parcel in lane] for lane in lanes(due)]
    assert found == [[["1"], ["2"]], [["3"]]]


def test_together_they_fill_messages() -> None:
    """With batching they share messages of the configured size."""
    found = lanes([notification(number) for number in range(7)], together=3)
    assert [[len(parcel) for parcel in lane] for lane in found] == [[3, 3, 1]]


def test_what_was_tried_often_travels_alone() -> None:
    """One that fails again and again no longer takes others with it."""
    due = [notification(1, attempts=3), notification(2, attempts=2), notification(3)]
    assert [[[one.id[-1] for one in parcel] for parcel in lane] for lane in lanes(due, together=10)] == [[["2", "3"]], [["1"]]]


@given(due_lists, st.integers(1, 9), st.integers(1, 4))
def test_nothing_is_lost_doubled_or_overtaken(due: list, together: int, tries: int) -> None:
    """Each notification is in one message, no message is too large, and those of an alert are in one lane in their order."""
    found = lanes(due, together, tries)
    flat = [one.id for lane in found for parcel in lane for one in parcel]
    assert sorted(flat) == sorted(one.id for one in due)
    assert all(1 <= len(parcel) <= together for lane in found for parcel in lane)
    place = {one.id: (number, at) for number, lane in enumerate(found) for at, one in enumerate(itertools.chain(*lane))}
    for first, second in itertools.combinations(due, 2):
        if first.alert.alert_id == second.alert.alert_id:
            assert place[first.id][0] == place[second.id][0]
            assert place[first.id][1] < place[second.id][1]
