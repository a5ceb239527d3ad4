"""From what was asked on the command line to a past that can be gone over. Nothing is created: no state directory, no key."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sentinel.app.backtest.inputs import BacktestError, FileInput, Span
from sentinel.app.backtest.reading import Past
from sentinel.app.backtest.stored import StoreInput
from sentinel.app.backtest.topic import TopicInput
from sentinel.app.state import MIN_KEY_CHARACTERS, places
from sentinel.config.schema import Config


@dataclass(frozen=True, slots=True)
class Asked:
    """Where the past is: files, the configured Kafka topic, or the embedded store. Exactly one of them.

    Attributes:
        files: paths; none for one of the others.
        kafka, store: which of them.
        span: the asked time: of records in Kafka, of events elsewhere.
    """

    files: Sequence[Path]
    kafka: bool
    store: bool
    span: Span


def opened(asked: Asked, config: Config, now_ns: int) -> Past:
    """The past, checked as far as that goes without reading it.

    Args:
        asked: where it is.
        config: where the topic and the store are.
        now_ns: no event is taken to be later.

    Raises BacktestError with place and cure.
    """
    if asked.kafka:
        if config.ingestion.kafka is None:
            raise BacktestError("--kafka needs ingestion.kafka in the configuration: brokers and topic. Or give a file with --input.")
        source = TopicInput(config.ingestion.kafka, asked.span, now_ns)
        # A log is known up to the end of the range, even where its last record is older.
        end_ns = None if asked.span.end_ns is None else min(asked.span.end_ns, now_ns)
        return Past(source, Span(), end_ns, _key(config))
    if asked.store:
        if config.storage.influxdb is not None:
            raise BacktestError("--store reads the embedded store, and this configuration keeps events in InfluxDB: use --kafka or --input")
        return Past(StoreInput(places(config).database), asked.span, None, _key(config))
    return Past(FileInput(asked.files, config.ingestion.parsing.max_record_bytes, now_ns), asked.span, None, _key(config))


def _key(config: Config) -> bytes:
    """The key of pseudonyms: the daemon's, so that people are called as they are there, where we may read it; else one for once."""
    if config.privacy.pseudonym_key is not None:
        return config.privacy.pseudonym_key.reveal().encode()
    try:
        key = places(config).pseudonym_key.read_bytes().strip()
    except OSError:
        key = b""
    return key if len(key) >= MIN_KEY_CHARACTERS else secrets.token_bytes(32)
