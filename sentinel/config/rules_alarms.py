"""Rules about the `canary` section."""

from collections.abc import Iterator

from sentinel.config.loader import Loaded
from sentinel.config.rule import Finding


def canary(loaded: Loaded) -> Iterator[Finding]:
    """A canary that is always late, or has nowhere to start from."""
    section, ingestion = loaded.config.canary, loaded.config.ingestion
    if not section.enabled:
        return
    if section.silence_secs <= section.interval_secs:
        what = f"is {section.silence_secs:g}, and canaries are only sent every {section.interval_secs:g} s"
        yield Finding(("canary", "silence_secs"), "too_short", what, "Make it several times canary.interval_secs.", "error")
    if ingestion.kafka is None and (not ingestion.http.enabled or ingestion.files.exit_at_end):
        what = "is true, and there is neither Kafka nor HTTP input that a canary could come through"
        yield Finding(("canary", "enabled"), "no_way", what, "Set it to false, or enable ingestion.http.")
