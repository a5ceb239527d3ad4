"""Embeddings become sketches as soon as they are read, and nothing else of them goes on."""

import json
from base64 import b64encode
from typing import Any

import numpy as np
import pytest
from decode_inputs import as_json, decoded, delivery, events, flat, request
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel.config.schema import DeadLetters, Parsing, Privacy, Validation
from sentinel.core.batch import CleanBatch, Dialect
from sentinel.core.flags import Flag, flag_names
from sentinel.core.sketches import AXES, KINDS, PROMPT, RESPONSE, UNIT
from sentinel.ingestion.encode import flat as encoded
from sentinel.ingestion.sanitize import Sanitizer
from sentinel.ingestion.sketch import LONGEST, MOST_BYTES, MOST_DIMENSIONS, SIGNS, UNUSABLE, numbers_of, sketch_of, sketch_of_json
from sentinel.pipeline.process import Rules, clean

RULES = Rules(
    Parsing(), Validation(), Sanitizer(Parsing(), Validation(), Privacy.model_validate({"capture": "redacted"}), DeadLetters(), b"k" * 32)
)
VECTOR = [0.1234567, -0.7654321, 0.3141592, 0.2718281]
KNOWN = "BACLEIsQAf8zGs3l2POf+tjzAf//AFn1YQX/AM3lWfUKDw=="


def nested(**embeddings: Any) -> dict[str, Any]:
    """A nested event whose prompt or response has an embedding."""
    return flat(**{part: {"text": "hi", "embedding": value} for part, value in embeddings.items()})


def cleaned(*records: dict[str, Any] | bytes) -> CleanBatch:
    """What goes on of these records."""
    found = clean(delivery([record if isinstance(record, bytes) else json.dumps(record).encode() for record in records]), RULES)
    assert found.dead_letters == []
    return found.batch


def sketch(text: str | None) -> np.ndarray:
    """The sketch in a text, as a vector."""
    assert text is not None
    numbers = numbers_of(text)
    assert numbers is not None
    return np.array(numbers[1:]) / UNIT


def test_a_sketch_is_the_same_everywhere() -> None:
    """Signs and sketch of a vector are these and no others: those in checkpoints and topics are compared with new ones."""
    assert sketch_of_json(json.dumps(VECTOR).encode()) == sketch_of(VECTOR) == KNOWN
    assert abs(float(SIGNS.mean())) < 0.01
    assert float(np.abs(SIGNS.T.astype(float) @ SIGNS / MOST_DIMENSIONS - np.eye(AXES)).max()) < 0.08


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32), scale=st.floats(1e-300, 1e300), dimensions=st.sampled_from([64, 384, 1_536]))
def test_only_the_direction_counts(seed: int, scale: float, dimensions: int) -> None:
    """A vector that is longer or shorter has the same sketch, to a rounding; its length is about 1 and never more than LONGEST."""
    vector = np.random.default_rng(seed).normal(size=dimensions)
    one, other = sketch(sketch_of(vector.tolist())), sketch(sketch_of((vector / np.abs(vector).max() * scale).tolist()))
    assert float(np.abs(one - other).max()) <= 1 / UNIT
    assert 0.2 < float(np.linalg.norm(one)) <= LONGEST


def test_distances_survive_roughly() -> None:
    """Over many pairs, sketches are as far apart as their vectors."""
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(200, 768)) + rng.normal(size=768)
    units = vectors / np.linalg.norm(vectors, axis=1)[:, None]
    sketches = np.array([sketch(sketch_of(vector.tolist())) for vector in vectors])
    ratio = ((sketches[::2] - sketches[1::2]) ** 2).sum(axis=1) / ((units[::2] - units[1::2]) ** 2).sum(axis=1)
    assert float(ratio.mean()) == pytest.approx(1.0, abs=0.1)


def test_one_that_is_made_to_weigh_more_does_not() -> None:
    """A vector along one axis of the projection counts as LONGEST, not as 16."""
    assert float(np.linalg.norm(sketch(sketch_of(SIGNS[:, 3].tolist())))) == pytest.approx(LONGEST, abs=0.01)


def test_nested_embeddings_become_a_column() -> None:
    """Prompt and response have their own; a batch without any has no column."""
    batch = events(nested(prompt=VECTOR), flat(), nested(response=[1, 2, 3]), nested(prompt=None))
    assert batch.sketches is not None
    assert batch.sketches.shape == (4, KINDS, 1 + AXES)
    assert batch.sketches[:, PROMPT, 0].tolist() == [4, 0, 0, 0]
    assert batch.sketches[:, RESPONSE, 0].tolist() == [0, 0, 3, 0]
    assert batch.flags.tolist() == [0, 0, 0, 0]
    assert events(flat(), nested(prompt=None)).sketches is None


UNUSABLE_JSON = [
    '"abc"', "1", "true", "{}", "[]", "[1]", "[0,0,0]", "[[1,2],[3,4]]", "[1,null]", '[1,"2"]', "[true,false]", '[{"a":1},2]',
    "[1e400,1]", "[1," + "9" * 400 + "]",
    "[" + ",".join(["0.5"] * (MOST_DIMENSIONS + 1)) + "]",
    "[0.5,0." + "5" * MOST_BYTES + "]",
]  # fmt: skip


@pytest.mark.parametrize("value", UNUSABLE_JSON, ids=range(len(UNUSABLE_JSON)))
def test_what_is_no_embedding_costs_the_event_nothing(value: str) -> None:
    """Wrong types, empty, nested, endless or infinite: the event is kept and flagged, and has no sketch."""
    assert sketch_of_json(value.encode()) == UNUSABLE
    record = json.dumps(nested(prompt=...), default=str).replace('"Ellipsis"', value).encode()
    batch = cleaned(record)
    assert batch.sketches is None
    assert batch.flags.tolist() == [Flag.EMBEDDING_UNUSABLE]
    assert flag_names(int(batch.flags[0])) == ["embedding_unusable"]


def test_json_has_no_nan() -> None:
    """A NaN makes the record no JSON, in an embedding as anywhere."""
    (reject,) = decoded(json.dumps(nested(prompt=[float("nan"), 1.0])).encode()).rejects
    assert reject.code == "out_of_range"


def test_both_bounds_of_the_length() -> None:
    """Vectors of 2 and of 4,096 dimensions are taken."""
    for dimensions in (2, MOST_DIMENSIONS):
        text = sketch_of_json(json.dumps([0.123456789012345678] * dimensions).encode())
        assert text is not None
        assert (numbers_of(text) or [0])[0] == dimensions


@pytest.mark.parametrize("text", ["", "x", "AAAA", "A" * 48, "/" * 44 + "A===", "é" * 48])
def test_hostile_sketches_are_flagged(text: str) -> None:
    """What a producer writes in the place of a sketch of ours is looked at like everything else."""
    batch = events(flat(prompt_sketch=text))
    assert batch.sketches is None
    assert batch.flags.tolist() == [Flag.EMBEDDING_UNUSABLE]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(-(2**15), 2**15 - 1), min_size=1 + AXES, max_size=1 + AXES))
def test_no_sketch_is_longer_than_the_longest(numbers: list[int]) -> None:
    """Whatever numbers a producer sends, those that are taken are within the bounds of real ones."""
    found = numbers_of(b64encode(np.array(numbers, "<i2").tobytes()).decode())
    if found is not None:
        assert 2 <= found[0] <= MOST_DIMENSIONS
        assert sum(number * number for number in found[1:]) <= ((LONGEST + 0.01) * UNIT) ** 2


@pytest.mark.parametrize("as_record", [as_json, lambda sent: sent.SerializeToString()], ids=["json", "protobuf"])
def test_openinference_vectors_are_taken(as_record: Any) -> None:
    """The vector of an embedding span's first text; its dialect stays its own, and nothing of it is metadata."""
    sent = request(
        {
            "openinference.span.kind": "EMBEDDING",
            "embedding.model_name": "m",
            "embedding.embeddings.0.embedding.text": "hi",
            "embedding.embeddings.0.embedding.vector": VECTOR,
            "embedding.embeddings.1.embedding.vector": [9.0, 9.0],
            "my.query_embedding": VECTOR,
        }
    )
    batch = cleaned(as_record(sent))
    assert batch.sketches is not None
    assert batch.sketches[0, PROMPT].tolist() == numbers_of(KNOWN)
    assert batch.dialects[0] in (Dialect.OTLP_JSON, Dialect.OTLP_PROTO)
    assert b"0.123" not in (batch.extra[0] or b"")


def test_no_number_of_a_vector_goes_on() -> None:
    """Neither a stored event nor a record for the topic holds any; the latter holds the sketch, which comes back the same."""
    batch = cleaned(nested(prompt=VECTOR, response=VECTOR), flat())
    records = encoded(batch)
    for kept in (*(extra or b"" for extra in batch.extra), *records):
        assert not any(str(abs(number)).encode() in kept for number in VECTOR)
    again = cleaned(*records)
    assert again.sketches is not None
    assert batch.sketches is not None
    assert np.array_equal(again.sketches, batch.sketches)
    assert b"sketch" not in records[1]
    assert not any(b"sketch" in (extra or b"") for extra in (*batch.extra, *again.extra))


@pytest.mark.parametrize(
    "record",
    [
        json.dumps(nested(prompt=VECTOR) | {"latency_ms": "slow"}),
        json.dumps(nested(prompt=VECTOR) | {"latency_ms": -1}),
        json.dumps(nested(prompt=VECTOR) | {"service_name": ""}),
        json.dumps({"latency_ms": 1, "embedding": VECTOR}),
        json.dumps({"latency_ms": 1, "prompt_embedding": VECTOR}),
        '{"prompt": {"embedding": [0.1234567, -0.7654321',
    ],
)
def test_dead_letters_hold_no_vector(record: str) -> None:
    """Whatever is wrong with a record, its dead letter shows no number of an embedding."""
    found = clean(delivery([record.encode()]), RULES)
    (dead,) = found.dead_letters
    assert len(found.batch) == 0
    assert not any(str(abs(number)) in dead.record + dead.detail for number in VECTOR)


def test_merging_and_choosing_keep_each_sketch_with_its_event() -> None:
    """Batches of plain and of other records are one again in log order, and parts of it keep their own."""
    batch = cleaned(
        flat(event_id="a"), nested(prompt=VECTOR) | {"event_id": "b"}, flat(event_id="c"), nested(response=[1, 2]) | {"event_id": "d"}
    )
    assert batch.sketches is not None
    assert list(batch.event_ids) == ["a", "b", "c", "d"]
    assert batch.sketches[:, :, 0].tolist() == [[0, 0], [4, 0], [0, 0], [0, 2]]
    kept = batch.take(np.array([False, False, True, True]))
    assert kept.sketches is not None
    assert kept.sketches[:, RESPONSE, 0].tolist() == [0, 2]
