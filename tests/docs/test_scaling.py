"""The model of docs/scaling.md: its formulas run, and its table is what they give."""

import re
from pathlib import Path
from typing import Any

import pytest

SCALING = Path(__file__).parents[2] / "docs" / "scaling.md"


def plan(rate: int, series: int, **more: float) -> dict[str, Any]:
    """The formulas of the document."""
    code = re.search(r"```python\n(.*?)```", SCALING.read_text(encoding="utf-8"), re.DOTALL)
    assert code is not None
    names: dict[str, Any] = {}
    exec(code[1], names)  # noqa: S102  our own document
    found: dict[str, Any] = names["plan"](rate, series, **more)
    return found


@pytest.mark.parametrize(
    ("row", "figure", "unit"),
    [
        (r"replicas, at 60%", "replicas", 1),
        (r"partitions", "partitions", 1),
        (r"memory of a replica", "memory_mb_each", 1_000),
        (r"states in a bucket", "checkpoint_mb_per_s", 1),
        (r"store, line protocol of a day", "store_tb_per_day", 1),
        (r"from Kafka, uncompressed", "kafka_in_mb_per_s", 1),
        (r"Sentinel's cores[^|]*", "usd_per_month", 1),
    ],
)
def test_the_table_follows_from_the_formulas(row: str, figure: str, unit: float) -> None:
    """Two digits of each figure, for a million and for ten million events a second."""
    found = re.search(rf"^\| {row} \| ([\d.,]+)( GB/s)?[^|]*\| ([\d.,]+)( GB/s)?", SCALING.read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    told = [float(found[1].replace(",", "")) * (1_000 if found[2] else 1), float(found[3].replace(",", "")) * (1_000 if found[4] else 1)]
    made = [plan(10**6, 10**5)[figure] / unit, plan(10**7, 10**6)[figure] / unit]
    assert told == pytest.approx(made, rel=0.03)


def test_figures_of_ones_own_change_the_plan() -> None:
    """A machine on which an event costs half needs half the replicas."""
    assert plan(10**6, 10**5, cpu_us=10)["replicas"] == 17
