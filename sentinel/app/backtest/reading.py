"""Going over the past once, for several configurations side by side."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from sentinel.app.backtest.inputs import BacktestError, Input, Part, Span
from sentinel.app.backtest.replay import Found, Replay
from sentinel.app.backtest.sieve import Account, Sieve
from sentinel.config.schema import Config
from sentinel.core.delivery import Delivery
from sentinel.core.timestamp import rfc3339

Progress = Callable[[float], None]
"""Takes the share of the input that is done, 0 to 1."""


class Watcher(Protocol):
    """Who looks at what a configuration finds."""

    def see(self, found: Found) -> None:
        """Called for all that is found, in log order."""
        ...


@dataclass(frozen=True, slots=True)
class Trial:
    """A configuration, checked by the caller, and who looks at what it finds."""

    config: Config
    watchers: Sequence[Watcher]


@dataclass(frozen=True, slots=True)
class Past:
    """What is gone over.

    Attributes:
        source: where events come from.
        span: event times that count.
        end_ns: event time up to which the logs are known, when that is later than the last event; None when nobody knows.
        key: makes pseudonyms.
    """

    source: Input
    span: Span
    end_ns: int | None
    key: bytes


def go_over(past: Past, trials: Sequence[Trial], progress: Progress, every_ns: int | None = None) -> list[Account]:
    """Take the past through every trial, once; those that clean alike share that work.

    Args:
        past: where it is.
        trials: who is taken through it.
        progress: told how far it has come.
        every_ns: event time after which watchers look again at the latest; None to leave that to the batches.

    Returns:
        For each trial, what became of everything that was read.

    Raises BacktestError when there is nothing to judge, and what the input raises.
    """
    sieves: list[Sieve] = []
    runs = []
    for trial in trials:
        sieve = next((sieve for sieve in sieves if sieve.fits(trial.config)), None)
        if sieve is None:
            sieve = Sieve(trial.config, past.span, past.key)
            sieves.append(sieve)
        runs.append((trial, sieve, Replay(trial.config, every_ns)))
    for part in past.source.parts():
        cleaned = {id(sieve): sieve.clean(part) for sieve in sieves}
        for trial, sieve, replay in runs:
            _show(trial, replay.see(cleaned[id(sieve)], _next_offset(part)))
        progress(part.read)
    for trial, sieve, replay in runs:
        last_ns = sieve.account.last_ns
        if last_ns is None:
            raise BacktestError(_nothing(past, sieve.account))
        _show(trial, replay.end(max(last_ns, past.end_ns or last_ns)))
    return [sieve.account for _, sieve, _ in runs]


def _show(trial: Trial, found: Iterable[Found]) -> None:
    for one in found:
        for watcher in trial.watchers:
            watcher.see(one)


def _next_offset(part: Part) -> int:
    return part.events.next_offset if isinstance(part.events, Delivery) else int(part.events.offsets[-1]) + 1


def _nothing(past: Past, account: Account) -> str:
    """Why there is nothing to judge, and what to do."""
    if account.outside_ns is not None:
        low, high = map(rfc3339, account.outside_ns)
        return f"no event of {past.source.name} lies within {past.span}: they lie between {low} and {high}. Correct --from and --to."
    if account.timeless:
        return (
            f"no event of {past.source.name} has a timestamp, so nobody knows when they were. "
            "Give events a `timestamp`, or read the Kafka topic, whose records have times of their own."
        )
    if account.rejected:
        return f"no record of {past.source.name} can be an event: {account.first_reject}. See docs/events.md for what is accepted."
    return f"{past.source.name} holds no events within {past.span}. Check that it is the right place, and --from and --to."
