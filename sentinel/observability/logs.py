"""Structured logs: one JSON line an event, or readable text. Only this room knows the logging libraries."""

import logging
import sys
import traceback
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import structlog
from aiohttp.http_exceptions import HttpProcessingError

MAX_TEXT = 2_000
"""Characters kept of one logged value."""
MAX_TRACEBACK = 10_000
"""Characters kept of a traceback."""
MAX_ENTRIES = 100
"""Entries kept of one logged list or mapping."""
MAX_DEPTH = 4
"""Levels of lists and mappings within a logged value; what is deeper becomes text."""
LIBRARY_KEYS = frozenset(("_record", "_from_structlog"))
TRACEBACK_KEYS = frozenset(("exception", "stack_info", "stack"))

Log = structlog.stdlib.BoundLogger

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


_everywhere: dict[str, object] = {}
"""Fields of every line."""


def mark(**fields: object) -> None:
    """Put these fields into every line from now on, whatever thread it comes from: what tells this process from its siblings."""
    _everywhere.update(fields)


def configure(level: str, *, as_json: bool) -> None:
    """Send our own and the libraries' logs to standard error in one form.

    Args:
        level: debug, info, warning or error.
        as_json: JSON lines; false gives text for people.
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _marked,
        structlog.processors.format_exc_info,
        _bounded,
    ]
    if as_json:
        renderer: Any = structlog.processors.JSONRenderer(serializer=_json)
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer]
    )
    stream = logging.StreamHandler(sys.stderr)
    stream.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [stream]
    root.setLevel(LEVELS[level])
    # These report every retry of an outage as an error of their own; our parts report what matters.
    for library in ("aiokafka", "aiormq", "aio_pika"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    server = logging.getLogger("aiohttp.server")
    server.filters[:] = [_quiet_about_clients]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def set_level(level: str) -> None:
    """Log from `level` on (debug, info, warning or error), from the next line on. Another `configure` sets it anew."""
    logging.getLogger().setLevel(LEVELS[level])


def current_level() -> str:
    """The least severe level that is logged."""
    root = logging.getLogger().level
    return next((name for name, number in LEVELS.items() if number >= root), "error")


def _quiet_about_clients(record: logging.LogRecord) -> bool:
    """A client that does not speak HTTP is worth a line at most, not a traceback of aiohttp's parser."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, HttpProcessingError):
        record.levelno, record.levelname = logging.DEBUG, "DEBUG"
        record.msg, record.args, record.exc_info = "request refused: %s", (type(error).__name__,), None
        return logging.getLogger(record.name).isEnabledFor(logging.DEBUG)
    return True


def frames(error: BaseException) -> list[str]:
    """Where an error came from, innermost last, without its text: that may quote what an event held."""
    return [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]


def get(name: str) -> Log:
    """The logger of a part, by its dotted name."""
    log: Log = structlog.stdlib.get_logger(name)
    return log


def _json(event: Any, **_options: Any) -> str:  # noqa: ANN401  structlog's own signature
    """One line of JSON."""
    return orjson.dumps(event).decode()


def _marked(_logger: Any, _name: str, event: Any) -> Any:  # noqa: ANN401  structlog's own signature
    """What every line says of this process."""
    return event | _everywhere


def _bounded(_logger: Any, _name: str, event: Any) -> Any:  # noqa: ANN401  structlog's own signature
    """Cut long values and neutralise characters that could forge or reorder lines."""
    return {_plain(key): _entry(key, value) for key, value in event.items()}


def _entry(key: str, value: object) -> Any:  # noqa: ANN401  what JSON can hold, or what the library left for itself
    if key in LIBRARY_KEYS:
        return value
    return _traceback(value) if key in TRACEBACK_KEYS else _safe(value, MAX_DEPTH)


def _safe(value: object, depth: int) -> Any:  # noqa: ANN401  what JSON can hold
    """The value as plain JSON types: bounded, every text on one line."""
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return int(value)
    if isinstance(value, Mapping) and depth:
        return {_plain(str(key)): _safe(entry, depth - 1) for key, entry in islice(value.items(), MAX_ENTRIES)}
    if isinstance(value, list | tuple | set | frozenset) and depth:
        return [_safe(entry, depth - 1) for entry in islice(value, MAX_ENTRIES)]
    return _plain(_text(value))


def _text(value: object) -> str:
    """What stands for the value; an integer is not spelled out beyond what the interpreter allows."""
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001  a value that cannot be shown must not cost the line
        return f"{type(value).__name__} that cannot be shown: {type(error).__name__}"


def _traceback(value: object) -> str:
    """The one kind of text that may have several lines: it is made by the interpreter, and JSON escapes their ends. The end says most."""
    text = _text(value)
    if len(text) > MAX_TRACEBACK:
        text = f"[{len(text) - MAX_TRACEBACK} characters left out]\n{text[-MAX_TRACEBACK:]}"
    return "\n    ".join(_escaped(line) for line in text.split("\n"))


def _plain(text: str) -> str:
    return _escaped(text[:MAX_TEXT])


def _escaped(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else f"\\u{ord(character):04x}" for character in text)
