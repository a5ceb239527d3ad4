"""`sentinel simulate`: LLM traffic with known faults, to standard output, the HTTP API or Kafka."""

import asyncio
import re
import signal
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import click

from sentinel.cli.options import parse_time
from sentinel.cli.simulate_summary import as_json, as_text

if TYPE_CHECKING:  # the simulator is imported when the command runs, not when it is listed
    from sentinel.testing.faults import Fault
    from sentinel.testing.profiles import Fleet
    from sentinel.testing.simulator import Block, Simulator
    from sentinel.testing.targets import Target

DEFAULT_EVENTS: Final = 1_000
NS: Final = 1_000_000_000
FAULT_EVERY_NS: Final = 600 * NS
LONGEST_PLAN_NS: Final = 7 * 86_400 * NS
"""A run without end gets a fault every ten minutes of event time for its first week."""

TOPIC: Final = re.compile(r"[a-zA-Z0-9._-]{1,249}")
"""What Kafka takes as the name of a topic."""

_share = click.FloatRange(0, 1)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The options of one run, as click hands them over."""

    place: str
    events: int | None
    duration_s: float | None
    continuous: bool
    rate: float
    spacing_ms: float
    seed: int
    start_ns: int | None
    faults: bool
    text_share: float
    text_length: int
    malformed_share: float
    services: str | None
    models: str | None
    api_key: str | None
    as_json: bool

    @property
    def limit(self) -> int | None:
        """Events to send; None: as many as come."""
        if self.events is None and self.duration_s is None and not self.continuous:
            return DEFAULT_EVENTS
        return self.events

    @property
    def spacing_ns(self) -> int:
        """Event time between two events of an unpaced run."""
        return round(self.spacing_ms * 1e6)

    @property
    def length_ns(self) -> int | None:
        """Event time the run covers, where that is known beforehand."""
        if not self.rate:
            return None if self.limit is None else self.limit * self.spacing_ns
        lengths = [self.duration_s, None if self.limit is None else self.limit / self.rate]
        return min((round(length * NS) for length in lengths if length is not None), default=None)


def _parse_start(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """Nanoseconds since the epoch of an RFC 3339 time."""
    start_ns = parse_time(ctx, param, value)
    if start_ns is not None and start_ns < 0:
        raise click.BadParameter("simulated time starts in 1970", ctx, param)
    return start_ns


@click.command()
@click.option(
    "--to",
    "place",
    default="-",
    show_default=True,
    help="`-` (standard output), http://HOST:PORT, or kafka://HOST:PORT[,HOST:PORT...]/TOPIC.",
)
@click.option(
    "--events", type=click.IntRange(min=1), help=f"Stop after so many events. Default {DEFAULT_EVENTS:,} when nothing else ends the run."
)
@click.option("--duration", "duration_s", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="Stop after so long.")
@click.option("--continuous", is_flag=True, help="Go on until interrupted.")
@click.option(
    "--rate",
    type=click.FloatRange(0, 1e7),
    default=0.0,
    show_default=True,
    help="Events per second, as the mean of a day, in real time; 0 = as fast as it goes.",
)
@click.option(
    "--spacing-ms",
    type=click.FloatRange(0.001, 3.6e6),
    default=0.001,
    show_default=True,
    help="With --rate 0: event time between two events.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Same seed, start and options: same bytes.")
@click.option(
    "--start",
    "start_ns",
    metavar="TIMESTAMP",
    callback=_parse_start,
    help="Event time of the start, RFC 3339 (UTC when it names no zone). Default: now.",
)
@click.option("--faults/--no-faults", default=True, show_default=True, help="Inject faults; the summary names them.")
@click.option(
    "--text-share", type=_share, default=0.0, show_default=True, help="Share of events with texts, some with made-up secrets in them."
)
@click.option("--text-length", type=click.IntRange(0, 1_000_000), default=400, show_default=True, help="Characters of each text.")
@click.option("--malformed-share", type=_share, default=0.0, show_default=True, help="Share of records that cannot be events.")
@click.option("--services", metavar="NAMES", help="Service names, separated by commas, or how many there shall be. Default: four.")
@click.option("--models", metavar="NAMES", help="Model names, separated by commas, or how many there shall be. Default: three.")
@click.option("--api-key", envvar="SENTINEL_API_KEY", metavar="KEY", help="For an HTTP target that wants one; also from SENTINEL_API_KEY.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def simulate(**options: Any) -> int:  # noqa: ANN401  what they are stands in Wanted
    """Write simulated LLM events, 1,000 of them unless told otherwise.

    The records go to --to, the summary (how many, how fast, which faults and when) to standard error. An interrupt ends the run cleanly.
    """
    import uvloop  # noqa: PLC0415  not needed to list the commands

    wanted = Wanted(**options)
    if wanted.continuous and (wanted.events is not None or wanted.duration_s is not None):
        raise click.UsageError("--continuous has no end: leave out --events and --duration")
    uvloop.run(_run(wanted))
    return 0


async def _run(wanted: Wanted) -> None:
    """Wire simulator, pace and target, send, and tell what was sent."""
    from sentinel.observability.logs import configure  # noqa: PLC0415  heavy
    from sentinel.testing.playback import play  # noqa: PLC0415  heavy

    configure("error", as_json=False)  # the client libraries' warnings would blur our one line
    start_ns = time.time_ns() if wanted.start_ns is None else wanted.start_ns
    simulator = _simulator(wanted, start_ns)
    with _interrupts() as stop, _progress(wanted.limit) as progress:
        target = _target(wanted, stop)
        began = time.monotonic()
        blocks = _blocks(wanted, simulator, start_ns, stop, began)
        try:
            await target.open()
            sent = await play(blocks, target, wanted.limit, stop.is_set, progress)
        finally:
            await target.close()
    seconds = time.monotonic() - began
    faults = sent.began(simulator.faults)
    click.echo((as_json if wanted.as_json else as_text)(wanted.seed, sent, target, seconds, faults), err=True)


def _simulator(wanted: Wanted, start_ns: int) -> "Simulator":
    from sentinel.testing.faults import fault_plan  # noqa: PLC0415  heavy
    from sentinel.testing.simulator import Simulator  # noqa: PLC0415  heavy

    fleet = _fleet(wanted)
    faults: list[Fault] = []
    if wanted.faults and wanted.length_ns is not None:
        faults = fault_plan(wanted.seed, start_ns, start_ns + wanted.length_ns, fleet.series)
    elif wanted.faults:
        faults = fault_plan(wanted.seed, start_ns, start_ns + LONGEST_PLAN_NS, fleet.series, FAULT_EVERY_NS)
    return Simulator(
        wanted.seed,
        fleet=fleet,
        rate=wanted.rate or 1.0,
        faults=faults,
        text_share=wanted.text_share,
        text_length=wanted.text_length,
        malformed_share=wanted.malformed_share,
    )


def _fleet(wanted: Wanted) -> "Fleet":
    from sentinel.testing.profiles import MODELS, SERVICES, make_fleet, model_profiles, service_profiles  # noqa: PLC0415  heavy

    services = SERVICES if wanted.services is None else service_profiles(_names(wanted.services, "service"))
    models = MODELS if wanted.models is None else model_profiles(_names(wanted.models, "model"))
    try:
        return make_fleet(services, models)
    except ValueError as error:
        raise click.UsageError(f"--services, --models: {error}") from error


def _names(given: str, stem: str) -> list[str]:
    """The names themselves, or as many numbered ones as a number asks for."""
    if given.isdecimal():
        return [f"{stem}-{number:03d}" for number in range(1, int(given) + 1)]
    return [name.strip() for name in given.split(",")]


def _target(wanted: Wanted, stop: asyncio.Event) -> "Target":
    from sentinel.testing.targets import HttpTarget, KafkaTarget, StreamTarget  # noqa: PLC0415  heavy

    if wanted.place == "-":
        return StreamTarget(sys.stdout.buffer)
    parts = urlsplit(wanted.place)
    if parts.scheme in ("http", "https") and parts.hostname:
        return HttpTarget(wanted.place, stop, wanted.api_key)
    brokers, topic = parts.netloc.split(","), parts.path.strip("/")
    if parts.scheme == "kafka" and TOPIC.fullmatch(topic) and all(broker.rpartition(":")[2].isdecimal() for broker in brokers):
        return KafkaTarget(brokers, topic)
    raise click.BadParameter("give `-`, http://HOST:PORT or kafka://HOST:PORT/TOPIC", param_hint="--to")


def _blocks(wanted: Wanted, simulator: "Simulator", start_ns: int, stop: asyncio.Event, began: float) -> "AsyncGenerator[Block, None]":
    from sentinel.testing.playback import paced, unpaced  # noqa: PLC0415  heavy

    def elapsed_s() -> float:
        return time.monotonic() - began

    async def pause(seconds: float) -> None:
        with suppress(TimeoutError):  # the usual end of a pause; the other is an interrupt
            await asyncio.wait_for(stop.wait(), seconds)

    length_ns = None if wanted.duration_s is None else round(wanted.duration_s * NS)
    if wanted.rate:
        return paced(simulator, start_ns, length_ns, elapsed_s, pause)
    return unpaced(simulator, wanted.limit, start_ns, wanted.spacing_ns, lambda: length_ns is not None and elapsed_s() * NS >= length_ns)


@contextmanager
def _interrupts() -> Iterator[asyncio.Event]:
    """An event that the first SIGINT or SIGTERM sets; a second one ends the process at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()

    def interrupt() -> None:
        stop.set()
        for number in signals:
            loop.remove_signal_handler(number)

    for number in signals:
        loop.add_signal_handler(number, interrupt)
    try:
        yield stop
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


@contextmanager
def _progress(limit: int | None) -> Iterator[Callable[[int], None]]:
    """A bar on standard error when that is a terminal and the end is known; else nothing is shown."""
    if limit is None or not sys.stderr.isatty():
        yield lambda _: None
        return
    with click.progressbar(length=limit, label="events", file=sys.stderr) as bar:
        yield bar.update
