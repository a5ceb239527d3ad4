"""What `backtest`, `tune` and `plot` share: where the past is, and how they show that they are at work."""

import atexit
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from sentinel.cli.options import config_file, parse_time, together
from sentinel.cli.run import prepare_numerics
from sentinel.config.checks import check_run
from sentinel.config.loader import Loaded, load, locate
from sentinel.config.problems import ConfigError
from sentinel.core.errors import StartupError
from sentinel.observability import logs

if TYPE_CHECKING:
    from sentinel.app.backtest.reading import Past

STEPS: Final = 1_000
"""Steps of a progress bar."""


past_options: Final = together(
    config_file,
    click.option(
        "--input",
        "files",
        multiple=True,
        type=click.Path(path_type=Path),
        metavar="PATH",
        help="Read a file of JSON lines, plain or gzip. May be repeated.",
    ),
    click.option("--kafka", is_flag=True, help="Read the configured Kafka topic, without joining its group."),
    click.option("--store", is_flag=True, help="Read what the embedded store holds; the daemon may run meanwhile."),
    click.option(
        "--from",
        "--start",
        "start_ns",
        metavar="TIME",
        callback=parse_time,
        help="Only from this time on, RFC 3339 (UTC when it names no zone): of events, with --kafka of records.",
    ),
    click.option("--to", "--end", "end_ns", metavar="TIME", callback=parse_time, help="Only before this time."),
)
"""Where the past is."""


def loaded(file: Path | None, *, kafka: bool) -> Loaded:
    """A configuration that can be used here. Raises ConfigError when it is not valid, or names no Kafka that may be read."""
    found = load(locate(file, os.environ), os.environ, read_secrets=kafka)
    if kafka:
        problems = [problem for problem in check_run(found) if problem.severity == "error" and problem.key.startswith("ingestion.kafka")]
        if problems:
            raise ConfigError(tuple(problems))
    return found


def past(found: Loaded, files: tuple[Path, ...], start_ns: int | None, end_ns: int | None, *, kafka: bool, store: bool) -> "Past":
    """The past that was asked for. Raises UsageError unless exactly one place is named, BacktestError when it cannot be used."""
    if bool(files) + kafka + store != 1:
        raise click.UsageError("say where the past is: --input PATH, --kafka or --store, one of them")
    if start_ns is not None and end_ns is not None and start_ns >= end_ns:
        raise click.UsageError("--from must lie before --to")
    prepare()
    from sentinel.app.backtest.inputs import Span  # noqa: PLC0415  imports numba, which reads what `prepare` sets
    from sentinel.app.backtest.opened import Asked, opened  # noqa: PLC0415  likewise

    return opened(Asked(files, kafka, store, Span(start_ns, end_ns)), found.config, time.time_ns())


def prepare() -> None:
    """Quiet libraries, and a place for compiled kernels that is not the state directory: nothing is to be written there."""
    logs.configure("error", as_json=False)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "llm-sentinel" / "numba"
    try:
        prepare_numerics(cache)
    except StartupError:  # a home that may not be written costs some seconds of compiling
        instead = tempfile.mkdtemp(prefix="sentinel-kernels-")
        atexit.register(shutil.rmtree, instead, ignore_errors=True)
        prepare_numerics(Path(instead))
    kept = Path(os.environ["NUMBA_CACHE_DIR"])
    if sys.stderr.isatty() and not (kept.is_dir() and any(kept.iterdir())):
        click.echo("sentinel: compiling first, once on this machine ...", err=True)


@contextmanager
def progress(label: str) -> Iterator[Callable[[float], None]]:
    """Takes the share that is done, 0 to 1, and shows it as a bar on standard error when that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda _share: None
        return
    with click.progressbar(length=STEPS, label=label, file=sys.stderr) as bar:
        yield lambda share: bar.update(int(share * STEPS) - bar.pos)


def check_target(target: Path) -> None:
    """Raise BacktestError when a report could not be written: better now than after all the work."""
    from sentinel.app.backtest.inputs import BacktestError  # noqa: PLC0415  as above

    place = target if target.exists() else target.parent
    if not place.exists() or not os.access(place, os.W_OK):
        reason = "it cannot be written" if place.exists() else f"there is no directory {target.parent}"
        raise BacktestError(f"cannot write {target}: {reason}. Give --out a file this user may write.")


def write(target: Path, text: str) -> None:
    """Write a report. Raises BacktestError when that fails."""
    from sentinel.app.backtest.inputs import BacktestError  # noqa: PLC0415  as above

    try:
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BacktestError(
            f"cannot write {target}: {(error.strerror or str(error)).lower()}. Give --out a file this user may write."
        ) from error
