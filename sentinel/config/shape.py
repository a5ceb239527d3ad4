"""What a key of the schema accepts, read off the models once: the loader reads values by it, messages and documents describe it."""

from dataclasses import dataclass
from functools import cache
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from sentinel.config.secret import Secret
from sentinel.config.section import Section

Kind = Literal["section", "secret", "text", "whole", "number", "bool", "choice", "list", "named"]
_KINDS: dict[type, Kind] = {Secret: "secret", str: "text", int: "whole", float: "number", bool: "bool"}


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a number or of a list's length, as the schema states them."""

    at_least: float | None = None
    more_than: float | None = None
    at_most: float | None = None
    min_length: int | None = None
    pattern: str | None = None


@dataclass(frozen=True, slots=True)
class Shape:
    """One key.

    Attributes:
        kind: what it accepts.
        nullable: it may be null, which is the same as leaving it out when that is its default.
        required: it has no default.
        limits: bounds of the value.
        choices: the words a choice accepts.
        section: the model of a section.
        item: the shape of a list's items.
    """

    kind: Kind
    nullable: bool = False
    required: bool = False
    limits: Limits = Limits()
    choices: tuple[str, ...] = ()
    section: type[Section] | None = None
    item: "Shape | None" = None


@cache
def shapes_of(section: type[Section]) -> dict[str, Shape]:
    """Shapes of a section's keys, in the order of the schema."""
    return {name: _of_field(field) for name, field in section.model_fields.items()}


def file_keys(section: type[Section]) -> dict[str, str]:
    """Secret key -> the key that names a file to read it from, of one section."""
    shapes = shapes_of(section)
    return {name: f"{name}_file" for name, shape in shapes.items() if shape.kind == "secret" and f"{name}_file" in shapes}


def expected(shape: Shape) -> str:
    """What a key accepts, as the end of "must be ...".

    >>> from sentinel.config.schema import Kafka
    >>> expected(shapes_of(Kafka)["max_poll_records"])
    'a whole number from 1 to 50000'
    """
    match shape.kind:
        case "section" | "named":
            return "a section with keys" if shape.section else "names, each with its parameters"
        case "secret" | "text":
            return _expected_text(shape.limits)
        case "bool":
            return "true or false"
        case "choice":
            return "one of " + ", ".join(shape.choices)
        case "list":
            return _expected_list(shape)
        case "whole" | "number":
            return f"a {'whole ' if shape.kind == 'whole' else ''}number{_bounds(shape.limits)}"


def _expected_text(limits: Limits) -> str:
    if limits.pattern is not None:
        return f"text that matches `{limits.pattern}`"
    return "text that is not empty" if limits.min_length else "text"


def _expected_list(shape: Shape) -> str:
    size = f"{shape.limits.min_length} or more " if shape.limits.min_length else ""
    if shape.item is not None and shape.item.kind == "section":
        return f"a list of {size}sections, each beginning with `- `"
    if shape.item is not None and shape.item.kind == "choice":
        return f"a list of {size}words, each {expected(shape.item)}"
    return f"a list of {size}texts"


def _bounds(limits: Limits) -> str:
    if limits.more_than is not None:
        most = "" if limits.at_most is None else f" and at most {limits.at_most:.10g}"
        return f" greater than {limits.more_than:g}{most}"
    if limits.at_least is not None and limits.at_most is not None:
        return f" from {limits.at_least:.10g} to {limits.at_most:.10g}"
    if limits.at_least is not None:
        return f" of at least {limits.at_least:.10g}"
    return ""


def _of_field(field: FieldInfo) -> Shape:
    return _of_type(field.annotation, field.metadata, required=field.is_required())


def _limits(metadata: list[Any]) -> Limits:
    def first(name: str) -> Any:  # noqa: ANN401  annotated-types' attributes have no common type
        return next((found for found in (getattr(entry, name, None) for entry in metadata) if found is not None), None)

    return Limits(first("ge"), first("gt"), first("le"), first("min_length"), first("pattern"))


def _of_type(annotation: Any, metadata: list[Any], *, required: bool = False) -> Shape:  # noqa: ANN401  a type expression
    annotation, nullable, inner = _unwrapped(annotation)
    limits = _limits([*metadata, *inner])
    origin = get_origin(annotation)
    if origin is Literal:
        return Shape("choice", nullable, required, limits, choices=get_args(annotation))
    if origin is list:
        return Shape("list", nullable, required, limits, item=_of_type(get_args(annotation)[0], []))
    if origin is dict:
        return Shape("named", nullable, required, limits)
    if issubclass(annotation, Section):
        return Shape("section", nullable, required, section=annotation)
    return Shape(_KINDS[annotation], nullable, required, limits)


def _unwrapped(annotation: Any) -> tuple[Any, bool, list[Any]]:  # noqa: ANN401  type expressions
    """The bare type, whether None was among its alternatives, and what its annotations ask of it."""
    nullable = False
    metadata: list[Any] = []
    while True:
        parts = get_args(annotation)
        if NoneType in parts:
            nullable = True
            annotation = next(part for part in parts if part is not NoneType)
        elif get_origin(annotation) is Annotated:
            annotation = parts[0]
            for entry in parts[1:]:
                metadata += entry.metadata if isinstance(entry, FieldInfo) else [entry]
        else:
            return annotation, nullable, metadata
