# The part of pyarrow.compute that we use.
from pyarrow import Array

class Sum:
    def as_py(self) -> float | int | None: ...

def sum(array: Array) -> Sum: ...  # noqa: A001
