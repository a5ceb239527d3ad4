"""The traffic simulator: reproducible, well-formed, at the wanted rate, with faults that can be measured."""

import json
from collections import Counter
from collections.abc import Iterable
from itertools import chain, pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel.config.schema import Parsing, Validation
from sentinel.core.batch import EventBatch, PartitionId, SeriesKey
from sentinel.core.delivery import Delivery
from sentinel.core.errors import RejectCode
from sentinel.ingestion.decode import decode
from sentinel.ingestion.validate import validate
from sentinel.testing.faults import LONGEST_NS, NS, STRENGTHS, Fault, FaultKind, fault_plan
from sentinel.testing.malformed import SPOILERS, spoil
from sentinel.testing.profiles import MODELS, SERVICES, make_fleet, model_profiles, service_profiles
from sentinel.testing.simulator import CELL_EVENTS, Simulator

START = 1_768_473_000 * NS
MINUTE = 60 * NS
CHAT = SeriesKey("default", "chat-api", "gpt-4o")


def events(records: Iterable[bytes]) -> list[dict[str, Any]]:
    """The records as objects."""
    return [json.loads(record) for record in records]


def fault(kind: FaultKind, strength: float | None = None) -> Fault:
    """One fault of chat-api:gpt-4o in the second and third minute."""
    return Fault(kind, START + MINUTE, START + 3 * MINUTE, STRENGTHS[kind] if strength is None else strength, "chat-api", "gpt-4o")


def of_chat(records: list[bytes]) -> list[dict[str, Any]]:
    """The events of chat-api:gpt-4o."""
    return [event for event in events(records) if (event["service_name"], event["model_name"]) == ("chat-api", "gpt-4o")]


def with_and_without(wanted: Fault) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The target's events of the faulty time, with the fault and without."""
    faulty, healthy = Simulator(3, rate=100, faults=[wanted]), Simulator(3, rate=100)
    return of_chat(faulty.block(wanted.start_ns, wanted.end_ns)), of_chat(healthy.block(wanted.start_ns, wanted.end_ns))


def median(rows: list[dict[str, Any]], name: str) -> float:
    """The median of one field over the requests that did not fail."""
    return float(np.median([row[name] for row in rows if "error" not in row]))


# ------------------------------------------------------------------------------------------------------------- reproducible


def test_same_arguments_give_the_same_bytes() -> None:
    """Two simulators with the same seed and settings write the same bytes; another seed writes others."""
    options: dict[str, Any] = {"rate": 200.0, "text_share": 0.2, "malformed_share": 0.1, "faults": [fault(FaultKind.PII_LEAK)]}
    first, second, other = (Simulator(seed, **options).block(START, START + 2 * MINUTE) for seed in (5, 5, 6))
    assert first == second
    assert first != other
    assert list(Simulator(5, **options).events(10_000, START, 1_000)) == list(Simulator(5, **options).events(10_000, START, 1_000))


@settings(max_examples=30)
@given(
    rate=st.sampled_from([0.3, 20.0, 9_000.0]),
    cuts=st.lists(st.integers(0, 3 * NS), max_size=8),
    offset_ns=st.integers(0, 120 * NS),
)
def test_cutting_time_into_slices_changes_nothing(rate: float, cuts: list[int], offset_ns: int) -> None:
    """Blocks of adjoining slices are the block of the whole, however it is cut."""
    start = START + offset_ns
    edges = [start, *sorted(start + cut for cut in cuts), start + 3 * NS]
    simulator = Simulator(1, rate=rate)
    pieces = [record for first, last in pairwise(edges) for record in simulator.block(first, last)]
    assert pieces == Simulator(1, rate=rate).block(start, start + 3 * NS)


def test_a_shorter_load_is_the_beginning_of_a_longer_one() -> None:
    """The first events of a stream do not depend on how many are asked for, and the number asked for is exact."""
    simulator = Simulator(2)
    short, long = (list(chain.from_iterable(simulator.events(n, START, 1_000))) for n in (CELL_EVENTS + 7, 3 * CELL_EVENTS))
    assert len(short) == CELL_EVENTS + 7
    assert long[: len(short)] == short


def test_events_that_no_fault_hits_are_the_same_as_without_faults() -> None:
    """A fault changes its own series during its own time, and not one byte elsewhere."""
    kinds = [kind for kind in FaultKind if kind is not FaultKind.TRAFFIC_DROP]
    faulty = Simulator(4, rate=100, faults=[fault(kind) for kind in kinds]).keyed_block(START, START + 4 * MINUTE)
    healthy = Simulator(4, rate=100).keyed_block(START, START + 4 * MINUTE)
    assert np.array_equal(faulty.ts_ns, healthy.ts_ns)
    changed = [i for i, (a, b) in enumerate(zip(faulty.records, healthy.records, strict=True)) if a != b]
    assert changed
    assert {faulty.keys[i] for i in changed} == {b"chat-api:gpt-4o"}
    times = faulty.ts_ns[changed]
    assert times.min() >= START + MINUTE
    assert times.max() < START + 3 * MINUTE


# -------------------------------------------------------------------------------------------------------------- well formed


def test_every_record_is_a_flat_event() -> None:
    """Each record is one JSON object with the required fields, plausible numbers and ids in hex; ids never repeat."""
    block = Simulator(1, rate=1_000, text_share=0.05).keyed_block(START, START + 10 * NS)
    rows = events(block.records)
    for row, key in zip(rows, block.keys, strict=True):
        assert key == f"{row['service_name']}:{row['model_name']}".encode()
        assert 0.1 <= row["latency_ms"] <= 300_000
        assert 1 <= row["prompt_tokens"] <= 100_000
        assert 0 <= row["completion_tokens"] <= 100_000
        assert 0 < row["cost_usd"] < 1
        assert len(bytes.fromhex(row["trace_id"])) == 16
        assert len(bytes.fromhex(row["span_id"])) == 8
        assert ("ttft_ms" in row) == (row.get("streaming") is True)
        assert row.get("ttft_ms", 0) < row["latency_ms"]
        assert ("error" in row) != ("finish_reason" in row)
    assert len({row["event_id"] for row in rows}) == len(rows)
    assert all(b"\n" not in record for record in block.records)


def test_the_daemon_takes_every_record_as_it_is() -> None:
    """Decoding and validating reject nothing and flag nothing, and read the times the simulator meant."""
    block = Simulator(1, rate=500, text_share=0.1).keyed_block(START, START + 4 * NS)
    batch, codes = received(block.records, START + 4 * NS)
    assert batch is not None
    assert not codes
    assert np.array_equal(batch.ts_ns, block.ts_ns // 1_000 * 1_000)
    assert not batch.flags.any()


def test_series_differ_in_level() -> None:
    """Medians of latency and cost are mutually different between the default models of one service."""
    rows = events(Simulator(1, rate=500).block(START, START + MINUTE))
    for name in ("latency_ms", "cost_usd"):
        levels = sorted(
            median([row for row in rows if row["service_name"] == "chat-api" and row["model_name"] == model.name], name) for model in MODELS
        )
        assert all(above > 1.15 * below for below, above in pairwise(levels))


def test_hostile_names_stay_valid_json() -> None:
    """Quotes, backslashes, percent signs and letters beyond ASCII in names survive the way into a record and its key."""
    names = ['a"b\\c', "%s%d", "Ünïcode-模型"]
    simulator = Simulator(1, fleet=make_fleet(service_profiles(names), model_profiles(["m"])))
    block = next(simulator.keyed_events(300, START, NS))
    assert {row["service_name"] for row in events(block.records)} == set(names)
    assert {key.decode() for key in block.keys} == {f"{name}:m" for name in names}


@pytest.mark.parametrize("names", [[], [""], ["x" * 129], ["a", "a"], ["line\nfeed"]])
def test_impossible_names_are_refused(names: list[str]) -> None:
    """No name, an empty, overlong, repeated or unprintable one is an error at once."""
    with pytest.raises(ValueError, match=r"name|fleet"):
        make_fleet(service_profiles(names), MODELS)


@pytest.mark.parametrize("options", [{"rate": 0}, {"seed": -1}, {"text_share": 1.5}, {"malformed_share": float("nan")}])
def test_impossible_settings_are_refused(options: dict[str, Any]) -> None:
    """Rates, seeds and shares outside their range are errors at once."""
    with pytest.raises(ValueError, match="must"):
        Simulator(**({"seed": 1} | options))


def test_a_fleet_of_any_size_can_be_named() -> None:
    """Shipped names keep their profiles; further ones get profiles of their own."""
    names = [service.name for service in SERVICES] + [f"more-{i}" for i in range(6)]
    profiles = service_profiles(names)
    assert profiles[: len(SERVICES)] == SERVICES
    fleet = make_fleet(profiles, model_profiles([f"m{i}" for i in range(30)]))
    assert len(fleet.series) == 300
    assert fleet.cumulative[-1] == 1.0


# -------------------------------------------------------------------------------------------------------------- rates


def test_rate_is_the_mean_of_a_day_and_swings_with_it() -> None:
    """A day holds rate x 86,400 events within five standard deviations, and early afternoon is busier than the night."""
    rate, day = 2.0, START // (86_400 * NS) * 86_400 * NS
    ts_ns = Simulator(1, rate=rate).keyed_block(day, day + 86_400 * NS).ts_ns
    expected = rate * 86_400
    assert abs(len(ts_ns) - expected) < 5 * expected**0.5
    per_hour = np.bincount((ts_ns - day) // (3_600 * NS), minlength=24)
    assert 1.35 < per_hour[13:15].sum() / per_hour[1:3].sum() < 1.65
    assert np.all(np.diff(ts_ns) >= 0)


def test_one_in_a_hundred_requests_fails() -> None:
    """The share of errors is one percent, within five standard deviations of its sampling noise."""
    rows = events(chain.from_iterable(Simulator(1).events(20_000, START, 1_000)))
    failed = sum("error" in row for row in rows)
    assert abs(failed - 200) < 5 * 198**0.5


def test_load_is_spaced_exactly() -> None:
    """Each event of a load stream is one spacing after the one before."""
    ts_ns = np.concatenate([block.ts_ns for block in Simulator(1).keyed_events(10_000, START, 2_500)])
    assert np.array_equal(ts_ns, START + 2_500 * np.arange(10_000))


# -------------------------------------------------------------------------------------------------------------- faults


def test_latency_spike_multiplies_latency() -> None:
    """The median latency of the target is five times what it was, its tokens and cost unchanged."""
    faulty, healthy = with_and_without(fault(FaultKind.LATENCY_SPIKE))
    assert median(faulty, "latency_ms") == pytest.approx(5 * median(healthy, "latency_ms"), rel=0.05)
    assert [row["cost_usd"] for row in faulty] == [row["cost_usd"] for row in healthy]


def test_latency_drift_grows_to_its_strength() -> None:
    """A drift starts at nothing, ends at its factor and is halfway in the middle."""
    faulty, healthy = with_and_without(fault(FaultKind.LATENCY_DRIFT))
    # The overhead of the service does not drift: compare the time to the first token.
    ratio = np.array([a["ttft_ms"] / b["ttft_ms"] for a, b in zip(faulty, healthy, strict=True) if "ttft_ms" in a])
    assert ratio[0] == pytest.approx(1.0, abs=0.02)
    assert ratio[len(ratio) // 2] == pytest.approx(1.75, abs=0.05)
    assert ratio[-1] == pytest.approx(2.5, abs=0.02)
    assert np.all(np.diff(ratio) > -0.001)


def test_token_surge_multiplies_tokens_and_cost_follows() -> None:
    """Both token counts and the cost of the target are six times what they were."""
    faulty, healthy = with_and_without(fault(FaultKind.TOKEN_SURGE))
    for name in ("prompt_tokens", "completion_tokens", "cost_usd"):
        assert median(faulty, name) == pytest.approx(6 * median(healthy, name), rel=0.02)


def test_cost_runaway_multiplies_cost_alone() -> None:
    """Cost is twenty times what it was; latency and tokens stay."""
    faulty, healthy = with_and_without(fault(FaultKind.COST_RUNAWAY))
    assert median(faulty, "cost_usd") == pytest.approx(20 * median(healthy, "cost_usd"), rel=0.001)
    assert [row["latency_ms"] for row in faulty] == [row["latency_ms"] for row in healthy]


def test_error_burst_fails_its_share() -> None:
    """Forty percent of the target's requests fail, within five standard deviations."""
    faulty, _ = with_and_without(fault(FaultKind.ERROR_BURST))
    failed = sum("error" in row for row in faulty)
    assert abs(failed - 0.4 * len(faulty)) < 5 * (len(faulty) * 0.24) ** 0.5


def test_traffic_drop_silences_the_target_alone() -> None:
    """Nothing of the target arrives, everything else does; half a drop leaves about half."""
    drop = fault(FaultKind.TRAFFIC_DROP)
    faulty, healthy = with_and_without(drop)
    assert not faulty
    assert len(healthy) > 500
    others = Simulator(3, rate=100, faults=[drop]).keyed_block(drop.start_ns, drop.end_ns)
    assert len(others.records) == len(others.keys) == len(others.ts_ns) > 5_000
    half, _ = with_and_without(fault(FaultKind.TRAFFIC_DROP, 0.5))
    assert abs(len(half) - len(healthy) / 2) < 5 * (len(healthy) / 4) ** 0.5


def test_a_load_stream_delivers_its_number_through_a_silence() -> None:
    """Events taken away by a drop are made up for later: the number asked for still comes, at later times."""
    silence = Fault(FaultKind.TRAFFIC_DROP, START, START + 20_000_000, 1.0)
    block = list(Simulator(1, faults=[silence]).keyed_events(5_000, START, 1_000))
    ts_ns = np.concatenate([part.ts_ns for part in block])
    assert len(ts_ns) == 5_000
    assert ts_ns[0] == START + 20_000_000


def test_implausible_values_lie_beyond_the_limits() -> None:
    """Validation flags a tenth of the target's events, by latency, by tokens and by cost, and rejects none."""
    wanted = fault(FaultKind.IMPLAUSIBLE_VALUE)
    block = Simulator(3, rate=100, faults=[wanted]).keyed_block(wanted.start_ns, wanted.end_ns)
    batch, codes = received(block.records, wanted.end_ns)
    assert batch is not None
    assert not codes
    flagged = batch.flags[batch.flags != 0]
    hits = sum(key == b"chat-api:gpt-4o" for key in block.keys)
    assert len(set(flagged.tolist())) == 3
    assert abs(len(flagged) - 0.1 * hits) < 5 * (hits * 0.09) ** 0.5


def test_pii_leak_plants_findings_in_texts() -> None:
    """Half of the target's responses hold something made up that looks personal or secret, even with no texts otherwise."""
    faulty, healthy = with_and_without(fault(FaultKind.PII_LEAK))
    texts = [row["response_text"] for row in faulty if "response_text" in row]
    marks = ("@example.com", "sk-", "AKIA", "password=", "+1 202-555-", "pay with card 4")
    assert abs(len(texts) - len(faulty) / 2) < 5 * (len(faulty) / 4) ** 0.5
    assert all(any(mark in text for mark in marks) for text in texts)
    assert all(any(mark in text for text in texts) for mark in marks)
    assert not any("response_text" in row for row in healthy)


def test_a_fault_may_hit_a_whole_service() -> None:
    """A fault without a model hits every model of its service, one without both hits everything."""
    assert Fault(FaultKind.LATENCY_SPIKE, 0, 1, 2.0, service="chat-api").hits(CHAT)
    assert not Fault(FaultKind.LATENCY_SPIKE, 0, 1, 2.0, service="search").hits(CHAT)
    assert Fault(FaultKind.LATENCY_SPIKE, 0, 1, 2.0).hits(CHAT)


@settings(max_examples=50)
@given(seed=st.integers(0, 2**40), length_s=st.integers(1, 10**6), every_s=st.none() | st.integers(1, 10**5))
def test_a_plan_is_ordered_bounded_and_reproducible(seed: int, length_s: int, every_s: int | None) -> None:
    """Planned faults lie within their time behind a quiet beginning, never overlap, and every kind comes before any comes twice."""
    series = make_fleet().series
    every_ns = None if every_s is None else max(every_s, length_s // 500 + 1) * NS
    plan = fault_plan(seed, START, START + length_s * NS, series, every_ns)
    assert plan == fault_plan(seed, START, START + length_s * NS, series, every_ns)
    slot_ns = every_ns or length_s * NS // 9
    edges = [edge for each in plan for edge in (each.start_ns, each.end_ns)]
    assert edges == sorted(edges)
    assert all(START + slot_ns <= edge <= START + length_s * NS for edge in edges)
    assert all(each.end_ns - each.start_ns <= LONGEST_NS[each.kind] for each in plan)
    counts = Counter(each.kind for each in plan)
    assert not plan or max(counts.values()) - min(counts[kind] for kind in FaultKind) <= 1
    if every_ns is None:
        assert set(counts) == set(FaultKind)


# -------------------------------------------------------------------------------------------------------------- texts and spoiled records


def test_texts_have_the_wanted_share_and_length() -> None:
    """Three in ten events carry both texts, each exactly as long as asked for, a few with findings."""
    rows = events(chain.from_iterable(Simulator(1, text_share=0.3, text_length=500).events(5_000, START, 1_000)))
    texts = [row[name] for row in rows for name in ("prompt_text", "response_text") if name in row]
    assert abs(len(texts) / 2 - 1_500) < 5 * 1_050**0.5
    assert {len(text) for text in texts} == {500}
    assert any("@example.com" in text for text in texts)


def test_spoiled_records_come_in_the_wanted_share_and_every_way() -> None:
    """A fifth of the records is spoiled, each way occurs, and the others stay good."""
    block = next(Simulator(1, malformed_share=0.2).keyed_events(5_000, START, 1_000))
    good = next(Simulator(1).keyed_events(5_000, START, 1_000)).records
    spoiled = [(bad, record) for bad, record in zip(block.records, good, strict=True) if bad != record]
    assert abs(len(spoiled) - 1_000) < 5 * 800**0.5
    ways = Counter(way for bad, record in spoiled for way in range(len(SPOILERS)) if spoil(record, way) == bad)
    assert set(ways) == set(range(len(SPOILERS)))


@pytest.mark.parametrize("way", range(len(SPOILERS)), ids=[code for code, _ in SPOILERS])
def test_a_spoiled_record_is_rejected_with_the_code_it_names(way: int) -> None:
    """The daemon rejects each kind of spoiled record, with the code the simulator promises."""
    record = spoil(Simulator(1).block(START, START + NS)[0], way)
    assert received([record], START) == (None, [SPOILERS[way][0]])


def received(records: list[bytes], log_ns: int) -> tuple[EventBatch | None, list[RejectCode]]:
    """What the daemon makes of records that a log took at that time: events it keeps, codes of those it rejects."""
    delivery = Delivery(
        source=PartitionId("test", "topic", 0),
        records=records,
        offsets=np.arange(len(records), dtype=np.int64),
        timestamps_ns=np.full(len(records), log_ns, np.int64),
        received_ns=log_ns,
        epoch=0,
        size_bytes=sum(map(len, records)),
    )
    decoded = decode(delivery, Parsing())
    batch, invalid = (None, []) if decoded.batch is None else validate(decoded.batch, Validation())
    return batch, [reject.code for reject in [*decoded.rejects, *invalid]]
