"""Whole columns as lines, and lines as one text: the same as value by value, and what cannot be written is refused."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel.core.parts import Parts
from sentinel.ingestion.plain import Slices
from sentinel.storage import line_protocol
from sentinel.storage.line_columns import LineColumns
from sentinel.storage.line_protocol import MAX_STRING_BYTES, UnfitError, fault_of
from sentinel.storage.lines import Lines

INT64 = st.integers(-(2**63), 2**63 - 1)
NUMBERS = st.floats(allow_infinity=False)
TEXTS = st.none() | st.text(st.characters(exclude_categories=["Cc", "Cs"])) | st.text('\\"', max_size=40) | st.text('a"\\é', max_size=40)
ANY_TEXTS = st.none() | st.text() | st.text('a"\\\n\x7f\x80\x9f\xa0Â\ud800', max_size=12) | st.just("é" * (MAX_STRING_BYTES // 2 + 1))
ROWS = st.lists(st.tuples(st.integers(0, 2), NUMBERS, NUMBERS, TEXTS, TEXTS, INT64, INT64, INT64), min_size=1, max_size=40)
HEADS = ["m,a=b ", 'measure,service=ü\\ x f="",', "n "]


def one_by_one(rows: Sequence[tuple[Any, ...]]) -> list[str]:
    """The lines, each made alone."""
    lines = []
    for head, f, g, s, t, i, j, time in rows:
        fields = [f"{name}={orjson.dumps(value).decode()}" for name, value in (("f", f), ("a_longer_name", g)) if not np.isnan(value)]
        named = [("s", s), ("t", t), ("i", i), ("j", j)]
        fields += [f"{name}={text}" for name, value in named if (text := line_protocol.field(name, value)) is not None]
        lines.append(f"{HEADS[head]}{','.join(fields)} {time}")
    return lines


def columns_of(rows: Sequence[tuple[Any, ...]], *, in_bytes: bool = False) -> Lines:
    """The lines, made of whole columns."""
    heads, f, g, s, t, *whole = zip(*rows, strict=True)
    columns = LineColumns(len(rows))
    columns.heads([head.encode() for head in HEADS], np.array(heads))
    columns.floats(["f", "a_longer_name"], np.array([f, g]).T)
    columns.strings("s", s)
    columns.strings("t", [None if text is None else text.encode() for text in t] if in_bytes else t)
    columns.ends(["i", "j"], np.array(whole).T)
    return columns.lines()


@settings(max_examples=300)
@given(ROWS, st.booleans())
def test_columns_are_what_single_lines_are(rows: list[tuple[Any, ...]], in_bytes: bool) -> None:
    """Numbers, texts and absent values of whole columns stand in each line as if it had been made alone."""
    lines = columns_of(rows, in_bytes=in_bytes)
    assert len(lines) == len(rows)
    assert [line.decode() for line in lines] == one_by_one(rows)
    assert lines.body() == b"\n".join(lines)


@settings(max_examples=300)
@given(st.lists(ANY_TEXTS, max_size=8), st.booleans())
def test_exactly_what_is_unfit_is_refused(column: list[str | None], in_bytes: bool) -> None:
    """A column is refused when and only when one of its texts alone is: control characters, DEL, C1, half pairs, too long."""
    columns = LineColumns(max(1, len(column)))
    given = [None if text is None else text.encode("utf-8", "surrogatepass") if in_bytes else text for text in column or [None]]
    faults = [fault for text in column if text is not None and (fault := fault_of(text)) is not None]
    if faults:
        with pytest.raises(UnfitError, match=r"the field spot (is not UTF-8|is longer|holds control characters)"):
            columns.strings("spot", given)
    else:
        columns.strings("spot", given)


@given(st.lists(st.none() | st.text(st.characters(max_codepoint=126), max_size=20), min_size=1, max_size=20))
def test_parts_of_a_text_are_what_texts_are(column: list[str | None]) -> None:
    """A column that says where its values lie gives the lines and the refusals of its values, whatever lies between them."""
    sizes = np.array([len(text or "") + 1 for text in column], np.int32)
    start = (np.cumsum(sizes) - sizes).astype(np.int32)
    parts = Slices(
        "".join(f"{text or ''}\n" for text in column),
        np.where([text is None for text in column], np.int32(-1), start),
        start + sizes - np.int32(1),
    )
    assert list(parts) == [parts[at] for at in range(len(column))] == column
    assert isinstance(parts.parts(), Parts)
    found = []
    for values in (column, parts):
        columns = LineColumns(len(column))
        columns.heads([b"m "], np.zeros(len(column), np.int64))
        try:
            columns.strings("f", values)
        except UnfitError as error:
            found.append(str(error))
            assert any(fault_of(text) for text in column if text is not None)
        else:
            found.append(str(columns.lines().body()))
    assert found[0] == found[1]


def test_columns_of_another_length_are_mistakes() -> None:
    """A column or a table that does not have a value for each line is refused, not cut or stretched."""
    columns = LineColumns(3)
    for mistake in (
        lambda: columns.strings("f", ["one"]),
        lambda: columns.strings("f", [None] * 4),
        lambda: columns.heads([b"m "], np.zeros(1, np.int64)),
        lambda: columns.floats(["f"], np.zeros((2, 1))),
        lambda: columns.integers(["f", "g"], np.zeros((3, 1), np.int64)),
    ):
        with pytest.raises(ValueError, match="3 lines"):
            mistake()


@given(st.lists(st.lists(st.text(st.characters(exclude_categories=["Cc", "Cs"])), max_size=5), max_size=5), st.data())
def test_lines_are_a_sequence(parts: list[list[str]], data: st.DataObject) -> None:
    """Joined, cut, cut again and asked for one by one, lines are what a list of them is; a body is them with line breaks between."""
    plain = [line.encode() for part in parts for line in part]
    lines: Lines = Lines.joined([Lines.of(part) for part in parts])
    for _ in range(3):
        assert list(lines) == plain
        assert len(lines) == len(plain)
        assert lines.body() == b"\n".join(plain)
        assert plain == [lines[at - len(plain)] for at in range(len(plain))]
        assert Lines.joined([lines, lines[:1], lines]).body() == b"\n".join([*plain, *plain[:1], *plain])
        cut = slice(*sorted([data.draw(st.integers(0, len(plain) + 1)), data.draw(st.integers(0, len(plain) + 1))]))
        lines, plain = lines[cut], plain[cut]
    with pytest.raises(IndexError):
        lines[len(plain)]
    with pytest.raises(ValueError, match="gaps"):
        lines[::2]
