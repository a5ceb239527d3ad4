"""One detector of others in one partition: asked, held to the rules of the port, and switched off when it fails.

A detector that raises is switched off for the partition until it is assigned anew. What it answers is held against the rules of `Finding`;
what breaks one is left out and counted. So no detector can stop events from being stored, or put anything into an anomaly that is not a
finite number or a bounded text. It is code that its operator chose, though: one that never returns holds its partition up.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from traceback import extract_tb
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from sentinel.config.plugins import Plugin
from sentinel.config.problems import printable
from sentinel.core.detector import Detector, DetectorBatch, Finding, checked

BURST: Final = 1_000
"""Findings of one detector that are taken at once. A detector that has more to say is broken, and people would read none of it."""
EVENTS_PER_FINDING: Final = 10
"""Events after which one more is taken. Counted in events and not in batches, so that what is left out does not depend on the cut."""

_NAME = re.compile(r"[a-z0-9_]{1,64}")

Tables = dict[str, npt.NDArray[Any]]


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong with a detector in a partition.

    Attributes:
        plugin: the detector.
        kind: `raised` switched it off; `restore` made it start anew; `refused` and `surplus` left findings out.
        what: the first of its kind, in a few words.
        offset: where in the log that was, at or just after it.
        count: how often.
    """

    plugin: str
    kind: str
    what: str
    offset: int
    count: int


class PluginRun:
    """One detector in one partition, and what has gone wrong with it.

    Args:
        plugin: the detector.

    Attributes:
        name: the detector's.
        failures: by kind.
    """

    def __init__(self, plugin: Plugin) -> None:
        self.name = plugin.name
        self.failures: dict[str, Failure] = {}
        self._make = plugin.make
        self._detector: Detector | None = None
        self._room = BURST * EVENTS_PER_FINDING
        """Room for findings, in events, as of the event numbered `_at`."""
        self._at = 0
        self._begin()

    @property
    def is_on(self) -> bool:
        """Whether it has not been switched off."""
        return self._detector is not None

    def observe(self, batch: DetectorBatch, offset: int, first: int) -> list[Finding]:
        """Its findings that keep the rules, by event.

        Args:
            batch: the events.
            offset: of the last one, for failures.
            first: number of the first one in the partition.
        """
        answer = self._asked(lambda detector: list(detector.observe(batch)), offset)
        findings = self._kept(answer, len(batch), len(batch.names), offset)
        return [finding for finding in findings if self._has_room(first + finding.event + 1, offset)]

    def mark(self, now_ns: int, offset: int, series: int, seen: int) -> list[Finding]:
        """The same at a time mark, after `seen` events of so many series."""
        answer = self._asked(lambda detector: list(detector.mark(now_ns)), offset)
        return [finding for finding in self._kept(answer, 0, series, offset) if self._has_room(seen, offset)]

    def export(self, offset: int) -> Tables:
        """Its state and its room, by name; nothing when it is switched off."""
        state = self._asked(
            lambda detector: [(self._prefix + _word(name), _numbers(array)) for name, array in detector.export().items()], offset
        )
        return dict(state) | ({f"plugin/{self.name}": np.array([self._room, self._at])} if self.is_on else {})

    def load(self, tables: Mapping[str, npt.NDArray[Any]]) -> None:
        """Go on from tables that may hold something of it."""
        room = tables.get(f"plugin/{self.name}")
        if room is None or self._detector is None:
            return
        state = {name.removeprefix(self._prefix): array for name, array in tables.items() if name.startswith(self._prefix)}
        try:
            self._detector.load(state)
            self._room, self._at = (int(number) for number in room)
        except BaseException as error:  # noqa: BLE001  others' code: whatever it is, it starts anew
            _let_through(error)
            self.fail("restore", f"starts anew: {_told(error)}", 0)
            self._begin()

    def fail(self, kind: str, what: str, offset: int) -> None:
        """Remember a failure; only the first of its kind in words."""
        first = self.failures.get(kind) or Failure(plugin=self.name, kind=kind, what=what, offset=offset, count=0)
        self.failures[kind] = msgspec.structs.replace(first, count=first.count + 1)

    @property
    def _prefix(self) -> str:
        return f"plugin/{self.name}/"

    def _begin(self) -> None:
        """Without any state."""
        try:
            self._detector = self._make()
        except BaseException as error:  # noqa: BLE001  as in `_asked`
            self._switch_off(error, 0)

    def _asked(self, ask: Callable[[Detector], list[Any]], offset: int) -> list[Any]:
        """What the detector answers; nothing, and never asked again, when it raises."""
        if self._detector is None:
            return []
        try:
            return ask(self._detector)
        except BaseException as error:  # noqa: BLE001  others' code: even an exit or a cancellation stops no more than the detector
            self._switch_off(error, offset)
            return []

    def _switch_off(self, error: BaseException, offset: int) -> None:
        _let_through(error)
        self._detector = None
        self.fail("raised", f"switched off until the partition is assigned anew: {_told(error)}", offset)

    def _kept(self, answer: Sequence[object], events: int, series: int, offset: int) -> list[Finding]:
        """The findings that keep the rules, in an order of their own: by event, series and metric."""
        kept = []
        for finding in answer:
            try:
                kept.append(checked(finding, events, series))
            except ValueError as error:
                self.fail("refused", f"a finding was left out: {error}", offset)
        return sorted(kept, key=lambda finding: (finding.event, finding.series, finding.metric))

    def _has_room(self, at: int, offset: int) -> bool:
        """Whether a finding is taken when `at` events have been seen."""
        self._room = min(BURST * EVENTS_PER_FINDING, self._room + at - self._at)
        self._at = at
        if self._room < EVENTS_PER_FINDING:
            self.fail("surplus", f"findings were left out: more than {BURST:,} at once, then one in {EVENTS_PER_FINDING} events", offset)
            return False
        self._room -= EVENTS_PER_FINDING
        return True


def _word(name: object) -> str:
    """A name that a checkpoint can hold. Raises TypeError when it is none."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise TypeError("export gave an array a name that is not a short word of a-z, 0-9 and _")
    return name


def _numbers(array: object) -> npt.NDArray[Any]:
    """An array that a checkpoint can hold. Raises TypeError when it is none."""
    if not isinstance(array, np.ndarray) or array.dtype.hasobject:
        raise TypeError("export gave something that is not an array of numbers")
    return array


def _let_through(error: BaseException) -> None:
    """Ctrl-C is the operator's, not the detector's."""
    if isinstance(error, KeyboardInterrupt):
        raise error


def _told(error: BaseException) -> str:
    """An error in a few words, with the line that raised it."""
    frames = extract_tb(error.__traceback__)
    where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}: {printable(str(error), 200)}{where}"
