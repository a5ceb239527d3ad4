# The part of line-protocol-parser that we use.
from typing import TypedDict

class LineFormatError(ValueError): ...

class ParsedLine(TypedDict):
    measurement: str
    tags: dict[str, str]
    fields: dict[str, float | int | bool | str]
    time: int

def parse_line(line: str) -> ParsedLine: ...
