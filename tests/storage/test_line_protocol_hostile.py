"""A hundred thousand hostile strings through tags and fields of events."""

import random
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from line_protocol_parser import parse_line

from sentinel.core.batch import CleanBatch, Dimensions, SeriesKey
from sentinel.storage.influx_points import Heads, event_lines
from sentinel.storage.line_protocol import MAX_STRING_BYTES, fault_of, plain_tag
from sentinel.testing.store_events import events

BARRED = [chr(code) for code in (*range(0x20), *range(0x7F, 0xA0), 0xD800, 0xDFFF)]
SEPARATORS = [" ", ",", "=", '"', "'", "\\", "\\\\", "\\,", "\\=", "\\ ", '\\"', "\\n", "#", "%", "%5C", "%25", ";", "--"]
DIRECTIONS = ["\u200e", "\u200f", "\u202a", "\u202b", "\u202c", "\u202d", "\u202e", "\u2066", "\u2067", "\u2068", "\u2069"]
RARE = ["\u2028", "\u2029", "\ufeff", "\xa0", "\u3000", "\ufffd", "\ufffe", "\U0010ffff", "🚀", "👩\u200d👧", "日本語", "ü", "עברית"]
WORDS = ["a", "0", "1i", "t", "null", "NaN", "$x", "${HOME}", "<script>", "' OR 1=1", "llm_telemetry,service=x", "latency_ms=1 1"]
STRINGS = 100_000
PER_BATCH = 5_000


def hostile(chance: random.Random) -> str:
    """One hostile string; most of them without anything that must be refused."""
    kinds = (SEPARATORS, DIRECTIONS, RARE, WORDS, *((BARRED,) if chance.random() < 0.1 else ()))
    text = "".join(chance.choice(chance.choice(kinds)) for _ in range(chance.randint(1, 8)))
    if chance.random() < 0.001:
        text *= MAX_STRING_BYTES // len(text.encode("utf-8", "surrogatepass"))
    return text + "\\" * (chance.random() < 0.1)


def batches() -> Iterator[tuple[list[str], CleanBatch]]:
    """Events that carry the strings in a name, a dimension, an id and the rest of the fields."""
    chance = random.Random(7)  # noqa: S311  the same strings every time
    for _ in range(STRINGS // PER_BATCH):
        texts = [hostile(chance) for _ in range(PER_BATCH)]
        names = [text if len(text) < 1_000 else "long" for text in texts]  # the longest strings go through the fields
        batch = events(PER_BATCH, names=tuple(SeriesKey("default", name, "m") for name in names))
        yield (
            texts,
            replace(
                batch,
                dimension_sets=tuple(Dimensions(region=name, prompt_version=text) for name, text in zip(names, texts, strict=True)),
                dimensions=np.arange(PER_BATCH, dtype=np.int32),
                event_ids=texts,
                extra=[text.encode("utf-8", "surrogatepass") for text in texts],
            ),
        )


def test_a_hundred_thousand_hostile_strings() -> None:
    """An independent parser reads back exactly one point with exactly these values, or the event was refused for a reason that is true."""
    written = refused = 0
    for texts, batch in batches():
        made = event_lines(batch, Heads())
        for line, row in zip(made.lines, made.rows, strict=True):
            text = texts[row]
            assert b"\n" not in line
            point = parse_line(line.decode())
            assert point["measurement"] == "llm_telemetry"
            assert set(point["tags"]) == {"tenant", "service", "model", "region", "partition"}
            assert plain_tag(point["tags"]["service"]) == plain_tag(point["tags"]["region"]) == (text if len(text) < 1_000 else "long")
            fields = point["fields"]
            assert fields["event_id"] == fields["prompt_version"] == text
            assert fields["extra"] + str(fields.get("extra_2", "")) == text
            assert fields["offset"] == row
        for row, reason in made.refused:
            assert fault_of(texts[row]) is not None
            assert "control character" in reason or "UTF-8" in reason or "longer" in reason
        written += len(made.lines)
        refused += len(made.refused)
    assert written + refused == STRINGS
    assert min(written, refused) > STRINGS // 50
