"""The watermark: what may be committed is behind everything that is not safe yet."""

from hypothesis import given
from hypothesis import strategies as st

from sentinel.ingestion.offsets import Watermark

lengths = st.lists(st.tuples(st.integers(1, 5), st.integers(0, 3)), min_size=1, max_size=12)
"""Spans as (offsets, offsets that the log does not hold before them)."""


@given(spans=lengths, order=st.randoms(use_true_random=False))
def test_it_is_the_highest_contiguous_end(spans: list[tuple[int, int]], order: object) -> None:
    """Whatever order spans settle in: the watermark is the end of the last one before the first that is open, and never falls."""
    mark, bounds, at = Watermark(), [], 0
    for length, hole in spans:
        bounds.append((at + hole, at + hole + length))
        at += hole + length
        mark.opened(*bounds[-1])
    settling = list(bounds)
    order.shuffle(settling)  # type: ignore[attr-defined]  # hypothesis names no type for it
    left, reached = set(bounds), 0
    for span in settling:
        left.remove(span)
        end = mark.settled(span[0])
        before = [bound for bound in bounds if not left or bound[0] < min(left)[0]]
        expected = before[-1][1] if before else 0
        assert (end or reached) == expected
        assert end is None or end > reached
        reached = expected
        assert mark.in_flight == len([bound for bound in bounds if bound[0] >= reached])
    assert reached == at
    assert mark.in_flight == 0


def test_an_ack_that_comes_twice_or_from_nowhere_changes_nothing() -> None:
    """Settling a span that is not open neither moves the watermark nor lets a later span of that offset through."""
    mark = Watermark()
    mark.opened(0, 10)
    assert mark.settled(5) is None
    assert mark.settled(0) == 10
    assert mark.settled(0) is None
    mark.opened(10, 20)
    mark.opened(20, 30)
    assert mark.settled(20) is None
    assert mark.settled(20) is None
    assert mark.settled(10) == 30
