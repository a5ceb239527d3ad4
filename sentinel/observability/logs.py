"""Structured logs: one JSON line an event, or readable text. Only this room knows the logging libraries."""

import logging
import sys
from typing import Any

import orjson
import structlog

MAX_TEXT = 2_000
"""Characters kept of one logged value."""

Log = structlog.stdlib.BoundLogger

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


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
    # aiokafka reports every fetch retry as an error of its own; our source reports what matters.
    logging.getLogger("aiokafka").setLevel(max(LEVELS[level], logging.WARNING))
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def get(name: str) -> Log:
    """The logger of a part, by its dotted name."""
    log: Log = structlog.stdlib.get_logger(name)
    return log


def _json(event: Any, **_options: Any) -> str:  # noqa: ANN401  structlog's own signature
    """One line of JSON: control characters are escaped, so a logged value cannot forge a line."""
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def _bounded(_logger: Any, _name: str, event: Any) -> Any:  # noqa: ANN401  structlog's own signature
    """Cut long values and neutralise characters that could forge or reorder lines."""
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = _plain(value[:MAX_TEXT])
    return event


def _plain(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() or character == "\n" else f"\\u{ord(character):04x}" for character in text)
