"""What sanitizing costs and finds.

    python bench/pii.py

Prints CPU time only: thousands of characters per CPU second on clean prose with a finding in every twentieth text and on dense short
sentences, microseconds per event of a batch, and, where the labelled sentences are at hand, precision, recall and F2 by type.
"""

import importlib.util
import json
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sentinel.config.schema import DeadLetters, Parsing, Privacy, Validation
from sentinel.core.batch import EventBatch, PartitionId, SeriesKey
from sentinel.core.metrics import METRICS
from sentinel.ingestion.sanitize import Sanitizer
from sentinel.ingestion.wire import WireEvent, transposed

SCORER = Path(__file__).resolve().parents[2] / "shared" / "bench" / "pii_score.py"
SCORER_TYPES = {"EMAIL": "EMAIL_ADDRESS", "PHONE": "PHONE_NUMBER", "IBAN": "IBAN_CODE", "URL_CREDENTIALS": "URL"}
PROSE_SOURCE = (
    "the model then gives a short answer about what was asked and explains each step with care before it moves on to another part of its"
    " task while users read summaries of 12 reports from 2024 and compare 3.5 with 40 percent in tables, lists or plain text; nobody is"
    " named here."
)
WORDS = PROSE_SOURCE.split()
FINDINGS = (
    "mail jane.doe@example.org soon",
    "call +44 20 7946 0958 now",
    "card 4111 1111 1111 1111 is",
    "host 192.168.7.12 is",
    "password=hunter22 and",
)


def _chance(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311  made-up texts, the same every time


def main() -> None:
    """Measure and print."""
    print(f"clean texts of 1,500 characters, 5% with a finding: {clean_kchar_per_s():,.0f} kchar per CPU second")
    print(f"dense sentences, each with a finding: {dense_kchar_per_s():,.0f} kchar per CPU second")
    for label, event in EVENTS.items():
        print(f"{label}: {event_us(event):.2f} us per event")
    if not SCORER.exists():
        print(f"no score: {SCORER} is not here")
        return
    print(json.dumps(labelled_score(), indent=1))


def clean_kchar_per_s() -> float:
    """Throughput of `Sanitizer.text` on 2,000 generated texts."""
    chance = _chance(7)
    texts = []
    for at in range(2_000):
        text = " ".join(chance.choices(WORDS, k=300))[:1_500]
        texts.append(text if at % 20 else text[:700] + " " + chance.choice(FINDINGS) + " " + text[740:])
    return _throughput(texts)


def dense_kchar_per_s() -> float:
    """Throughput on 5,000 sentences of about 80 characters."""
    chance = _chance(8)
    return _throughput([" ".join((*chance.choices(WORDS, k=9), chance.choice(FINDINGS))) for _ in range(5_000)])


def _throughput(texts: list[str]) -> float:
    sanitizer = _sanitizer("redacted")
    size = sum(map(len, texts))
    return max(size / _cpu_s(lambda: [sanitizer.text(text) for text in texts]) for _ in range(3)) / 1e3


def event_us(event: WireEvent, n: int = 5_000) -> float:
    """Microseconds of `Sanitizer.batch` per event, for a batch of n such events with ids of their own."""
    chance = _chance(9)
    wire = [_renamed(event, chance) for _ in range(n)]
    batch = EventBatch(
        source=PartitionId("bench", "llm.telemetry", 0),
        received_ns=0,
        index=np.arange(n, dtype=np.int32),
        offsets=np.arange(n, dtype=np.int64),
        subs=np.zeros(n, np.int32),
        ts_ns=np.zeros(n, np.int64),
        log_ns=np.zeros(n, np.int64),
        names=(SeriesKey("default", "chat", "gpt-4o"),),
        series=np.zeros(n, np.int32),
        metrics=np.zeros((n, len(METRICS))),
        flags=np.zeros(n, np.int32),
        dialects=np.zeros(n, np.int8),
        wire=wire,
        fields=transposed(wire),
    )
    sanitizer = _sanitizer("redacted" if event.region == "capture" else "none")
    return min(_cpu_s(lambda: sanitizer.batch(batch)) for _ in range(5)) / n * 1e6


def _renamed(event: WireEvent, chance: random.Random) -> WireEvent:
    fields = {name: getattr(event, name) for name in event.__struct_fields__}
    fields |= {"event_id": f"{chance.getrandbits(128):032x}", "request_id": f"req-{chance.getrandbits(64):016x}"}
    fields |= {"session_id": f"s-{chance.getrandbits(32)}", "trace_id": f"{chance.getrandbits(128):032x}"}
    fields |= {"user_id": f"user-{chance.randrange(1_000)}"} if event.user_id else {}
    return WireEvent(**fields)


PROSE = " ".join(_chance(1).choices(WORDS, k=300))[:1_500]
EVENTS = {
    "four ids": WireEvent(),
    "four ids, user, provider, environment": WireEvent(user_id="u", provider="openai", environment="production"),
    "the same and three metadata values": WireEvent(
        user_id="u", provider="openai", environment="production", metadata={"team": "search", "release": "2024.11.2", "attempt": 2}
    ),
    "the same without metadata, with a prompt of 1,500 characters, not kept": WireEvent(user_id="u", provider="openai", prompt_text=PROSE),
    "the same, kept": WireEvent(user_id="u", provider="openai", region="capture", prompt_text=PROSE),
}


def labelled_score() -> object:
    """What the scorer says about `Sanitizer.find` on its labelled sentences."""
    spec = importlib.util.spec_from_file_location("pii_score", SCORER)
    if spec is None or spec.loader is None:
        return f"no score: {SCORER} cannot be imported"
    scorer = importlib.util.module_from_spec(spec)
    sys.modules["pii_score"] = scorer
    spec.loader.exec_module(scorer)
    sanitizer = _sanitizer("redacted")

    def find(text: str) -> list[tuple[int, int, str]]:
        return [(start, end, SCORER_TYPES.get(name, name)) for start, end, name in sanitizer.find(text)]

    scorer.score(find)
    return scorer.score(find)


def _sanitizer(capture: str) -> Sanitizer:
    privacy = Privacy.model_validate({"capture": capture})
    return Sanitizer(Parsing(), Validation(), privacy, DeadLetters(), b"a key for the bench, 32 bytes long")


def _cpu_s(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


if __name__ == "__main__":
    main()
