"""The `detection.plugins` section: which detectors of others run, and with which parameters.

What a parameter means only the detector knows, so the values are kept as they were written; `sentinel.config.plugins` reads them by the
detector's own `Parameters`.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Final

from pydantic import Field, WithJsonSchema

from sentinel.config.section import Section

MAX_PLUGINS: Final = 32
"""Detectors of others that can run in one daemon."""

PluginName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
"""A detector's name: that of its entry point."""

Given = Annotated[str, WithJsonSchema({"type": ["string", "number", "boolean"]})]
"""A value as it stands in the file."""

Plugins = Annotated[dict[PluginName, dict[PluginName, Given | list[Given]]], Field(max_length=MAX_PLUGINS)]
"""Detector -> parameter -> value."""

Values = Mapping[str, str | Sequence[str]]
"""Parameter -> value, of one detector."""


class Parameters(Section):
    """Base of a detector's parameters: unknown ones are errors, values do not change, infinity and NaN are refused.

    Each is a field with a type, a default, its limits and one sentence: `int`, `float`, `bool`, `str`, a `Literal` of words, or a list of
    texts or words. They are no place for secrets: a detector reaches nothing that would ask for one.
    """
