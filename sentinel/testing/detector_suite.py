"""What every detector must keep: one check a promise, for any implementation of `sentinel.core.detector.Detector`.

With pytest, where llm-sentinel is installed, each check is a test of its own:

    def test_promises(llm_sentinel_check):
        llm_sentinel_check(lambda: RefusalStreak(Settings()))

Anywhere else, all at once: `check_detector(lambda: RefusalStreak(Settings()))`.

Each call of the factory gives a new detector without state, always with the same parameters.
"""

import io
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from sentinel.core.detector import Detector, Finding, State, checked
from sentinel.testing.detector_streams import STREAMS, Stream, clean, constant, faults, many
from sentinel.testing.expect import expect
from sentinel.testing.purity import watched

CUTS: Final = 50
RESTORES: Final = 20
MIB: Final = 1_048_576

Factory = Callable[[], Detector]


@dataclass(frozen=True, slots=True)
class Case:
    """A detector, and what it states about itself.

    Attributes:
        make: gives a new one.
        faults: a stream in which it finds something; the suite's own, with a fault of each kind, fits most.
        quiet_per_1000: findings on healthy traffic that are all right, in 1,000 events.
        bytes_per_series: memory that one series may take.
    """

    make: Factory
    faults: Callable[[], Stream] = faults
    quiet_per_1000: float = 0.05
    bytes_per_series: int = 65_536


Check = Callable[[Case], None]


class Found(NamedTuple):
    """A finding, and the place in its stream: the number of the event, or of the time mark."""

    at: int
    mark: bool
    finding: Finding


def check_detector(make: Factory, **stated: Any) -> None:  # noqa: ANN401  the fields of Case
    """Run every check, and raise one AssertionError with all promises that are broken. `stated`: as in `Case`."""
    broken = []
    for check in CHECKS:
        try:
            check(Case(make, **stated))
        except Exception as error:  # noqa: BLE001  others' code: what it raises is told like a promise that is broken
            what = error if isinstance(error, AssertionError) else repr(error)
            broken.append(f"{check.__name__}: {what}")
    if broken:
        raise AssertionError("\n".join(broken))


def run_check(check: Check, make: Factory, **stated: Any) -> None:  # noqa: ANN401  the fields of Case
    """Run one check. `stated`: as in `Case`."""
    check(Case(make, **stated))


# ---------------------------------------------------------------------------------------------------------------- driving


def run(detector: Detector, stream: Stream, cuts: Sequence[int] = (), *, start: int = 0) -> list[Found]:
    """All findings of a stream, or of its part from event `start` on.

    Args:
        detector: takes it from its present state.
        stream: events and time marks.
        cuts: numbers of events where a batch ends; it also ends at each time mark.
        start: number of the first event; time marks before it are left out, as is one just there.
    """
    marks = dict(mark for mark in stream.marks if mark[0] > start)
    ends = sorted({end for end in (*cuts, *marks, len(stream)) if end > start})
    found: list[Found] = []
    for begin, end in zip([start, *ends], ends, strict=False):
        findings = detector.observe(stream.cut(begin, end))
        found += sorted((_of_event(one, begin, end) for one in findings), key=_place)
        if end in marks:
            found += sorted((Found(end, True, one) for one in detector.mark(marks[end])), key=_place)
    return found


def _of_event(finding: Finding, begin: int, end: int) -> Found:
    """A finding with the number of its event in the stream, when that was in the batch."""
    at = begin + finding.event
    if not begin <= at < end:
        raise AssertionError(f"event {finding.event} of a finding is not in its batch of {end - begin} events")
    return Found(at, False, replace(finding, event=at))


def _place(found: Found) -> tuple[int, int, str]:
    return found.at, found.finding.series, found.finding.metric


def stored(state: State) -> dict[str, npt.NDArray[Any]]:
    """The state as it comes back from a file."""
    restored = {}
    for name, array in state.items():
        file = io.BytesIO()
        np.save(file, array, allow_pickle=False)
        file.seek(0)
        restored[name] = np.load(file, allow_pickle=False)
    return restored


def _same(what: str, got: Sequence[Found], wanted: Sequence[Found]) -> None:
    """Raise when two runs found different things, naming the first difference. Numbers count bit for bit."""
    for one, other in zip(got, wanted, strict=False):
        expect(what, repr(one), repr(other))
    expect(f"{what}: number of findings", len(got), len(wanted))


# ----------------------------------------------------------------------------------------------------------------- checks


def check_it_finds_something(case: Case) -> None:
    """In the stream of faults it has something to tell; without that the other checks would say nothing."""
    found = run(case.make(), case.faults())
    if not found:
        raise AssertionError("nothing was found in the stream of faults: give one that has what the detector is for, as `faults`")


def check_batches_mean_nothing(case: Case) -> None:
    """Cut in 50 ways, each event alone among them, the same stream gives the same findings."""
    stream = case.faults()
    wanted = run(case.make(), stream)
    rng = np.random.default_rng(50)
    _same("every event alone", run(case.make(), stream, range(1, len(stream))), wanted)
    for number in range(CUTS - 1):
        cuts = np.sort(rng.choice(len(stream), int(rng.integers(1, 60)), replace=False)).tolist()
        _same(f"cut {number} at {cuts}", run(case.make(), stream, cuts), wanted)


def check_a_restored_one_goes_on(case: Case) -> None:
    """Exported anywhere and loaded into a new one, it finds what the one finds that was never stopped; exporting changes nothing."""
    stream = case.faults()
    wanted = run(case.make(), stream)
    places = np.sort(np.random.default_rng(20).choice(np.arange(1, len(stream)), RESTORES, replace=False)).tolist()
    first = case.make()
    for begin, end in zip([0, *places], places, strict=False):
        part = Stream(stream.cut(0, end), tuple(mark for mark in stream.marks if mark[0] <= end))
        run(first, part, start=begin)
        state = stored(first.export())
        second = case.make()
        second.load(state)
        _same(f"restored after {end} events", run(second, stream, start=end), [one for one in wanted if _comes_after(one, end)])


def _comes_after(found: Found, end: int) -> bool:
    return found.at > end if found.mark else found.at >= end


def check_foreign_state_is_refused(case: Case) -> None:
    """Arrays that are not its own make it raise ValueError, so that it starts anew; a detector without state takes anything."""
    if not case.make().export():
        return
    for foreign in ({}, {"foreign": np.zeros(3)}):
        try:
            case.make().load(foreign)
        except ValueError:
            continue
        raise AssertionError("load took arrays that are not its own: raise ValueError")


def check_the_same_again(case: Case) -> None:
    """Two that run side by side find the same as one that runs alone: no chance, and nothing shared between them."""
    stream = case.faults()
    wanted = run(case.make(), stream)
    pair = case.make(), case.make()
    ends = list(range(0, len(stream), 500))
    for begin, end in zip(ends, [*ends[1:], len(stream)], strict=True):
        part = Stream(stream.cut(0, end), tuple(mark for mark in stream.marks if mark[0] <= end))
        now = [one for one in wanted if _comes_after(one, begin) and not _comes_after(one, end)]
        for detector in pair:
            _same("side by side", run(detector, part, start=begin), now)


def check_no_clock_no_chance_no_io(case: Case) -> None:
    """While it observes and at time marks it asks no clock, no random numbers and nothing outside."""
    stream = case.faults()
    run(case.make(), stream)  # what is imported or compiled at first use
    detector = case.make()
    with watched() as impure:
        run(detector, stream, range(0, len(stream), 250))
    expect("functions that are not pure", impure, [])


def check_findings_keep_the_rules(case: Case) -> None:
    """Whatever comes, late, absent, enormous, every finding has finite numbers and names what there is; no events give no findings."""
    expect("findings without events", list(case.make().observe(clean().cut(0, 0))), [])
    for name, made in {**STREAMS, "own": case.faults}.items():
        stream = made()
        for found in run(case.make(), stream, range(0, len(stream), 1_000)):
            try:
                checked(found.finding, 0 if found.mark else len(stream), len(stream.batch.names))
            except ValueError as error:
                raise AssertionError(f"a finding in the stream `{name}`: {error}") from None


def check_constants_are_silent(case: Case) -> None:
    """Where nothing changes, nothing is found, also with a rounding error."""
    _same("constant series", run(case.make(), constant()), [])


def check_it_is_quiet(case: Case) -> None:
    """On healthy traffic, skewed and with its usual errors, it finds no more than it states."""
    stream = clean()
    found = run(case.make(), stream)
    rate = 1_000 * len(found) / len(stream)
    if rate > case.quiet_per_1000:
        first = found[0].finding.sentence
        raise AssertionError(f"{rate:.3f} findings in 1,000 healthy events, stated are {case.quiet_per_1000}; the first: {first}")


def check_memory_is_bounded(case: Case) -> None:
    """It grows with the number of series, within what is stated, and neither with events nor with users or versions."""
    run(case.make(), many(20, 10, 0))  # what is compiled at first use
    series = 2_000
    (used,) = _memory(case.make(), [(series, 5)])
    allowed = 8 * MIB + series * case.bytes_per_series
    if used > allowed:
        raise AssertionError(f"{used / MIB:.0f} MiB for {series:,} series, stated are {allowed / MIB:.0f}")
    before, after = _memory(case.make(), [(20, 1_000), (20, 1_000)])
    if after > 1.1 * before + MIB // 4:
        raise AssertionError(
            f"{before / MIB:.1f} MiB after 20,000 events of 20 series, {after / MIB:.1f} after 40,000: it keeps some of each"
        )


def _memory(detector: Detector, streams: Sequence[tuple[int, int]]) -> Iterator[int]:
    """Bytes that the detector holds after each of some streams: so many series, so many events each, other names in each stream."""
    began = not tracemalloc.is_tracing()
    if began:
        tracemalloc.start()
    try:
        nothing = tracemalloc.get_traced_memory()[0]
        for number, (series, each) in enumerate(streams):
            stream = many(series, each, number * 1_000_000)
            run(detector, stream, range(0, len(stream), 2_000))
            del stream
            yield tracemalloc.get_traced_memory()[0] - nothing
    finally:
        if began:
            tracemalloc.stop()


CHECKS: Final[tuple[Check, ...]] = (
    check_it_finds_something,
    check_batches_mean_nothing,
    check_a_restored_one_goes_on,
    check_foreign_state_is_refused,
    check_the_same_again,
    check_no_clock_no_chance_no_io,
    check_findings_keep_the_rules,
    check_constants_are_silent,
    check_it_is_quiet,
    check_memory_is_bounded,
)
