"""Named arrays as bytes: whatever the bytes are, they are arrays or they are refused."""

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sentinel.core.errors import SnapshotError
from sentinel.detection.tables import packed, unpacked

TABLES = {"counts": np.arange(6).reshape(2, 3), "levels": np.zeros(2, [("n", "f8"), ("hours", "f4", (3,))]), "none": np.zeros(0, np.uint8)}
BLOB = packed(TABLES)


def test_arrays_come_back() -> None:
    """With their names, types and shapes."""
    found = unpacked(BLOB)
    assert {name: (table.dtype, table.shape) for name, table in found.items()} == {
        name: (table.dtype, table.shape) for name, table in TABLES.items()
    }
    assert found["counts"].tolist() == TABLES["counts"].tolist()


@settings(max_examples=1_000)
@given(st.lists(st.tuples(st.integers(0, len(BLOB) - 1), st.integers(0, 255)), min_size=1, max_size=6), st.integers(0, len(BLOB)))
@example([(BLOB.index(b"}"), ord(" "))], len(BLOB))
@example([(BLOB.index(b"'descr'"), ord("("))], len(BLOB))
@example([(BLOB.index(b"(2, 3)") + 1, ord("9"))], len(BLOB))
def test_damaged_bytes_are_arrays_or_refused(changes: list[tuple[int, int]], length: int) -> None:
    """Also where the head of an array is no literal any more."""
    damaged = bytearray(BLOB)
    for at, byte in changes:
        damaged[at] = byte
    try:
        found = unpacked(bytes(damaged[:length]))
    except SnapshotError:
        return
    assert all(isinstance(table, np.ndarray) and not table.dtype.hasobject for table in found.values())
