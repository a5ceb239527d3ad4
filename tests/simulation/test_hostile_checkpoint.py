"""A checkpoint somebody else has written: it is data, never a program."""

from io import BytesIO

import numpy as np
import pytest

from sentinel.core.errors import SnapshotError
from sentinel.detection.tables import packed, unpacked

ran: list[str] = []


class Payload:
    """Runs when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return ran.append, ("code of a checkpoint",)


def test_a_table_of_objects_is_refused_and_nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numpy's format can hold pickled objects; a table that does is no table."""
    file = BytesIO()
    np.lib.format.write_array(file, np.array([Payload()], object), allow_pickle=True)
    with monkeypatch.context() as hostile:
        hostile.setattr(np.lib.format, "write_array", lambda written, *_args, **_options: written.write(file.getvalue()))
        blob = packed({"table": np.zeros(1)})
    with pytest.raises(SnapshotError):
        unpacked(blob)
    assert ran == []
