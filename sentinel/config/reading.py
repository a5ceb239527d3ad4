"""From YAML nodes to plain values by the schema, collecting every problem on the way instead of stopping at the first."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from sentinel.config.expand import expand
from sentinel.config.named import read_named
from sentinel.config.problems import KeyPath, Position, Problem, Severity, dotted, printable
from sentinel.config.schema import Config
from sentinel.config.secret_files import Fault, look_at, read_secret
from sentinel.config.section import Section
from sentinel.config.shape import Shape, expected, file_keys, shapes_of
from sentinel.config.values import MisfitError, Scalar, ScalarText, read_scalar
from sentinel.config.yaml_tree import MappingNode, Node, ScalarNode, SequenceNode, position_of

MAX_PROBLEMS: Final = 100
_TEXT: Final = Shape("text")

Plain = Scalar | list["Scalar | dict[str, Plain]"] | dict[str, "Plain"]
"""What a section is made of before the models check it: mappings of keys, lists of scalars, scalars of the right type."""


class _Unusable:
    """A node without a usable value; a problem was noted, or its variable is unset."""


_UNUSABLE = _Unusable()


@dataclass
class Reading:
    """One file being read.

    Attributes:
        file: how the file is called in problems.
        base: directory that relative `*_file` paths start from.
        env: environment that variables come from.
        read_secrets: read secret files; else only look whether they are there.
        problems: what was found, at most MAX_PROBLEMS.
        omitted: problems beyond that.
        positions: place of every key and list item that was read.
        unset: keys that hold a variable without a value.
        spoiled: keys whose value was left out because a problem was noted about it.
    """

    file: str
    base: Path
    env: Mapping[str, str]
    read_secrets: bool
    problems: list[Problem] = field(default_factory=list)
    omitted: int = 0
    positions: dict[KeyPath, Position] = field(default_factory=dict)
    unset: set[KeyPath] = field(default_factory=set)
    spoiled: set[KeyPath] = field(default_factory=set)

    def position(self, path: KeyPath) -> Position | None:
        """The place of a key, or of the nearest section around it that stands in the file."""
        while path and path not in self.positions:
            path = path[:-1]
        return self.positions.get(path)

    def note(
        self,
        path: KeyPath,
        code: str,
        what: str,
        suggestion: str,
        *,
        at: Position | None = None,
        severity: Severity = "error",
        blocks_run: bool = False,
    ) -> None:
        """Add a problem about a key. Beyond MAX_PROBLEMS it is only counted."""
        if len(self.problems) >= MAX_PROBLEMS:
            self.omitted += 1
            return
        place = at or self.position(path)
        line, column = (place.line, place.column) if place else (None, None)
        self.problems.append(Problem(self.file, line, column, dotted(path), code, what, suggestion, severity, blocks_run))

    def read_root(self, node: Node | None) -> dict[str, Plain]:
        """The whole file as plain values of known keys."""
        if node is None or (isinstance(node, ScalarNode) and not node.value and node.style is None):
            return {}
        if not isinstance(node, MappingNode):
            self.note((), "wrong_type", "must be keys with values", "Begin with a section such as `ingestion:`.")
            return {}
        return self._read_section(node, Config, ())

    # ------------------------------------------------------------------------------------------------------- sections

    def _read_section(self, node: MappingNode, section: type[Section], path: KeyPath) -> dict[str, Plain]:
        shapes = shapes_of(section)
        plain: dict[str, Plain] = {}
        for key_node, value_node in node.value:
            name = self._key_of(key_node, section, path)
            if name is None:
                continue
            here = (*path, name)
            value = self._read_node(value_node, shapes[name], here)
            if isinstance(value, _Unusable):
                self.spoiled.add(here)
            else:
                plain[name] = value
        self._refer_files(plain, section, path)
        return plain

    def _key_of(self, node: Node, section: type[Section], path: KeyPath) -> str | None:
        """The key's name when the section knows it and it comes for the first time."""
        place = position_of(node.start_mark)
        if not isinstance(node, ScalarNode) or place is None:
            self.note(path, "bad_key", "holds a key that is not text", "Keys are the words of docs/configuration.md.")
            return None
        name = str(node.value)
        here = (*path, name)
        if name not in shapes_of(section):
            self._note_unknown(place, name, section, path)
            return None
        if first := self.positions.get(here):
            what = f"stands here a second time, first in line {first.line}"
            self.note(here, "duplicate_key", what, "Remove one of the two.", at=place)
            return None
        self.positions[here] = place
        return name

    def _note_unknown(self, place: Position, name: str, section: type[Section], path: KeyPath) -> None:
        here = (*path, printable(name))
        if name == "<<":
            self.note(here, "unknown_key", "is a YAML merge key, which is not supported", "Write the keys out.", at=place)
        elif len(self.problems) < MAX_PROBLEMS:
            self.note(here, "unknown_key", "is not a known key", _nearest(printable(name), section), at=place)
        else:
            self.omitted += 1

    def _read_node(self, node: Node, shape: Shape, path: KeyPath) -> Plain | _Unusable:
        if shape.kind in {"section", "named"}:
            return self._read_subsection(node, shape, path)
        if shape.item is not None:
            return self._read_list(node, shape, shape.item, path)
        return self._read_value(node, shape, path)

    def _read_subsection(self, node: Node, shape: Shape, path: KeyPath) -> Plain | _Unusable:
        if isinstance(node, MappingNode):
            return read_named(self, node, path) if shape.section is None else self._read_section(node, shape.section, path)
        scalar = _scalar_text(node)
        if scalar is not None and scalar.is_null:
            return None if shape.nullable else {}
        if scalar is not None and scalar.is_empty:
            if not shape.nullable:
                return {}
            self.note(path, "empty_section", "is empty", "Give its keys, write `{}` for its defaults, or remove it.")
            return _UNUSABLE
        return self._misfit(path, MisfitError(), shape)

    # ---------------------------------------------------------------------------------------------------------- values

    def read_texts(self, node: Node, path: KeyPath) -> Plain:
        """A text, or a list of texts, whatever they look like; None when it is neither, which is noted."""
        is_list = isinstance(node, SequenceNode)
        value = self._read_list(node, Shape("list", item=_TEXT), _TEXT, path) if is_list else self._read_value(node, _TEXT, path)
        if isinstance(value, _Unusable):
            self.spoiled.add(path)
            return None
        return value

    def _read_list(self, node: Node, shape: Shape, item: Shape, path: KeyPath) -> Plain | _Unusable:
        if not isinstance(node, SequenceNode):
            return self._misfit(path, MisfitError(), shape)
        values: list[Scalar | dict[str, Plain]] = []
        for index, item_node in enumerate(node.value):
            here = (*path, index)
            place = position_of(item_node.start_mark)
            if place is not None:
                self.positions[here] = place
            value = self._read_item(item_node, item, here)
            if not isinstance(value, _Unusable):
                values.append(value)
            elif here not in self.unset:
                self.spoiled.add(path)
        return values

    def _read_item(self, node: Node, item: Shape, path: KeyPath) -> Scalar | dict[str, Plain] | _Unusable:
        """One item of a list: a section, or a value."""
        if item.section is None:
            return self._read_value(node, item, path, keep_unset=item.kind == "text")
        return self._read_section(node, item.section, path) if isinstance(node, MappingNode) else self._misfit(path, MisfitError(), item)

    def _read_value(self, node: Node, shape: Shape, path: KeyPath, *, keep_unset: bool = False) -> Scalar | _Unusable:
        scalar = _scalar_text(node)
        if scalar is None:
            return self._misfit(path, MisfitError(), shape)
        expanded = expand(scalar.text, self.env)
        if expanded.malformed:
            suggestion = "Write `${NAME}` or `${NAME:-default}` (no variable inside the default), or `$${` for the two characters."
            return self._misfit(path, MisfitError("holds a `${` that begins no variable", suggestion), shape)
        if expanded.unset:
            self._note_unset(path, expanded.unset)
            return scalar.text if keep_unset else _UNUSABLE
        scalar = replace(scalar, text=expanded.text)
        if expanded.from_environment:
            scalar = replace(scalar, plain=False, typed=True)
        try:
            return read_scalar(scalar, shape)
        except MisfitError as misfit:
            return self._misfit(path, misfit, shape)

    def _note_unset(self, path: KeyPath, names: tuple[str, ...]) -> None:
        self.unset.add(path)
        which = ", ".join(printable(name) for name in names)
        suggestion = f"Set {which}, or give a default as in `${{NAME:-default}}`, or remove the key."
        self.note(path, "unset_variable", f"needs {which}, which is not set", suggestion, severity="warning", blocks_run=True)

    def _misfit(self, path: KeyPath, misfit: MisfitError, shape: Shape) -> _Unusable:
        what = misfit.what or f"must be {expected(shape)}"
        self.note(path, "wrong_type", what, misfit.suggestion or "Correct the value, or remove the key for its default.")
        return _UNUSABLE

    # ----------------------------------------------------------------------------------------------------------- files

    def _refer_files(self, plain: dict[str, Plain], section: type[Section], path: KeyPath) -> None:
        """Make the `*_file` paths of a section absolute, look at the files, and read the secrets among them."""
        secrets = {file_key: key for key, file_key in file_keys(section).items()}
        for name in shapes_of(section):
            value = plain.get(name)
            if not name.endswith("_file") or not isinstance(value, str):
                continue
            target = self.base / value
            plain[name] = str(target)
            self._refer_file((*path, name), target, plain, secrets.get(name))

    def _refer_file(self, path: KeyPath, target: Path, plain: dict[str, Plain], secret_key: str | None) -> None:
        if secret_key is not None and (plain.get(secret_key) is not None or (*path[:-1], secret_key) in self.spoiled):
            self.note(path, "secret_twice", f"is set, and so is {secret_key}", "Keep one of them.")
            return
        faults = look_at(target, secret=secret_key is not None)
        for fault in faults:
            self._note_fault(path, fault)
        if secret_key is None or not self.read_secrets or any(fault.severity == "error" for fault in faults):
            return
        secret = read_secret(target)
        if isinstance(secret, Fault):
            self._note_fault(path, secret)
        else:
            plain[secret_key] = secret

    def _note_fault(self, path: KeyPath, fault: Fault) -> None:
        """A file that is missing is an error to who wants its content; to who only validates, a warning: it may be on another machine."""
        missing = fault.severity == "error"
        severity: Severity = "error" if missing and self.read_secrets else "warning"
        self.note(path, fault.code, fault.what, fault.suggestion, severity=severity, blocks_run=missing)


def _scalar_text(node: Node) -> ScalarText | None:
    if not isinstance(node, ScalarNode):
        return None
    plain = node.style is None
    return ScalarText(node.value, plain=plain, typed=plain)


def _nearest(name: str, section: type[Section]) -> str:
    """A sentence that names the most similar key of the section, or the section where the key belongs, or the keys there are."""
    known = list(shapes_of(section))
    if similar := difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.6):
        return f"Did you mean `{similar[0]}`?"
    if elsewhere := [dotted(path) for path in known_keys(Config) if path[-1] == name][:3]:
        return f"It belongs at {' or '.join(f'`{key}`' for key in elsewhere)}."
    return f"Known here: {', '.join(known)}."


def known_keys(section: type[Section], path: KeyPath = ()) -> list[KeyPath]:
    """Paths of all keys below a section, sections among them, in the order of the schema."""
    found: list[KeyPath] = []
    for name, shape in shapes_of(section).items():
        found.append((*path, name))
        if shape.section is not None:
            found += known_keys(shape.section, (*path, name))
    return found
