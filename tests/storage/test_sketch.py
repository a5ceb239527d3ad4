"""Quantile sketches: within one percent, and the same whatever way their values were cut."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.storage import sketch
from sentinel.storage.sketch import LARGEST, SMALLEST, Sketches

values = st.lists(st.one_of(st.just(0.0), st.floats(SMALLEST, LARGEST), st.floats(-1e6, 0)), min_size=1, max_size=60)
pieces = st.lists(st.lists(st.tuples(st.integers(0, 5), st.floats(allow_infinity=False)), max_size=30), min_size=1, max_size=6)


def of(piece: list[tuple[int, float]]) -> Sketches:
    """The sketches of (group, value) pairs."""
    return sketch.sketches_of(np.array([g for g, _ in piece], dtype=np.int64), np.array([v for _, v in piece], dtype=np.float64))


@given(values, st.floats(0, 1))
def test_quantile_is_within_one_percent(drawn: list[float], q: float) -> None:
    """A quantile is within 1% of the value of its rank; what is not positive counts as zero."""
    ordered = np.maximum(np.sort(drawn), 0.0)
    exact = ordered[max(int(np.ceil(q * len(ordered) - 1e-9)), 1) - 1]
    found = sketch.quantiles(sketch.sketches_of(np.zeros(len(drawn), dtype=np.int64), np.array(drawn)), 1, q)[0]
    assert abs(found - exact) <= 0.01 * exact


@given(pieces, st.randoms())
def test_merge_does_not_depend_on_the_cut(drawn: list[list[tuple[int, float]]], random: object) -> None:
    """Merging pieces in any order and nesting gives the bytes of the sketch of everything."""
    whole = sketch.encode(of([pair for piece in drawn for pair in piece]), 6)
    parts = [of(piece) for piece in drawn]
    random.shuffle(parts)  # type: ignore[attr-defined]  # hypothesis' own Random
    nested = parts[0]
    for part in parts[1:]:
        nested = sketch.merge([part, nested])
    assert sketch.encode(sketch.merge(parts), 6) == whole
    assert sketch.encode(nested, 6) == whole


@given(pieces)
def test_bytes_round_trip(drawn: list[list[tuple[int, float]]]) -> None:
    """Decoding gives back what was encoded, and an empty group has no bytes."""
    whole = of([pair for piece in drawn for pair in piece])
    blobs = sketch.encode(whole, 6)
    decoded = sketch.decode(blobs)
    assert np.array_equal(decoded.key, whole.key)
    assert np.array_equal(decoded.count, whole.count)
    assert [blob is None for blob in blobs] == (sketch.totals(whole, 6) == 0).tolist()


@pytest.mark.parametrize("count", [1, 65_535, 65_536, 131_070, 10_000_000])
def test_large_counts_survive_the_bytes(count: int) -> None:
    """A bucket may hold more than one entry can say."""
    one = of([(0, 5.0)])
    blobs = sketch.encode(Sketches(one.key, np.array([count], dtype=np.int64)), 1)
    assert sketch.decode(blobs).count.tolist() == [count]
    assert len(blobs[0] or b"") == 4 * -(-count // 65_535)


@given(pieces)
def test_regrouping_merges_groups(drawn: list[list[tuple[int, float]]]) -> None:
    """Renaming groups is the same as having used the new names from the start."""
    pairs = [pair for piece in drawn for pair in piece]
    renamed = sketch.regroup(of(pairs), np.array([0, 1, 0, 1, 0, 1], dtype=np.int64))
    assert sketch.encode(renamed, 2) == sketch.encode(of([(group % 2, value) for group, value in pairs]), 2)


def test_dense_and_sparse_collapse_agree() -> None:
    """Both ways of adding up equal buckets give the same."""
    random = np.random.default_rng(5)
    key = random.integers(0, 400, 2_000)
    count = random.integers(1, 9, 2_000)
    dense = sketch._collapse(key, count)
    sparse = sketch._collapse(np.append(key, 10**9), np.append(count, 1))
    assert np.array_equal(dense.key, sparse.key[:-1])
    assert np.array_equal(dense.count, sparse.count[:-1])


def test_absurd_values_cost_one_bucket() -> None:
    """Values beyond all reason neither fail nor spread."""
    absurd = of([(0, 1e300), (0, float("inf")), (0, LARGEST), (0, -1e300), (0, 5e-324)])
    assert sketch.totals(absurd, 1).tolist() == [5]
    assert len(absurd.key) == 2


@pytest.mark.parametrize("blob", [b"abc", b"\xff\xff\x01\x00", b"\x01\x00\x00\x00"])
def test_damaged_bytes_are_refused(blob: bytes) -> None:
    """Cut or impossible bytes are an error, never a number."""
    with pytest.raises(ValueError, match="sketch is"):
        sketch.decode([blob])


def test_groups_without_values_have_no_quantile() -> None:
    """No value, no number."""
    assert np.isnan(sketch.quantiles(of([]), 2, 0.5)).all()
    assert np.isnan(sketch.quantiles(of([(1, 3.0)]), 3, 0.5)).tolist() == [True, False, True]
