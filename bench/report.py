"""The benchmark's report for people: what was measured, how, and which floors were reached."""

from collections.abc import Iterator
from typing import Any, Final

EVENTS_PER_S: Final = 60_000
P50_MS, P99_MS = 15.0, 100.0
IDLE_MB, LOADED_MB = 250.0, 500.0

NAMES: Final = {
    "a": "(a) aiokafka getmany",
    "b": "(b) (a) + orjson.loads",
    "c": "(c) the daemon, to SQLite",
    "d": "(d) the daemon, to line protocol",
    "e": "(e) the daemon, to the double",
}
MIDDLE: Final = ("scan, columns", "decode others", "validate", "sanitize", "merge", "dedupe", "score", "over time", "judge")
WRITES: Final = {"c": ("write rows", "rollups"), "d": ("encode lines", "send")}


def text(report: dict[str, Any]) -> str:
    """All parts that were measured."""
    lines = [setting(report["setting"])]
    for names, part in PARTS.items():
        if any(name in report for name in names):
            lines += ["", *part(report)]
    lines += ["", *(f"NOT MEASURED: {name}: {reason}" for name, reason in report["failed"].items())]
    return "\n".join(lines).rstrip()


def setting(found: dict[str, Any]) -> str:
    """On what it ran."""
    return (
        f"Python {found['python']}, {found['cores']} cores shared with broker and producers, load average {found['load_average']:.1f} "
        f"at the start, state on {found['file_system']}"
    )


def verdict(reached: bool, floor: str) -> str:
    """Whether a floor was reached."""
    return f"floor {floor}: {'reached' if reached else 'MISSED'}"


def throughput(report: dict[str, Any]) -> Iterator[str]:
    """(a) to (e)."""
    options, found = report["setting"]["options"], report.get("throughput", {}) | report.get("double", {})
    yield (
        f"{options['events']:,} events of {found['mean_bytes']:.0f} bytes, {options['series']} series x 6 metrics, "
        f"{options['text_share']:.0%} with text, {options['partitions']} partitions without keys;"
    )
    yield f"CPU of the consuming process alone, all threads; median of {options['rounds']} rounds, (e) one of {options['events'] // 5:,}"
    yield ""
    yield f"{'':34}{'CPU us/event':>12}{'events/CPU-s':>14}{'events/s wall':>15}{'per delivery':>14}{'per write':>11}{'RSS MB':>8}"
    for name, what in NAMES.items():
        if one := found.get(name):
            sizes = f"{one['per_delivery']:14,.0f}{one['per_write']:11,.0f}{one['rss_mb']:8.0f}" if "per_write" in one else ""
            yield f"{what:34}{one['us']:12.2f}{1e6 / one['us']:14,.0f}{one['per_wall_s']:15,.0f}{sizes}"
    for name in ("c", "d"):
        if one := found.get(name):
            rate = 1e6 / one["us"]
            ratio = f"; {one['us'] / found['b']['us']:.1f} times (b)" if "b" in found else ""
            yield f"({name}) {rate:,.0f} events/s/core, {verdict(rate >= EVENTS_PER_S, f'{EVENTS_PER_S:,}')}{ratio}"


def steps(report: dict[str, Any]) -> Iterator[str]:
    """Where (c) and (d) spend their time."""
    found, costs = report["steps"]["steps"], report["throughput"]
    wholes = {name: costs[name]["us"] for name in ("c", "d") if name in costs}
    yield "Where it goes, CPU us/event: the same events through each step on one thread, in deliveries and writes as large as those of (c);"
    yield "the rest is the Kafka client beyond (a), making deliveries, the event loop, changing threads, and commits"
    yield ""
    yield "  " + "".join([f"{'':24}", *(f"{f'({name})':>10}{'':6}" for name in wholes)]).rstrip()
    read = costs.get("a", {}).get("us")
    rows: dict[str, float] = ({"read from Kafka (a)": read} if read else {}) | {step: found[step] for step in MIDDLE}
    for step, cost in rows.items():
        yield f"  {step:24}" + "".join(f"{cost:10.2f}{cost / whole:6.0%}" for whole in wholes.values())
    for name in wholes:
        for step in WRITES[name]:
            shown = [f"{found[step]:10.2f}{found[step] / whole:6.0%}" if name == one else " " * 16 for one, whole in wholes.items()]
            yield f"  {step:24}{''.join(shown)}".rstrip()
    rest = {name: whole - sum(rows.values()) - sum(found[step] for step in WRITES[name]) for name, whole in wholes.items()}
    yield f"  {'the rest':24}" + "".join(f"{cost:10.2f}{cost / wholes[name]:6.0%}" for name, cost in rest.items())
    if full := report["steps"]["full_score_us"]:
        yield f"  (score with full windows: {full:.2f}; in the runs above they are filling)"


def latency(report: dict[str, Any]) -> Iterator[str]:
    """(f)."""
    options = report["setting"]["options"]
    yield (
        f"(f) produce to stored at {options['latency_rate']:,} events/s, {options['seconds']:.0f} s after 2 s left out: from the Kafka "
        "timestamp, set when the producer"
    )
    yield "    is handed the event (in whole ms, rounded down: up to 1 ms too long), to the return of the store's write; the producer"
    yield "    waits 5 ms for company, as Kafka's own does"
    for name, place in (("sqlite", "SQLite"), ("line", "line protocol")):
        one = report["latency"][name]
        maker = one["producer"]
        yield (
            f"    {place + ':':15}p50 {one['p50_ms']:.1f} ms, {verdict(one['p50_ms'] < P50_MS, f'{P50_MS:.0f} ms')}; "
            f"p99 {one['p99_ms']:.1f} ms, {verdict(one['p99_ms'] < P99_MS, f'{P99_MS:.0f} ms')}; longest {one['max_ms']:.0f} ms"
        )
        yield (
            f"    {'':15}since it was due p50 {one['due_p50_ms']:.1f}, p99 {one['due_p99_ms']:.1f} ms: the producer was late by "
            f"{maker['late_p50_ms']:.1f} and {maker['late_p99_ms']:.1f} ms ({maker['events_per_s']:,.0f} events/s);"
        )
        yield (
            f"    {'':15}received p50 {one['received_p50_ms']:.1f} ms after the hand-over; deliveries of {one['per_delivery']:.0f} take "
            f"{one['middle_ms']:.1f} ms each, writes of {one['per_write']:.0f} {one['write_ms']:.1f} ms; {one['cores']:.2f} cores"
        )


def memory(report: dict[str, Any]) -> Iterator[str]:
    """(g), idle."""
    found = report["idle"]
    yield "(g) resident memory of `sentinel run`, the largest of samples every 0.2 s"
    for name, what in (("sqlite", "idle, SQLite"), ("influxdb", "idle, InfluxDB"), ("first_start", "idle, SQLite, first start")):
        yield f"    {what + ':':40}{found[name]:5.0f} MB, {verdict(found[name] < IDLE_MB, f'{IDLE_MB:.0f} MB')}"


def load(report: dict[str, Any]) -> Iterator[str]:
    """(g) under load, and (h)."""
    found, options = report["load"], report["setting"]["options"]
    floor = verdict(found["max_mb"] < LOADED_MB, f"{LOADED_MB:.0f} MB")
    yield f"(g) {options['seconds']:.0f} s at {options['load_rate']:,} events/s ({found['stored_per_s']:,.0f} stored), SQLite,"
    yield f"    {found['windows']:,} full windows of 1,000 loaded from checkpoints that the pure code made of simulated events;"
    yield "    the state is saved every 8 s rather than every minute, to have it in the figure"
    yield f"    {found['median_mb']:.0f} MB median, {found['max_mb']:.0f} MB largest, {floor}"
    if "queries" in found:
        yield from queries(found["queries"])


def queries(found: dict[str, Any]) -> Iterator[str]:
    """(h)."""
    yield ""
    yield f"(h) the API under that load ({found['stored_per_s']:,.0f} stored/s meanwhile, RSS at most {found['max_mb']:.0f} MB), SQLite,"
    yield f"    {found['events']:,} events at its end, no query cache, four connections that ask again as soon as they are answered"
    yield f"    {'':40}{'queries/s':>10}{'p50 ms':>9}{'p99 ms':>9}"
    for name, one in found["answers"].items():
        yield f"    {name:40}{one['per_s']:10,.0f}{one['p50_ms']:9.1f}{one['p99_ms']:9.1f}"


PARTS: Final = {
    ("throughput", "double"): throughput,
    ("steps",): steps,
    ("latency",): latency,
    ("idle",): memory,
    ("load",): load,
}
"""What shows the parts of a report, by their names there."""
