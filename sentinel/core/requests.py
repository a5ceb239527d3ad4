"""Many records as few requests."""

from collections.abc import Iterator, Sequence


def in_requests(records: Sequence[bytes], most: int, most_bytes: int) -> Iterator[list[bytes]]:
    """Cut records, in order, into requests of bounded size, with a byte between two records; one record alone may be larger.

    Args:
        records: any number of them.
        most: records of one request, >= 1.
        most_bytes: of one request.

    >>> list(in_requests([b"one", b"two", b"three", b"4"], 3, 7))
    [[b'one', b'two'], [b'three', b'4']]
    """
    taken: list[bytes] = []
    size = 0
    for record in records:
        if taken and (len(taken) == most or size + len(record) > most_bytes):
            yield taken
            taken, size = [], 0
        taken.append(record)
        size += len(record) + 1
    if taken:
        yield taken
