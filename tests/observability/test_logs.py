"""Logs: one line an entry, whatever is logged, in the configured form and from the configured level."""

import io
import json
import logging
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from aiohttp.http_exceptions import BadHttpMessage
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel.config.secret import Secret
from sentinel.observability import logs

NASTY = "\n\r\t\x00\x07\x08\x1b[31m\x1b]0;x\x07\x7f\x85\x9b\u2028\u2029\u202a\u202e\u2066\u2069\u200b\u200f\ufeff\ud800\udfff\"\\{}'"
FORGED = '\n{"event":"forged","level":"critical"}\r\n'
hostile = st.text(st.sampled_from(NASTY) | st.characters(exclude_categories=())) | st.just(FORGED)
values = st.recursive(
    hostile | st.integers() | st.floats() | st.booleans() | st.none() | st.binary() | hostile.map(ValueError) | hostile.map(Secret),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(hostile, inner, max_size=3),
    max_leaves=4,
)

Start = Callable[..., io.StringIO]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Configures logging to a text that can be read; all is as before at the end."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    written = io.StringIO()

    def begin(level: str = "debug", *, as_json: bool = True) -> io.StringIO:
        monkeypatch.setattr(sys, "stderr", written)
        logs.configure(level, as_json=as_json)
        return written

    yield begin
    root.handlers[:], root.level = before
    for name in ("aiokafka", "aiohttp.access", "aiohttp.server"):
        logging.getLogger(name).setLevel(logging.NOTSET)
        logging.getLogger(name).filters.clear()
    structlog.reset_defaults()


def taken(written: io.StringIO) -> str:
    """What was written since the last look."""
    text = written.getvalue()
    written.seek(0)
    written.truncate()
    return text


def fail(text: str) -> None:
    """Raise."""
    raise RuntimeError(text)


def harmless(line: str) -> bool:
    """Whether a line is one line for every reader, and shows nothing but what can be printed."""
    return line.endswith("\n") and len(line.splitlines()) == 1 and line[:-1].isprintable()


def test_ten_thousand_hostile_texts_make_one_line_each(start: Start) -> None:
    """Line ends, control characters, terminal codes, reversed text, half characters: each entry is one JSON line with its own level."""
    written = start()
    log = logs.get("test")

    @settings(max_examples=10_000)
    @given(hostile, hostile)
    def check(text: str, value: str) -> None:
        log.info(text, value=value)
        line = taken(written)
        entry = json.loads(line)
        assert harmless(line)
        assert (entry["level"], entry["logger"], sorted(entry)) == ("info", "test", ["event", "level", "logger", "timestamp", "value"])

    check()


def test_hostile_values_of_every_kind_make_one_line_each(start: Start) -> None:
    """Lists, mappings, bytes, errors, huge numbers, within each other: one JSON line, through the standard library as well."""
    written = start()
    log, other = logs.get("test"), logging.getLogger("library")

    @settings(max_examples=500)
    @given(values, hostile)
    def check(value: object, text: str) -> None:
        log.warning("ours", value=value)
        assert harmless(line := taken(written))
        assert json.loads(line)["event"] == "ours"
        other.warning("theirs %s %r", text, value)
        assert harmless(line := taken(written))
        assert json.loads(line)["level"] == "warning"

    check()


def test_hostile_texts_make_one_line_for_people_too(start: Start) -> None:
    """The readable form has the same promise."""
    written = start(as_json=False)
    log = logs.get("test")

    @settings(max_examples=1_000)
    @given(hostile, values)
    def check(text: str, value: object) -> None:
        log.info(text, value=value)
        assert harmless(taken(written))

    check()


def test_a_traceback_is_part_of_its_line(start: Start) -> None:
    """In JSON a traceback is one text; what the error says cannot forge a line. For people its lines are set in."""
    for as_json in (True, False):
        written = start(as_json=as_json)
        for log in (logs.get("ours"), logging.getLogger("theirs")):
            try:
                fail("no\x1b[2J" + FORGED)
            except RuntimeError:
                log.exception("failed")
            text = taken(written)
            if as_json:
                assert harmless(text)
                entry = json.loads(text)
                assert (entry["event"], entry["level"]) == ("failed", "error")
                assert "test_logs.py" in entry["exception"]
            else:
                assert not any(line.startswith("{") for line in text.splitlines())
                assert "\x1b[2J" not in text


def test_what_is_logged_is_bounded(start: Start) -> None:
    """Long texts, lists, mappings, depths and tracebacks are cut: an entry does not cost more than a page."""
    written = start()
    deep: Any = "end"
    for _ in range(1_000):
        deep = [deep]
    values = {
        "text": "x" * 10**6,
        "many": list(range(10**6)),
        "names": {str(i): i for i in range(10**5)},
        "deep": deep,
        "number": 10**4_000,
    }
    logs.get("test").info("y" * 10**6, **values)
    line = taken(written)
    entry = json.loads(line)
    assert (len(entry["event"]), len(entry["text"]), len(entry["many"]), len(entry["names"])) == (2_000, 2_000, 100, 100)
    assert len(line) < 20_000
    try:
        fail("z" * 10**6)
    except RuntimeError:
        logs.get("test").exception("failed")
    assert len(taken(written)) < 12_000


def test_a_value_that_cannot_be_shown_does_not_cost_the_line(start: Start) -> None:
    """Its text fails: the entry says so."""

    class Broken:
        def __str__(self) -> str:
            raise ValueError("no")

    written = start()
    logs.get("test").info("entry", value=Broken(), number=10**5_000)
    assert json.loads(taken(written))["value"] == "Broken that cannot be shown: ValueError"


def test_secrets_stay_secret(start: Start) -> None:
    """A Secret shows stars, however deep it lies."""
    written = start()
    logs.get("test").info("entry", key=Secret("hunter2"), more=[{"key": Secret("hunter2")}])
    assert "hunter2" not in taken(written)


@pytest.mark.parametrize("level", list(logs.LEVELS))
def test_the_level_is_the_least_that_is_logged(start: Start, level: str) -> None:
    """observability.log_level holds for our entries and the libraries'."""
    written = start(level)
    for name in logs.LEVELS:
        getattr(logs.get("ours"), name)("entry")
        getattr(logging.getLogger("theirs"), name)("entry")
    entries = [json.loads(line) for line in taken(written).splitlines()]
    expected = list(logs.LEVELS)[list(logs.LEVELS).index(level) :]
    assert [entry["level"] for entry in entries] == [name for name in expected for _ in range(2)]


def test_the_form_is_as_configured(start: Start) -> None:
    """observability.log_json: objects, or text for people without colour codes where there is no terminal."""
    start(as_json=True)
    written = start(as_json=False)
    logs.get("ours").info("entry", count=3)
    text = taken(written)
    assert not text.startswith("{")
    assert "entry" in text
    assert "count=3" in text
    assert "\x1b" not in text


def test_clients_that_speak_no_http_leave_no_traceback(start: Start) -> None:
    """Garbage on the port is a line at debug level; a real failure of the server keeps its traceback."""
    for level, lines in (("info", 0), ("debug", 1)):
        written = start(level)
        logging.getLogger("aiohttp.server").error("Error handling request", exc_info=BadHttpMessage("garbage" + FORGED))
        text = taken(written)
        assert text.count("\n") == lines
        assert "garbage" not in text
    logging.getLogger("aiohttp.server").error("Unhandled exception", exc_info=RuntimeError("real"))
    assert "real" in json.loads(taken(written))["exception"]
