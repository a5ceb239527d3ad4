"""Line protocol: an independent parser reads back what was written, or it was refused in words."""

import math
from collections.abc import Callable, Sequence
from typing import Any, AnyStr

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from line_protocol_parser import parse_line

from sentinel.storage.line_columns import LineColumns
from sentinel.storage.line_protocol import MAX_STRING_BYTES, UnfitError, encoded_tag, plain_tag, point

# The parser's C library takes no number that is smaller than the smallest normal one.
NUMBERS = st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False)
INTEGERS = st.integers(-(2**63), 2**63 - 1)
FIT = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1)


def column(add: Callable[[LineColumns], None], count: int = 1) -> list[str]:
    """Lines with one column, and a field `x` at the end."""
    columns = LineColumns(count)
    columns.heads([b"m "], np.zeros(count, np.int64))
    add(columns)
    columns.ends(["x"], np.ones((count, 2), np.int64))
    return [line.decode() for line in columns.lines()]


def texts(values: Sequence[AnyStr | None]) -> list[str]:
    """Lines with texts as the field `f`."""
    return column(lambda columns: columns.strings("f", values), len(values))


@given(NUMBERS)
def test_floats_come_back_exactly(number: float) -> None:
    """Every finite float comes back bit by bit, written alone and as part of a column."""
    alone = parse_line(point("m", [], [("x", number)], 1))["fields"]["x"]
    (line,) = column(lambda columns: columns.floats(["f"], np.array([[number]])))
    in_column = parse_line(line)["fields"]["f"]
    assert math.copysign(1, alone) == math.copysign(1, number)
    assert alone == in_column == number


@given(INTEGERS)
def test_integers_come_back_exactly(number: int) -> None:
    """Every 64-bit integer comes back as an integer, written alone and as part of a column."""
    (in_column,) = column(lambda columns: columns.integers(["f"], np.array([[number]])))
    for line in (point("m", [], [("f", number)], 1), in_column):
        back = parse_line(line)["fields"]["f"]
        assert type(back) is int
        assert back == number


@given(FIT)
def test_texts_come_back_exactly(text: str) -> None:
    """A text without control characters comes back from a tag and from a field, alone and in a column."""
    read = parse_line(point("m", [("t", text)], [("f", text)], 1))
    assert plain_tag(read["tags"]["t"]) == text
    assert read["fields"]["f"] == text
    for _, line in (texts([text, text]), texts([text.encode(), text.encode()])):
        assert parse_line(line)["fields"]["f"] == text


@given(FIT)
def test_no_tag_holds_a_backslash(text: str) -> None:
    """Parsers disagree about backslashes in tags, so none is stored, and two values never become one."""
    assert "\\" not in encoded_tag(text)
    assert plain_tag(encoded_tag(text)) == text


@given(st.lists(st.one_of(st.none(), FIT), min_size=1))
def test_absent_texts_keep_their_places(values: list[str | None]) -> None:
    """In a column of texts, None leaves its place empty and moves no other."""
    assert [parse_line(line)["fields"].get("f") for line in texts(values)] == values


@given(st.lists(st.floats(allow_infinity=False, allow_subnormal=False), min_size=1, max_size=50))
def test_nan_is_left_out(values: list[float]) -> None:
    """In a column of numbers NaN leaves its place empty and moves no other."""
    lines = column(lambda columns: columns.floats(["f"], np.array(values).reshape(-1, 1)), len(values))
    assert [parse_line(line)["fields"].get("f") for line in lines] == [None if math.isnan(number) else number for number in values]


@pytest.mark.parametrize("letter", ["\x00", "\t", "\n", "\r", "\x1f", "\x7f", "\x80", "\x85", "\x9f", "\ud800"])
def test_control_characters_and_half_pairs_are_refused(letter: str) -> None:
    """C0, C1, DEL and lone surrogates are refused with the name of the field, in tags, fields, columns and columns of bytes."""
    text = f"a{letter}b"
    for refused in (
        lambda: point("m", [("spot", text)], [("x", 1)], 1),
        lambda: point("m", [], [("spot", text)], 1),
        lambda: LineColumns(2).strings("spot", ["fine", text]),
        lambda: LineColumns(2).strings("spot", [b"fine", text.encode("utf-8", "surrogatepass")]),
    ):
        with pytest.raises(UnfitError, match="spot"):
            refused()


@pytest.mark.parametrize(
    ("tags", "fields", "reason"),
    [
        ([("a", "1"), ("a", "2")], [("x", 1)], "a stands twice"),
        ([("a", "1")], [("x", 1), ("x", 2)], "x stands twice"),
        ([("a", "1")], [("a", 1)], "a stands twice"),
        ([("time", "1")], [("x", 1)], "named time"),
        ([], [("time", 1)], "named time"),
        ([("a", "")], [("x", 1)], "a is empty"),
        ([], [("x", None), ("y", math.nan)], "no field"),
        ([], [("x", math.inf)], "x is infinite"),
        ([], [("x", 2**63)], "beyond 64 bits"),
        ([], [("x", "ß" * MAX_STRING_BYTES)], "x is longer"),
        ([("a", "\\" * (MAX_STRING_BYTES // 2))], [("x", 1)], "a is longer"),
        ([("a", "b" * 40_000), ("c", "d" * 30_000)], [("x", 1)], "longer than 65535 bytes together"),
    ],
)
def test_points_that_would_lose_something_are_refused(tags: Any, fields: Any, reason: str) -> None:
    """Names that stand twice or are `time`, empty tags, no fields, and values that do not fit are errors that say which."""
    with pytest.raises(UnfitError, match=reason):
        point("m", tags, fields, 1)


def test_long_texts_in_columns_are_refused() -> None:
    """A column with a text longer than the store takes is refused; the longest that fits is not."""
    assert len(texts(["a", "b" * MAX_STRING_BYTES])) == 2
    with pytest.raises(UnfitError, match="f is longer"):
        texts(["a", "ß" * (MAX_STRING_BYTES // 2 + 1)])


def test_refusals_do_not_quote() -> None:
    """An error never holds the value: it may be a secret."""
    for text in ("hunter2\x00", "hunter2\ud800", "hunter2" * MAX_STRING_BYTES):
        with pytest.raises(UnfitError) as refused:
            point("m", [], [("f", text)], 1)
        assert "hunter2" not in str(refused.value)
