"""From bytes to a tree of YAML nodes that know their place, within limits. Nothing is constructed but text, lists and mappings.

PyYAML's own composer recurses once a level and stores every node; this one counts both before it goes on, and refuses tags. Its error
texts are not passed on: they quote the file, and what they quote may be a password that begins with `*`, `&` or `!`.
"""

import re
from typing import Final

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from sentinel.config.problems import Position

MAX_BYTES: Final = 1_048_576
MAX_NODES: Final = 20_000
MAX_DEPTH: Final = 16

_FORBIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")
_QUOTE = "A text that begins with %, @, `, *, &, ! or holds `: ` or ` #` needs quotes."


class TreeError(Exception):
    """The bytes are no tree of ours.

    Attributes:
        code: stable name of the rule.
        what: what is wrong, without quoting the file.
        suggestion: what to do.
        position: where; None for the file as a whole.
    """

    def __init__(self, code: str, what: str, suggestion: str, position: Position | None = None) -> None:
        super().__init__(what)
        self.code = code
        self.what = what
        self.suggestion = suggestion
        self.position = position


def position_of(mark: yaml.Mark | None) -> Position | None:
    """A mark as a position, counted from 1."""
    return None if mark is None else Position(mark.line + 1, mark.column + 1)


def parse_tree(raw: bytes) -> Node | None:
    """The root node of the one document in `raw`; None when it is empty. Takes about a second at the size limit.

    Raises:
        TreeError: it is too large, no UTF-8, no YAML, or uses what a configuration has no use for.
    """
    text = _decoded(raw)
    loader = _BoundedLoader(text)
    try:
        return loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        problem = _reworded(error)
    except (yaml.YAMLError, ValueError, OverflowError):  # an escape or a directive with a number beyond any range
        problem = TreeError("not_yaml", "is not YAML", "Look for a `\\U` escape or a `%` directive with an impossible number.")
    finally:
        loader.dispose()
    raise problem


def _decoded(raw: bytes) -> str:
    """The text of the file, checked before PyYAML sees it."""
    if len(raw) > MAX_BYTES:
        raise TreeError("too_large", f"is larger than {MAX_BYTES} bytes", "Remove what is not configuration.")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise TreeError("not_utf8", "is not UTF-8 text", "Save the file as UTF-8.", Position(line, 1)) from None
    if found := _FORBIDDEN.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise TreeError("control_character", "holds a control character", "Remove it.", Position(line, 1))
    return text


def _reworded(error: yaml.MarkedYAMLError) -> TreeError:
    """PyYAML's refusal in our words and with nothing quoted."""
    position = position_of(error.problem_mark or error.context_mark)
    if isinstance(error, _RefusedError):
        return TreeError(error.code, error.what, error.suggestion, position)
    if isinstance(error, yaml.composer.ComposerError) and "single document" in (error.context or ""):
        return TreeError("many_documents", "holds a second document", "Keep one document to a file: remove the `---`.", position)
    if isinstance(error, yaml.composer.ComposerError):
        return TreeError("bad_alias", "holds an alias without its anchor, or an anchor twice", _QUOTE, position)
    suggestion = f"Check the indentation (spaces, no tabs), brackets and quotes up to here. {_QUOTE}"
    return TreeError("not_yaml", "is not YAML", suggestion, position)


class _RefusedError(yaml.MarkedYAMLError):
    """YAML that is well formed and not accepted."""

    def __init__(self, mark: yaml.Mark | None, code: str, what: str, suggestion: str) -> None:
        super().__init__(problem_mark=mark)
        self.code = code
        self.what = what
        self.suggestion = suggestion


class _BoundedLoader(yaml.SafeLoader):
    """Composes nodes only, never objects; stops at the limits."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._count = 0
        self._depth = 0

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        """The next node, aliases counted like any other."""
        event = self.peek_event()  # type: ignore[no-untyped-call]  # types-PyYAML leaves it untyped
        self._count += 1
        self._depth += 1
        if self._count > MAX_NODES or self._depth > MAX_DEPTH:
            what = f"holds more than {MAX_NODES} values or is nested deeper than {MAX_DEPTH} levels"
            raise _RefusedError(event.start_mark, "too_complex", what, "Remove what is not configuration.")
        if getattr(event, "tag", None) is not None:
            raise _RefusedError(event.start_mark, "tag", "holds a tag, and tags are not accepted", f"Remove it. {_QUOTE}")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


__all__ = [
    "MAX_BYTES",
    "MAX_DEPTH",
    "MAX_NODES",
    "MappingNode",
    "Node",
    "ScalarNode",
    "SequenceNode",
    "TreeError",
    "parse_tree",
    "position_of",
]
