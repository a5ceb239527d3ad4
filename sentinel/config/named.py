"""Parts of the file whose keys are no words of ours: names, each with parameters that only what is named knows."""

import re
from typing import TYPE_CHECKING, Final

from sentinel.config.problems import KeyPath
from sentinel.config.yaml_tree import MappingNode, Node, ScalarNode, position_of

if TYPE_CHECKING:
    from sentinel.config.reading import Plain, Reading

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")


def read_named(reading: "Reading", node: MappingNode, path: KeyPath) -> "dict[str, Plain]":
    """Name -> parameter -> text, or list of texts, of everything that could be read; the rest is noted."""
    named: dict[str, Plain] = {}
    for name, below, here in _entries(reading, node, path):
        if isinstance(below, MappingNode):
            texts = {key: reading.read_texts(value, at) for key, value, at in _entries(reading, below, here)}
            named[name] = {key: text for key, text in texts.items() if text is not None}
        elif isinstance(below, ScalarNode) and below.value in {"", "~", "null"} and below.style is None:
            named[name] = {}
        else:
            reading.note(here, "wrong_type", "must be parameters with values", "Give its parameters, or write `{}`.")
            reading.spoiled.add(here)
    return named


def _entries(reading: "Reading", node: MappingNode, path: KeyPath) -> list[tuple[str, Node, KeyPath]]:
    """Name, value and path of each entry whose key is a name that comes for the first time."""
    entries = []
    for key_node, value_node in node.value:
        place = position_of(key_node.start_mark)
        name = str(key_node.value) if isinstance(key_node, ScalarNode) else ""
        here = (*path, name)
        if not _NAME.fullmatch(name) or place is None:
            reading.note(path, "bad_key", "holds a key that is no name", "Names are lower-case letters, digits and `_`.", at=place)
        elif first := reading.positions.get(here):
            what = f"stands here a second time, first in line {first.line}"
            reading.note(here, "duplicate_key", what, "Remove one of the two.", at=place)
        else:
            reading.positions[here] = place
            entries.append((name, value_node, here))
    return entries
