"""Rules about what comes in: sources, limits, patterns."""

from collections.abc import Iterator

import re2

from sentinel.config.loader import Loaded
from sentinel.config.rule import Finding


def sources(loaded: Loaded) -> Iterator[Finding]:
    """A daemon without an input, and HTTP limits that contradict each other."""
    ingestion, api = loaded.config.ingestion, loaded.config.api
    if ingestion.kafka is None and not ingestion.files.paths and not ingestion.http.enabled:
        cure = "Set `http.enabled` to true, or configure `kafka` or `files.paths`."
        yield Finding(("ingestion",), "no_source", "has no source switched on", cure, blocks_run=True)
    if ingestion.kafka is not None and ingestion.files.exit_at_end:
        what = "is set beside `kafka`, which never ends, so the daemon would never exit"
        yield Finding(("ingestion", "files", "exit_at_end"), "never_ends", what, "Set it to false, or remove `kafka`.", blocks_run=True)
    paths = ingestion.files.paths
    if len(set(paths)) < len(paths):
        what = "names a file twice: its lines would be learned twice"
        yield Finding(("ingestion", "files", "paths"), "same_file", what, "Name each file once.", "error")
    if loaded.config.privacy.capture == "redacted" and not ingestion.parsing.enable_sanitization:
        what = "is redacted, but `ingestion.parsing.enable_sanitization` is false, so no text is kept"
        yield Finding(("privacy", "capture"), "nothing_to_capture", what, "Set sanitization to true, or capture to none.")
    if ingestion.http.enabled and ingestion.http.queue_max_bytes < api.max_body_size:
        what = "is below api.max_body_size: a request of that size would always be told to come back later"
        yield Finding(("ingestion", "http", "queue_max_bytes"), "queue_below_body", what, "Raise it, or lower api.max_body_size.")


def plausibility(loaded: Loaded) -> Iterator[Finding]:
    """Limits that exclude everything."""
    validation, baseline = loaded.config.ingestion.validation, loaded.config.detection.baseline
    if validation.min_latency_ms > validation.max_latency_ms:
        what = "is above max_latency_ms, so no latency would be plausible"
        yield Finding(("ingestion", "validation", "min_latency_ms"), "empty_range", what, "Exchange the two.", "error")
    if baseline.min_samples > baseline.window_size:
        what = "is above window_size, so no window would ever be judged against"
        yield Finding(("detection", "baseline", "min_samples"), "empty_range", what, "Lower it, or raise window_size.", "error")


def patterns(loaded: Loaded) -> Iterator[Finding]:
    """Expressions that RE2 does not take."""
    options = re2.Options()
    options.log_errors = False
    for index, pattern in enumerate(loaded.config.ingestion.parsing.sanitize_patterns):
        path = ("ingestion", "parsing", "sanitize_patterns", index)
        if path in loaded.unset:
            continue
        try:
            re2.compile(pattern, options=options)
        except re2.error:
            cure = "See https://github.com/google/re2/wiki/Syntax: no back-references, no look-around."
            yield Finding(path, "bad_pattern", "is not an RE2 expression", cure, "error")
