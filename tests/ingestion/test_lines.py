"""Lines out of blocks: the cut does not matter, and a line costs no more memory than it may."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from sentinel.ingestion.lines import Lines

LIMIT = 8
texts = st.lists(st.binary(max_size=20).map(lambda line: line.replace(b"\n", b"").rstrip(b"\r")), max_size=12)


def read(blocks: list[bytes]) -> list[bytes]:
    """All lines of a stream of blocks."""
    lines = Lines(LIMIT)
    return [line for block in blocks for line in lines.feed(block)] + lines.end()


@given(texts, st.sampled_from([b"\n", b"\r\n"]), st.booleans(), st.lists(st.integers(0, 200), max_size=20))
def test_the_cut_does_not_matter(wanted: list[bytes], end: bytes, ended: bool, cuts: list[int]) -> None:
    """However a stream is cut: the same lines, whole up to the limit, and longer ones recognisably too long."""
    stream = end.join(wanted) + (end if ended and wanted else b"")
    places = sorted({0, *cuts, len(stream)})
    found = read([stream[a:b] for a, b in pairwise(places)])
    assert found == read([stream])
    expected = wanted if ended or not wanted or wanted[-1] else wanted[:-1]
    assert len(found) == len(expected)
    for line, original in zip(found, expected, strict=True):
        assert line == original if len(original) <= LIMIT else len(line) > LIMIT
        assert len(line) <= LIMIT + 2


def test_a_long_line_keeps_only_its_beginning() -> None:
    """A line of megabytes is held at the limit, and the next line is whole."""
    lines = Lines(LIMIT)
    for _ in range(1_000):
        assert lines.feed(b"x" * 1_000) == []
        assert len(lines._rest) <= LIMIT + 2
    assert lines.feed(b"\nnext\n") == [b"x" * (LIMIT + 2), b"next"]
    assert lines.end() == []


def test_a_carriage_return_beyond_the_limit_does_not_shorten_a_line() -> None:
    """A cut that falls behind a carriage return must not make a line that is too long look like one that fits."""
    assert len(read([b"x" * LIMIT + b"\r" + b"y" * 5 + b"\n"])[0]) > LIMIT
    assert read([b"x" * LIMIT + b"\r\n"]) == [b"x" * LIMIT]
