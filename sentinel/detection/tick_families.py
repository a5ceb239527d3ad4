"""Families: which series may borrow from each other when one is new, by model and by provider."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from sentinel.core.batch import SeriesKey

MOST_FAMILIES: Final = 512
"""Models and providers with priors of their own; the series of further ones borrow from all."""


class Families:
    """Numbers of models and providers; 0 is the family of all series."""

    __slots__ = ("_numbers",)

    def __init__(self) -> None:
        self._numbers: dict[tuple[str, str], int] = {}

    def of(self, series: SeriesKey, provider: str | None) -> tuple[int, int]:
        """The families of a series: of its model and of its provider.

        >>> Families().of(SeriesKey("default", "chat", "m"), None)
        (1, 0)
        """
        return self._number("model", series.model), 0 if provider is None else self._number("provider", provider)

    def _number(self, kind: str, name: str) -> int:
        known = self._numbers.get((kind, name))
        if known is None and len(self._numbers) + 1 < MOST_FAMILIES:
            known = self._numbers[kind, name] = len(self._numbers) + 1
        return known or 0

    def tables(self) -> dict[str, npt.NDArray[Any]]:
        """What a checkpoint keeps."""
        names: Sequence[tuple[str, str]] = list(self._numbers)
        return {"families_names": np.frombuffer(msgspec.json.encode(names), np.uint8)}

    def load(self, tables: dict[str, npt.NDArray[Any]]) -> None:
        """Become what `tables` was taken of. Raises KeyError or msgspec.MsgspecError when they do not fit."""
        names = msgspec.json.decode(tables["families_names"].tobytes(), type=list[tuple[str, str]])
        self._numbers = {name: at + 1 for at, name in enumerate(names[: MOST_FAMILIES - 1])}
