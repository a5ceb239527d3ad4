"""Plain records are read by kernels, all others by the decoder: nobody can tell from the events which of the two it was."""

import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sentinel.config.schema import DeadLetters, Parsing, Privacy, Validation
from sentinel.core.batch import PartitionId
from sentinel.core.delivery import Delivery
from sentinel.ingestion.sanitize import Sanitizer
from sentinel.pipeline import process
from sentinel.pipeline.process import Cleaned, Rules, clean
from sentinel.testing.simulator import Simulator

EXAMPLES = Path(__file__).parents[2] / "examples" / "events.jsonl"
SPANS = [
    record.replace(b'"stringValue":"chat"', b'"stringValue":"execute_tool"')
    for record in EXAMPLES.read_bytes().splitlines()
    if record.startswith(b'{"resourceSpans"')
]
"""Spans that are no LLM requests."""
NOW_NS = 1_768_473_000_000_000_000
RANDOM = random.Random(20)  # noqa: S311  a seeded one

ODD: list[Callable[[dict[str, Any]], None]] = [
    lambda event: event.update(latency_ms=event["latency_ms"] * 1.1),
    lambda event: event.update(latency_ms=-1),
    lambda event: event.update(latency_ms=1e9),
    lambda event: event.update(metadata={"team": "search", "mail": "a@b.org"}),
    lambda event: event.update(session_id="mail a@b.org"),
    lambda event: event.update(trace_id="t" * 200),
    lambda event: event.update(user_id=42),
    lambda event: event.update(user_id=""),
    lambda event: event.update(event_id=" spaced "),
    lambda event: event.update(error="refused: call +49 30 901820 or a@b.org"),
    lambda event: event.update(error=True),
    lambda event: event.update(error=0),
    lambda event: event.update(error=""),
    lambda event: event.update(status="429"),
    lambda event: event.update(status="ok", success=False),
    lambda event: event.update(streaming=False),
    lambda event: event.update(prompt_text='say "hi"\n\U0001f600 to a@b.org', response_text="K\u00f6ln"),
    lambda event: event.update(service_name="  padded  "),
    lambda event: event.update(service_name=""),
    lambda event: event.update(model_name="m" * 200),
    lambda event: event.update(service_name="sk-proj-" + "a1B2" * 12),
    lambda event: event.update(region="sk-proj-" + "a1B2" * 12),
    lambda event: event.update(tenant="acme", finish_reason=None, prompt_version="3"),
    lambda event: event.update(prompt_version=3),
    lambda event: event.update(total_tokens=1, prompt_tokens=2, completion_tokens=3),
    lambda event: event.update(prompt_tokens=2.5),
    lambda event: event.update(timestamp=1_768_473_000),
    lambda event: event.update(timestamp="2026-01-15T10:30:00"),
    lambda event: event.update(timestamp="2026-01-15T12:30:00.5+02:00"),
    lambda event: event.pop("timestamp", None),
    lambda event: event.pop("model_name"),
    lambda event: event.update(unknown="x", other=[1]),
    lambda event: event.update(prompt={"tokens": 3, "embedding": [0.5, -1, 2]}, response={"embedding": [1, 1]}),
    lambda event: event.update(response={"embedding": [[0.5], None]}),
    lambda event: event.update(prompt_sketch="AAAA"),
]


def records() -> list[bytes | None]:
    """Real-looking records, oddities of all kinds among them."""
    found: list[bytes | None] = [*EXAMPLES.read_bytes().splitlines(), *SPANS, None, b"", b"{", b"[]", b"null"]
    for block in Simulator(7, text_share=0.2, text_length=300).events(3_000, NOW_NS, 1_000_000):
        for record in block:
            event = json.loads(record)
            if RANDOM.random() < 0.4:
                RANDOM.choice(ODD)(event)
                found.append(json.dumps(event, ensure_ascii=RANDOM.random() < 0.5).encode())
            else:
                found.append(record)
    return found


def delivery(given: list[bytes | None]) -> Delivery:
    """These records, each a millisecond after the one before."""
    n = len(given)
    at = NOW_NS + np.arange(n, dtype=np.int64) * 1_000_000
    return Delivery(PartitionId("c", "t", 0), given, np.arange(n, dtype=np.int64), at, NOW_NS, 0, 1)


def rules(capture: str) -> Rules:
    """The default rules."""
    privacy = Privacy.model_validate({"capture": capture})
    return Rules(Parsing(), Validation(), Sanitizer(Parsing(), Validation(), privacy, DeadLetters(), b"k" * 32))


def events(cleaned: Cleaned) -> list[tuple[Any, ...]]:
    """Every event with everything that is known of it, whatever numbers its names have."""
    batch = cleaned.batch
    columns = [
        getattr(batch, field.name) for field in fields(batch) if field.name in {"index", "offsets", "subs", "ts_ns", "log_ns", "dialects"}
    ]
    return [
        (
            *(int(column[i]) for column in columns),
            batch.names[batch.series[i]],
            batch.dimension_sets[batch.dimensions[i]],
            batch.metrics[i].tobytes(),
            int(batch.flags[i]),
            batch.event_ids[i],
            batch.trace_ids[i],
            None if (extra := batch.extra[i]) is None else json.loads(extra),
            None if batch.sketches is None or not batch.sketches[i].any() else batch.sketches[i].tobytes(),
        )
        for i in range(len(batch))
    ]


@pytest.mark.parametrize("capture", ["none", "redacted"])
def test_both_ways_give_the_same_events(capture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same events, findings and dead letters in the same order, with the kernels and without them."""
    given = delivery(records())
    some_plain, others = process.plain_events(given, Parsing())
    assert some_plain is not None
    assert 1_000 < len(some_plain) < len(given.records)
    assert others
    fast = clean(given, rules(capture))
    monkeypatch.setattr(process, "plain_events", lambda delivery, _limits: (None, list(range(len(delivery.records)))))
    reference = clean(given, rules(capture))
    for one, two in zip(events(fast), events(reference), strict=True):
        assert one == two
    assert (fast.received, fast.filtered, fast.dead_letters) == (reference.received, reference.filtered, reference.dead_letters)
    assert fast.batch.findings == reference.batch.findings


def test_a_batch_of_one_kind_is_the_same_as_its_part_of_a_mixed_one() -> None:
    """An event does not depend on whether its neighbours were plain."""
    given = records()
    together = {event[0]: event[1:] for event in events(clean(delivery(given), rules("none")))}
    for position in RANDOM.sample(range(len(given)), 200):
        alone = Delivery(
            PartitionId("c", "t", 0),
            [given[position]],
            np.array([position]),
            np.array([NOW_NS + position * 1_000_000]),
            NOW_NS,
            0,
            1,
        )
        for event in events(clean(alone, rules("none"))):
            if event[2] == 0:  # an OTLP record holds several
                assert event[1:] == together[position]


def test_series_are_numbered_by_first_appearance_however_they_were_read() -> None:
    """Where there is not room for all series, the first ones of the log get a window: plain or not must make no difference."""
    given = records()
    whole = clean(delivery(given), rules("none")).batch
    _, first = np.unique(whole.series, return_index=True)
    assert first.tolist() == sorted(first.tolist())
    assert len(first) == len(whole.names)
    keep = np.arange(len(whole)) % 3 == 1
    left = whole.take(keep)
    _, first = np.unique(left.series, return_index=True)
    assert first.tolist() == sorted(first.tolist())
    assert len(first) == len(left.names)
    assert [left.names[code] for code in left.series] == [whole.names[code] for code in whole.series[keep]]


@pytest.mark.parametrize("capture", ["none", "redacted"])
def test_deliveries_cleaned_together_are_as_if_each_were_alone(capture: str) -> None:
    """Events, names and their order, counts and dead letters, for parts of any size; kinds of findings are counted with the first."""
    given = records()
    cuts = [0, 0, *sorted(RANDOM.sample(range(len(given)), 9)), len(given), len(given)]
    parts = [
        replace(delivery(given[start:stop]), source=PartitionId("c", "t", number), offsets=np.arange(start, stop, dtype=np.int64))
        for number, (start, stop) in enumerate(pairwise(cuts))
    ]
    parts = [part for part in parts if len(part.records)]
    at_once = process.clean_together(parts, rules(capture))
    alone = [clean(part, rules(capture)) for part in parts]
    assert sum(one.filtered for one in alone) > 0
    for one, two in zip(at_once, alone, strict=True):
        assert events(one) == events(two)
        assert (one.batch.source, one.batch.names, one.batch.series.tolist()) == (
            two.batch.source,
            two.batch.names,
            two.batch.series.tolist(),
        )
        assert (one.received, one.filtered, one.dead_letters) == (two.received, two.filtered, two.dead_letters)
        assert [one.batch.users[code] for code in one.batch.user] == [two.batch.users[code] for code in two.batch.user]
        assert one.batch.personal.tolist() == two.batch.personal.tolist()
    found = Counter[str]()
    for one in alone:
        found.update(one.batch.findings)
    assert [one.batch.findings for one in at_once] == [dict(found)] + [{}] * (len(parts) - 1)
