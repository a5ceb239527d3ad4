"""The registry and its documentation say the same, and neither knows a name from an event."""

import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.metrics import MetricWrapperBase

from sentinel.observability.metrics import Metrics

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"
ROW = re.compile(r"^\| `(sentinel_\w+)` \| (\w+) \| ([^|]*) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
LABELS = {
    *("type", "code", "partition", "kind", "severity", "detector", "stage", "queue", "route", "status", "version"),
    *("level", "channel", "condition", "sink", "result"),
}


def collectors(metrics: Metrics) -> dict[str, MetricWrapperBase]:
    """Every metric by the attribute that holds it."""
    return {name: value for name, value in vars(metrics).items() if isinstance(value, MetricWrapperBase)}


def described(metric: Any) -> tuple[str, str, str, str]:
    """Name, type, labels and meaning as the table has them."""
    name = metric._name + ("_total" if metric._type == "counter" else "")
    return name, metric._type, ", ".join(f"`{label}`" for label in metric._labelnames), metric._documentation


def test_every_metric_has_its_row_and_every_row_its_metric() -> None:
    """docs/metrics.md names each metric once, with the type, labels and meaning of the code, and says when to worry."""
    rows = ROW.findall(DOCUMENT.read_text(encoding="utf-8"))
    assert sorted(row[:4] for row in rows) == sorted(described(metric) for metric in collectors(Metrics()).values())
    assert all(worry.strip().endswith(".") for *_, worry in rows)


def test_every_label_is_documented_and_none_comes_from_an_event() -> None:
    """Labels are from a closed list, each with its values in the document; service, model, user and tenant are not among them."""
    used = {label for metric in collectors(Metrics()).values() for label in metric._labelnames}
    assert used == LABELS
    text = DOCUMENT.read_text(encoding="utf-8")
    assert used == {label for label in LABELS if re.search(rf"^\| `{label}`", text, re.MULTILINE)}


def test_the_attribute_is_the_name() -> None:
    """`metrics.events_received` is `sentinel_events_received_total`: whoever reads the code knows what to query."""
    for attribute, metric in collectors(Metrics()).items():
        assert metric._name == f"sentinel_{attribute}"


def test_every_metric_says_what_it_means() -> None:
    """A help text that starts like a sentence, and units in the name where there is one."""
    for name, metric in collectors(Metrics()).items():
        assert len(metric._documentation) > 8
        assert metric._documentation[0].isupper() or metric._documentation[0].isdigit()
        if metric._type == "histogram":
            assert name.endswith("_seconds")


def test_two_daemons_do_not_meet() -> None:
    """Each has a registry of its own."""
    first, second = Metrics(), Metrics()
    first.events_received.inc()
    assert b"sentinel_events_received_total 1.0" in first.expose("")[0]
    assert b"sentinel_events_received_total 0.0" in second.expose("")[0]


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", "text/plain"),
        ("*/*", "text/plain"),
        ("text/plain;version=0.0.4", "text/plain"),
        ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5", "application/openmetrics-text"),
    ],
)
def test_the_format_is_what_the_scraper_asks_for(accept: str, kind: str) -> None:
    """OpenMetrics only when it is named."""
    text, content_type = Metrics().expose(accept)
    assert content_type.startswith(kind)
    assert text.endswith(b"# EOF\n") == (kind != "text/plain")
