"""A check and what it finds; all of them at once, each within its time."""

import asyncio
import concurrent.futures
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, TypeVar

from sentinel.config.schema import Config
from sentinel.core.errors import SentinelError

T = TypeVar("T")

LIMIT_S: Final = 5.0
"""Seconds one check may take."""


class Status(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        status: failed when the daemon would not start or not work with it.
        subject: what was looked at, in a word or two.
        what: what was found; never a secret.
        cure: what to do, as full sentences; empty when all is well.
    """

    status: Status
    subject: str
    what: str
    cure: str = ""


def ok(subject: str, what: str) -> Finding:
    """All is well."""
    return Finding(Status.OK, subject, what)


def warning(subject: str, what: str, cure: str) -> Finding:
    """It works, and somebody should look."""
    return Finding(Status.WARNING, subject, what, cure)


def failed(subject: str, what: str, cure: str) -> Finding:
    """It does not work."""
    return Finding(Status.FAILED, subject, what, cure)


@dataclass(frozen=True, slots=True)
class Check:
    """What is looked at together.

    Attributes:
        name: for the progress line; also the subject of what goes wrong with the check itself.
        run: looks, and changes nothing. A SentinelError it raises is a failure in our own words.
        applies: whether the configuration names this dependency.
        limit_s: seconds it may take.
    """

    name: str
    run: Callable[[Config], Awaitable[Sequence[Finding]]]
    applies: Callable[[Config], bool] = lambda _config: True
    limit_s: float = LIMIT_S


async def examine(checks: Iterable[Check], config: Config) -> AsyncIterator[tuple[Check, Sequence[Finding]]]:
    """Run all checks that apply at once; each with its findings, in the order they end.

    Whatever a check raises, and a check that takes too long, is a failed finding.
    """
    tasks = [asyncio.create_task(_bounded(check, config)) for check in checks if check.applies(config)]
    for done in asyncio.as_completed(tasks):
        yield await done


async def _bounded(check: Check, config: Config) -> tuple[Check, Sequence[Finding]]:
    try:
        async with asyncio.timeout(check.limit_s):
            return check, await check.run(config)
    except TimeoutError:
        cure = "Check that it runs, and that firewalls let this machine reach it."
        return check, [failed(check.name, f"no answer within {check.limit_s:g} s", cure)]
    except SentinelError as error:
        return check, [_in_our_words(check.name, error)]
    except Exception as error:  # noqa: BLE001  one check that fails must not hide the others, and its text may quote a secret
        return check, [failed(check.name, f"the check itself failed: {type(error).__name__}", "Report it: this is a defect of ours.")]


def _in_our_words(name: str, error: SentinelError) -> Finding:
    """Our messages say what, then the cure."""
    what, _, cure = str(error).partition(". ")
    return failed(name, what.removesuffix("."), cure or "See docs/operations.md.")


def worst(findings: Iterable[Finding]) -> Status:
    """The worst status of all; ok when there are none."""
    order = list(Status)
    return max((finding.status for finding in findings), key=order.index, default=Status.OK)


def named(name: str, findings: Iterable[Finding]) -> list[Finding]:
    """The findings with a name before their subjects."""
    return [replace(finding, subject=f"{name} {finding.subject}") for finding in findings]


async def in_thread(work: Callable[[], T]) -> T:
    """The outcome of blocking work, on a thread that nobody waits for at the end: a file system that hangs must not hang the program."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        worked: concurrent.futures.Future[T] = concurrent.futures.Future()
        try:
            worked.set_result(work())
        except Exception as error:  # noqa: BLE001  it is raised where the outcome is awaited
            worked.set_exception(error)
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_hand_over, worked, outcome)

    threading.Thread(target=run, daemon=True, name="doctor").start()
    return await outcome


def _hand_over(worked: "concurrent.futures.Future[T]", outcome: "asyncio.Future[T]") -> None:
    if outcome.done():
        return
    error = worked.exception()
    if error is not None:
        outcome.set_exception(error)
    else:
        outcome.set_result(worked.result())
