"""An event loop without a real clock: time jumps to the next timer, and a seed decides who goes first. The same seed, the same run.

What runs on it must use no thread, no socket and no clock but this loop's. Work for executors runs on the loop itself, later, in the order
it was given for an executor and in any order for `asyncio.to_thread`.

Processes are simulated by a context variable that tasks and timers inherit: a process can be frozen for a while, or killed, which cuts it
off from everything that asks `alive` and ends its tasks.
"""

import asyncio
import heapq
import random
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar, TypeVarTuple
from weakref import WeakValueDictionary

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

PROCESS: Final[ContextVar[str]] = ContextVar("PROCESS", default="")
"""The simulated process that code runs in; empty for the world around."""

MOST_STEPS: Final = 5_000_000
"""So many callbacks in one run mean that somebody goes round in circles."""


class StuckError(RuntimeError):
    """Nothing will ever happen any more, or nothing but going round in circles."""


@dataclass(slots=True)
class _Job:
    """A call for an executor, and who waits for it."""

    future: "asyncio.Future[Any]"
    call: Callable[[], Any]


@dataclass(slots=True)
class _Lane:
    """The jobs of one executor, one after the other."""

    waiting: "deque[_Job]" = field(default_factory=deque)
    busy: bool = False


class VirtualLoop(asyncio.BaseEventLoop):
    """An asyncio event loop of virtual time.

    Args:
        seed: decides the order of what is ready at the same time, and how long executors take.

    Attributes:
        work_s: how long the next call of an executor takes, in virtual seconds.
        steps: callbacks run so far.
        failures: what nobody caught.

    >>> loop = VirtualLoop(1)
    >>> loop.run_until_complete(asyncio.sleep(3600, "an hour later")), loop.time()
    ('an hour later', 3600.0)
    >>> loop.close()
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._random = random.Random(seed)  # noqa: S311  the order of things, not a secret
        self._now_s = 0.0
        self._number = 0
        self._timers: list[tuple[float, int, str, asyncio.TimerHandle]] = []
        self._runnable: list[tuple[str, asyncio.Handle]] = []
        self._frozen: dict[str, list[tuple[str, asyncio.Handle]]] = {}
        self._dead: set[str] = set()
        self._tasks: dict[str, WeakValueDictionary[int, asyncio.Task[Any]]] = {}
        self._lanes: dict[Executor, _Lane] = {}
        self.work_s: Callable[[], float] = lambda: self._random.uniform(0.0001, 0.002)
        self.steps = 0
        self.failures: list[dict[str, Any]] = []
        self.set_task_factory(self._new_task)
        self.set_exception_handler(lambda _, failure: self.failures.append(failure))

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now_s

    # ------------------------------------------------------------------------------------------------------ processes

    def freeze(self, process: str) -> None:
        """Let nothing of a process run until `thaw`."""
        self._frozen.setdefault(process, [])

    def thaw(self, process: str) -> None:
        """Let a frozen process go on; all its timers that are due ring at once."""
        self._runnable += self._frozen.pop(process, [])

    def alive(self, process: str | None = None) -> bool:
        """Whether a process was not killed; None is the one that asks."""
        return (PROCESS.get() if process is None else process) not in self._dead

    async def kill(self, process: str) -> None:
        """End all tasks of a process. What they do on their way out must not get past `alive`."""
        self._dead.add(process)
        self.thaw(process)
        while tasks := [task for _, task in sorted(self._tasks.get(process, {}).items()) if not task.done()]:
            for task in tasks:
                task.cancel()
            await asyncio.sleep(0)
        self._tasks.pop(process, None)

    def _new_task(self, loop: asyncio.AbstractEventLoop, coro: Any, *, context: Context | None = None) -> "asyncio.Task[Any]":  # noqa: ANN401  asyncio's own type
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=loop, context=context)
        self._number += 1
        self._tasks.setdefault(_process_of(context), WeakValueDictionary())[self._number] = task
        return task

    # ------------------------------------------------------------------------------------------------------ callbacks

    def call_soon(self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None) -> asyncio.Handle:
        """Run a callback in one of the next rounds, before time moves."""
        handle = asyncio.Handle(callback, args, self, context)
        self._runnable.append((_process_of(context), handle))
        return handle

    call_soon_threadsafe = call_soon

    def call_at(self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None) -> asyncio.TimerHandle:
        """Run a callback at a virtual time."""
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._number += 1
        heapq.heappush(self._timers, (when, self._number, _process_of(context), handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Nothing to count: a cancelled timer is dropped when its time comes."""

    def _run_once(self) -> None:
        """One round: everything that is ready, in an order that the seed decides; without any, time moves to the next timer."""
        if not self._runnable:
            self._wait()
        ready, self._runnable = self._runnable, []
        self._random.shuffle(ready)
        for process, handle in ready:
            if handle.cancelled():
                continue
            if process in self._frozen:
                self._frozen[process].append((process, handle))
                continue
            self.steps += 1
            handle._run()  # noqa: SLF001  what every event loop calls
        if self.steps > MOST_STEPS:
            raise StuckError(f"{self.steps} callbacks and no end, at {self._now_s:.3f} s")

    def _wait(self) -> None:
        while self._timers and not self._runnable:
            when = self._timers[0][0]
            self._now_s = max(self._now_s, when) if not self._timers[0][3].cancelled() else self._now_s
            while self._timers and self._timers[0][0] <= when:
                _, _, process, handle = heapq.heappop(self._timers)
                if not handle.cancelled():
                    self._runnable.append((process, handle))
        if not self._runnable and not self.is_stopping():
            raise StuckError(f"every task waits for another one, at {self._now_s:.3f} s")

    def is_stopping(self) -> bool:
        """Whether `stop` was called."""
        return bool(getattr(self, "_stopping", False))

    # ------------------------------------------------------------------------------------------------------ executors

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> "asyncio.Future[T]":
        """Run a call on the loop, `work_s` later, behind everything this executor was given before. None is as many threads as it takes."""
        job = _Job(self.create_future(), lambda: func(*args))
        lane = _Lane() if executor is None else self._lanes.setdefault(executor, _Lane())
        lane.waiting.append(job)
        if not lane.busy:
            self._begin(lane)
        return job.future

    def _begin(self, lane: _Lane) -> None:
        while lane.waiting:
            job = lane.waiting.popleft()
            if not job.future.cancelled():  # as with real threads: what has not begun can be called off
                lane.busy = True
                self.call_later(self.work_s(), self._finish, lane, job)
                return
        lane.busy = False

    def _finish(self, lane: _Lane, job: _Job) -> None:
        try:
            result = job.call()
        except asyncio.CancelledError:  # the process was killed meanwhile
            job.future.cancel()
        except Exception as error:  # noqa: BLE001  whoever waits for it gets it
            if not job.future.cancelled():
                job.future.set_exception(error)
        else:
            if not job.future.cancelled():
                job.future.set_result(result)
        self._begin(lane)

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109  asyncio's own signature
        """There are no threads."""


def _process_of(context: Context | None) -> str:
    return PROCESS.get() if context is None else context.get(PROCESS, "")


def in_process(name: str) -> Context:
    """A context whose tasks belong to a process of this name."""
    context = copy_context()
    context.run(PROCESS.set, name)
    return context
