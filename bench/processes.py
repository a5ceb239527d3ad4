"""The processes of the benchmark: each consumer, producer and server in one of its own, none of which outlives us or the time limit."""

import json
import os
import resource
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

from tools.servers import process
from tools.servers.process import ServerProcess

ROOT: Final = Path(__file__).resolve().parents[1]
LIMIT_S: Final = 470.0
"""The whole benchmark ends within this, in seconds."""

_GUARD: Final = Path(process.__file__).with_name("guard.py")
_began = time.monotonic()


class BenchError(Exception):
    """Something could not be measured, or what was measured is not what it should be."""


def prepare_environment() -> None:
    """What children inherit: where kernels are kept, and one BLAS thread, as `sentinel run` sets it."""
    os.environ.setdefault("NUMBA_CACHE_DIR", str(ROOT / ".numba_cache"))
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def left_s() -> float:
    """Seconds until the time limit."""
    return _began + LIMIT_S - time.monotonic()


def dot() -> None:
    """Something has been done."""
    print(".", end="", file=sys.stderr, flush=True)


class Child:
    """`python -m bench.MODULE ARGUMENTS`, which writes lines to its standard output, the last of them its figures as JSON.

    Leaving the block kills it, should it still run.
    """

    def __init__(self, module: str, *arguments: object) -> None:
        self._name = f"bench.{module}"
        command = [sys.executable, "-m", f"bench.{module}", *map(str, arguments)]
        self._guard = subprocess.Popen(  # noqa: S603  our own files
            [sys.executable, "-I", "-S", str(_GUARD), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            start_new_session=True,
        )
        self._rest = b""

    def wait_line(self, within_s: float = 60.0) -> str:
        """Its next line. Raises BenchError when it ends, or the time is over, before there is one."""
        deadline = time.monotonic() + min(within_s, max(left_s(), 0.0))
        out = _pipe(self._guard.stdout)
        while b"\n" not in self._rest:
            ready, _, _ = select.select([out], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise BenchError(f"{self._name}: nothing within {within_s:.0f} s")
            more = os.read(out.fileno(), 65_536)
            if not more:
                raise BenchError(f"{self._name}: ended with code {self._guard.wait()}")
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()

    def result(self, within_s: float = 120.0) -> dict[str, Any]:
        """Its figures. Raises BenchError as `wait_line`."""
        found: dict[str, Any] = json.loads(self.wait_line(within_s))
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        _pipe(self._guard.stdin).close()  # the guard then kills the whole group
        self._guard.wait()
        _pipe(self._guard.stdout).close()


def figures_of(module: str, *arguments: object, within_s: float = 120.0) -> dict[str, Any]:
    """Run a child to its end; its figures."""
    with Child(module, *arguments) as child:
        return child.result(within_s)


def tell(figures: dict[str, Any]) -> None:
    """In a child: hand the figures to whoever started it."""
    print(json.dumps(figures), flush=True)


@contextmanager
def server(name: str, command: Sequence[str], port: int, directory: Path) -> Iterator[None]:
    """A server of ours on a port, started and stopped."""
    log = directory / f"{name.replace(' ', '-')}.log"
    running = ServerProcess(name, [sys.executable, *command], log=log, environment={"PYTHONPATH": str(ROOT)})
    running.start(lambda: _listens(port))
    try:
        yield
    finally:
        running.stop(timeout_s=15)


def rss_mb(pid: int | None = None) -> float:
    """Resident memory of a process, our own by default, in MiB."""
    pages = Path(f"/proc/{pid or 'self'}/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * resource.getpagesize() / 2**20


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
