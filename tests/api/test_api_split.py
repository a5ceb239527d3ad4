"""Taking a request's body apart: plain values in, plain values out."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.api.split import BLANK, BYTE_ORDER_MARK, TooManyError, split

MANY = 50
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
objects = st.lists(st.dictionaries(st.text(), values, max_size=4), max_size=12)


@given(objects, st.sampled_from([None, 2]), st.booleans())
def test_an_array_gives_its_elements(wanted: list[object], indent: int | None, ascii_only: bool) -> None:
    """However an array is written, its elements come out whole and in order, as if they had been sent one by one."""
    body = json.dumps(wanted, indent=indent, ensure_ascii=ascii_only).encode()
    assert [json.loads(record) for record in split(body, "application/json", MANY)] == wanted


@given(objects.filter(len), st.sampled_from([b"\n", b"\r\n", b"\n\n \n"]), st.sampled_from(["application/x-ndjson", "application/json"]))
def test_lines_give_their_records(wanted: list[object], end: bytes, kind: str) -> None:
    """One object a line, with any line end and blank lines between, whatever the content type says."""
    body = end.join(json.dumps(each).encode() for each in wanted) + end
    assert [json.loads(record) for record in split(body, kind, MANY)] == wanted


@given(st.binary() | st.text().map(str.encode), st.sampled_from(["application/json", "application/jsonl", ""]))
def test_any_bytes_are_taken_apart(body: bytes, kind: str) -> None:
    """No body is too strange: every part that is not blank reaches decoding, which has a reason for each."""
    records = split(body, kind, 1_000)
    assert all(record.strip() for record in records)
    if body.removeprefix(BYTE_ORDER_MARK).strip(BLANK + b"\x0b\x0c[]"):
        assert records


@given(st.integers(0, 20), st.integers(1, 10), st.sampled_from(["[]", "1", '{"a": [1, 2, 3]}', '"x,y"']), st.booleans())
def test_never_more_than_allowed(count: int, most: int, element: str, lines: bool) -> None:
    """Up to the limit all come, beyond it none."""
    body = ("\n".join([element] * count) if lines else f"[{', '.join([element] * count)}]").encode()
    kind = "application/x-ndjson" if lines else "application/json"
    if count <= most:
        assert split(body, kind, most) == [element.encode()] * count
    else:
        with pytest.raises(TooManyError):
            split(body, kind, most)
