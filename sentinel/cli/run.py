"""`sentinel run`: the daemon."""

import os
import shutil
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import click

from sentinel.app.workers import supervise
from sentinel.cli.options import config_file
from sentinel.cli.problems import show, show_problems
from sentinel.config.checks import check_run, check_workers
from sentinel.config.loader import Loaded, draft, locate
from sentinel.config.schema import Config
from sentinel.config.workers import MOST_WORKERS, of_worker
from sentinel.core.errors import StartupError
from sentinel.observability import logs

BAD_CONFIGURATION = 3


@click.command()
@config_file
@click.option(
    "--input", "inputs", multiple=True, metavar="PATH", help="Read a file of JSON lines, or - for standard input. May be repeated."
)
@click.option("--exit-at-end", is_flag=True, help="Drain and exit once every input is read.")
@click.option(
    "--wait-for-dependencies",
    "wait_s",
    default=0.0,
    metavar="SECS",
    type=click.FloatRange(0, 86_400),
    envvar="SENTINEL_WAIT_FOR_DEPENDENCIES",
    show_envvar=True,
    help="Wait so long for Kafka and others to come up, instead of failing at once.",
)
@click.option(
    "--workers",
    default=1,
    metavar="N",
    type=click.IntRange(1, MOST_WORKERS),
    envvar="SENTINEL_WORKERS",
    show_envvar=True,
    help="Run so many daemons in one consumer group, to use so many cores. They need Kafka, InfluxDB and PostgreSQL.",
)
@click.option("--worker", "number", type=click.IntRange(1, MOST_WORKERS), hidden=True, help="Be this one of several; a supervisor says so.")
def run(file: Path | None, inputs: tuple[str, ...], *, exit_at_end: bool, wait_s: float, workers: int, number: int | None) -> int:
    """Run the daemon until SIGTERM or Ctrl-C, or the end of its inputs.

    A first signal stops reading, finishes what was read and exits 0. A second one exits at once and says what was left. SIGHUP reads the
    configuration anew.
    """

    def read() -> Loaded:
        found = draft(locate(file, os.environ), os.environ, read_secrets=True)
        config = with_inputs(found.config, inputs, exit_at_end=exit_at_end)
        return replace(found, config=config if number is None else of_worker(config, number))

    loaded = read()
    problems = check_run(loaded)
    if workers > 1:
        problems += check_workers(loaded, workers)
    if number is None:
        show_problems(problems, err=True)
    if any(problem.severity == "error" for problem in problems):
        show("sentinel run refuses this configuration; correct what is named above", err=True)
        return BAD_CONFIGURATION
    config = loaded.config
    if config.ingestion.files.exit_at_end and not config.ingestion.files.paths:
        raise click.UsageError("--exit-at-end needs an --input, or ingestion.files.paths")
    start_logging(config)
    if number is None:
        show(f"sentinel: {loaded.origin}", err=True)
    else:
        logs.mark(worker=number)
    prepare_numerics(Path(config.state_dir) / "numba")
    if workers > 1:
        supervise(partial(command_of, file, wait_s), workers, os.environ)
        return 0
    from sentinel.app.serve import serve  # noqa: PLC0415  imports numba, which reads the variable set above

    serve(config, reread=read, wait_s=wait_s, leash=None if number is None else sys.stdin.fileno())
    return 0


def command_of(file: Path | None, wait_s: float, number: int) -> list[str]:
    """The command line of a worker."""
    named = [] if file is None else ["--config", str(file)]
    waiting = ["--wait-for-dependencies", str(wait_s)]
    return [sys.executable, "-m", "sentinel.cli.main", "run", *named, *waiting, "--workers", "1", "--worker", str(number)]


def with_inputs(config: Config, inputs: tuple[str, ...], *, exit_at_end: bool) -> Config:
    """The configuration with files added from the command line."""
    files = config.ingestion.files
    files = files.model_copy(update={"paths": [*files.paths, *inputs], "exit_at_end": files.exit_at_end or exit_at_end})
    return config.model_copy(update={"ingestion": config.ingestion.model_copy(update={"files": files})})


def start_logging(config: Config) -> None:
    """Logs to standard error, in the configured form."""
    logs.configure(config.observability.log_level, as_json=config.observability.log_json)


def prepare_numerics(kernels: Path) -> None:
    """Set what numpy and numba read when they are imported, unless the environment has it already. Must come before that.

    One BLAS thread: nothing here multiplies matrices, and idle ones spin. Compiled kernels are kept in `kernels`; those that
    SENTINEL_KERNELS names, made with an image, are taken over first, because numba insists on a directory it may write.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if "NUMBA_CACHE_DIR" in os.environ:
        return
    try:
        for directory in (kernels.parent, kernels):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        if os.environ.get("SENTINEL_KERNELS"):
            take_over(Path(os.environ["SENTINEL_KERNELS"]), kernels)
    except OSError as error:
        raise StartupError(f"cannot make {kernels}: {error.strerror}. Set state_dir to a directory this user may write.") from error
    os.environ["NUMBA_CACHE_DIR"] = str(kernels)


def take_over(origin: Path, target: Path) -> None:
    """Copy files that are missing in `target` or older there; what was compiled since, for this processor, stays. Raises OSError."""
    for file in origin.rglob("*"):
        copy = target / file.relative_to(origin)
        if file.is_file() and (not copy.exists() or copy.stat().st_mtime < file.stat().st_mtime):
            copy.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            unfinished = copy.with_name(copy.name + ".new")
            shutil.copy2(file, unfinished)
            unfinished.replace(copy)
