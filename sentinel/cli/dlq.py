"""`sentinel dlq`: dead letters, looked through, sent in again, deleted. The daemon may run meanwhile."""

import asyncio
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import click
import msgspec

from sentinel.app.dead_letters.choose import Chosen, Wanted, choose
from sentinel.app.dead_letters.fate import Fate, Verdict
from sentinel.app.dead_letters.letter import DeadLettersError, Letter
from sentinel.app.dead_letters.opened import letters_of
from sentinel.app.dead_letters.replay import replay as replayed
from sentinel.app.dead_letters.target import Opening
from sentinel.app.dead_letters.to_topic import topic_target
from sentinel.app.dead_letters.to_url import url_target
from sentinel.app.dead_letters.words import WORDS, tallied
from sentinel.app.report.markup import printable, shorten
from sentinel.app.report.units import counted
from sentinel.cli.options import config_file, json_output, parse_time, together
from sentinel.cli.past import loaded, progress
from sentinel.cli.problems import show
from sentinel.cli.tables import table
from sentinel.config.schema import Config
from sentinel.core.errors import RejectCode
from sentinel.observability import logs

MOST_SHOWN: Final = 10_000
MOST_REPLAYED: Final = 100_000
MOST_REASONS: Final = 20
"""Lines that say why letters were not sent; --json has all."""
DETAIL_CHARS: Final = 72
DAY_NS: Final = 86_400_000_000_000
_COLOURS: Final = {Fate.PASSES: "green", Fate.SENT: "green", Fate.REFUSED: "red", Fate.NOT_TAKEN: "red", Fate.MISSING: "yellow"}

_filters: Final = together(
    click.option(
        "--code", "codes", multiple=True, type=click.Choice([code.value for code in RejectCode]), help="Only this code. Repeatable."
    ),
    click.option(
        "--log", metavar="LOG", help="Only this log, as `ls` shows it: cluster/topic/partition, or a part of it such as the topic."
    ),
    click.option("--partition", type=click.IntRange(0), metavar="N", help="Only this partition."),
    click.option(
        "--from",
        "--start",
        "start_ns",
        metavar="TIME",
        callback=parse_time,
        help="Received from this time on, RFC 3339 (UTC without zone).",
    ),
    click.option("--until", "--end", "end_ns", metavar="TIME", callback=parse_time, help="Received before this time."),
)
"""Which letters are meant."""


@click.group()
def dlq() -> None:
    """Look through dead letters, send their records in again, delete them.

    They lie in the file of the configuration's daemon or, with Kafka, in the dead-letter topic.
    """
    logs.configure("error", as_json=False)


# ---------------------------------------------------------------------------------------------------------------------- look


@dlq.command(name="ls")
@_filters
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, MOST_SHOWN), help="Most letters shown.")
@config_file
@json_output
def list_letters(
    codes: tuple[str, ...],
    log: str | None,
    partition: int | None,
    start_ns: int | None,
    end_ns: int | None,
    limit: int,
    file: Path | None,
    *,
    as_json: bool,
) -> int:
    """List dead letters, those received last first, and count all that match by their code."""
    name, chosen = _chosen(_config_of(file), Wanted(frozenset(codes), log, partition, start_ns, end_ns), limit)
    found = chosen.newest_first()
    if as_json:
        counts = {"count": len(found), "matched": chosen.total, "by_code": chosen.by_code, "unreadable": chosen.unreadable}
        click.echo(json.dumps({"letters": [_as_data(letter) for letter in found], **counts}))
        return 0
    show(f"{counted(chosen.total, 'dead letter')} in {printable(name)}", err=True)
    _warn_unreadable(chosen)
    if found:
        table([("received", "code", "letter", "bytes", "detail"), *map(_row, found)], right={3})
        if chosen.total > len(found):
            show(f"... and {chosen.total - len(found):,} older ones, which --limit has")
        show("")
        table([("code", "letters"), *((code, f"{count:,}") for code, count in chosen.by_code.most_common())], right={1})
    return 0


@dlq.command(name="show")
@click.argument("log")
@click.argument("offset", type=click.IntRange(0))
@click.option("--sub", default=0, show_default=True, type=click.IntRange(0), metavar="N", help="Which event of its record.")
@config_file
@json_output
def show_letter(log: str, offset: int, sub: int, file: Path | None, *, as_json: bool) -> int:
    """Show the letter of the record at OFFSET of LOG, whole. LOG is cluster/topic/partition, or only topic/partition."""
    name, chosen = _chosen(_config_of(file), Wanted(log=log, offset=offset, sub=sub), MOST_SHOWN)
    found = chosen.newest_first()
    if not found:
        raise DeadLettersError(
            f"there is no letter of {log}, offset {offset}, sub {sub} in {name}. `sentinel dlq ls` shows those there are."
        )
    if len({letter.id for letter in found}) > 1:
        named = ", ".join(sorted({printable(letter.log) for letter in found}))
        raise click.UsageError(f"there are several such logs; give one whole: {named}")
    letter = found[0]
    if as_json:
        click.echo(json.dumps(_as_data(letter)))
        return 0
    for field, value in {**_as_data(letter), "complete": letter.incomplete or "yes"}.items():
        show(f"{click.style(f'{field:<13}', dim=True)} {printable(str(value))}")
    return 0


# -------------------------------------------------------------------------------------------------------------------- replay


@dlq.command(name="replay")
@click.argument("ids", nargs=-1, metavar="[LETTER]...")
@_filters
@click.option("--all", "everything", is_flag=True, help="All letters, where neither letters nor filters are given.")
@click.option("--to", "url", metavar="URL", callback=lambda _ctx, _param, given: _url(given), help="Send to a daemon's HTTP API.")
@click.option("--api-key", envvar="SENTINEL_API_KEY", metavar="KEY", help="With --to, where one is wanted; also from SENTINEL_API_KEY.")
@click.option("--dry-run", is_flag=True, help="Send nothing; tell which records would pass by the present configuration.")
@click.option("--force", is_flag=True, help="Send also what would still be refused.")
@click.option(
    "--limit", default=10_000, show_default=True, type=click.IntRange(1, MOST_REPLAYED), help="More letters are refused, not cut."
)
@config_file
@json_output
def replay_letters(
    ids: tuple[str, ...],
    codes: tuple[str, ...],
    log: str | None,
    partition: int | None,
    start_ns: int | None,
    end_ns: int | None,
    url: str | None,
    api_key: str | None,
    limit: int,
    file: Path | None,
    *,
    everything: bool,
    dry_run: bool,
    force: bool,
    as_json: bool,
) -> int:
    """Send the records of dead letters in again, each LETTER named as `ls` shows it, or all that the filters leave.

    With Kafka a record is read again from the source topic, and goes back to its partition with headers that say what it is a replay of.
    Otherwise the copy in the letter is used, if it is complete: not cut, nothing redacted. It needs --to. A record that the present
    configuration would refuse again is not sent, and nor is any that is gone; both are told. Letters stay until they are purged.

    Repeating a replay is harmless: an event with an event_id is recognised as seen while its partition's ingestion.dedupe.window_events
    ids are remembered, and an event without one is sent with an id that follows from its letter.
    """
    wanted = Wanted(frozenset(codes), log, partition, start_ns, end_ns, frozenset(ids))
    if wanted.everything and not (everything or dry_run):
        raise click.UsageError("say which letters: name them, give filters, or --all")
    config = _config_of(file)
    target = None if dry_run else _target(config, url, api_key)
    chosen = _chosen(config, wanted, limit)[1]
    if chosen.total > limit:
        raise DeadLettersError(f"{chosen.total:,} letters match, and --limit is {limit:,}: narrow the filters, or raise it")
    letters = chosen.newest_first()
    if unknown := sorted(set(ids) - {letter.id for letter in letters}):
        raise DeadLettersError(f"there is no such letter as {printable(unknown[0])}: `sentinel dlq ls` shows those there are")
    verdicts: list[Verdict] = []
    if letters:
        with progress("checking" if dry_run else "replay") as shown:
            verdicts = asyncio.run(replayed(letters, config, target, shown, force=force))
    if as_json:
        click.echo(json.dumps({"letters": [_verdict_data(verdict) for verdict in verdicts], "fates": Counter(v.fate for v in verdicts)}))
    else:
        _print(verdicts, chosen)
    return 1 if any(verdict.fate is Fate.NOT_TAKEN for verdict in verdicts) else 0


def _target(config: Config, url: str | None, api_key: str | None) -> Opening:
    """Where records go. Raises UsageError when nothing says so."""
    if url is not None:
        return url_target(url, api_key)
    kafka = config.ingestion.kafka
    if kafka is None:
        raise click.UsageError("this configuration has no Kafka to send to: give --to URL of a daemon, or --dry-run")
    return topic_target(kafka, config.ingestion.parsing.max_record_bytes, time.time_ns())


def _url(given: str | None) -> str | None:
    parts = urlsplit(given or "http://host")
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username is not None:
        raise click.BadParameter("is no address of a daemon, such as http://127.0.0.1:8080; a key stands in --api-key")
    return given


def _print(verdicts: list[Verdict], chosen: Chosen) -> None:
    """How many of each code met with what, and why the rest was not sent."""
    _warn_unreadable(chosen)
    if not verdicts:
        show("no dead letter matches")
        return
    lines = tallied(verdicts)
    table([tuple(map(printable, line)) for line in lines], right=range(1, len(lines[0])))
    told = [verdict for verdict in verdicts if verdict.why]
    for verdict in told[:MOST_REASONS]:
        word = click.style(WORDS[verdict.fate], fg=_COLOURS[verdict.fate])
        show(f"{printable(verdict.letter.id)}  {word}: {printable(verdict.why)}")
    if len(told) > MOST_REASONS:
        show(f"... and {len(told) - MOST_REASONS:,} more, which --json has")


def _verdict_data(verdict: Verdict) -> dict[str, str]:
    return {"id": verdict.letter.id, "code": verdict.letter.code, "fate": verdict.fate, "why": verdict.why}


# --------------------------------------------------------------------------------------------------------------------- purge


@dlq.command()
@click.option("--older-than", "days", type=click.FloatRange(0), metavar="DAYS", help="Only letters of records received longer ago.")
@click.option("--all", "everything", is_flag=True, help="All letters.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@config_file
def purge(days: float | None, file: Path | None, *, everything: bool, yes: bool) -> int:
    """Delete dead letters for good. The daemon may run meanwhile: what it writes during a purge stays.

    In a topic the brokers delete from the beginning of each partition, by the log's own times.
    """
    if (days is None) is not everything:
        raise click.UsageError("say which letters: --older-than DAYS or --all, one of them")
    letters = letters_of(_config_of(file))
    which = "all letters" if days is None else f"the letters older than {days:g} days"
    if not yes:
        click.confirm(f"Delete {which} from {printable(letters.name)}? Nothing brings them back.", abort=True, err=True)
    gone = letters.purge(None if days is None else time.time_ns() - int(days * DAY_NS))
    show(f"deleted {counted(gone, 'dead letter')} from {printable(letters.name)}")
    return 0


# --------------------------------------------------------------------------------------------------------------------- shared


def _config_of(file: Path | None) -> Config:
    """The configuration, with what Kafka needs read where it names one. Raises ConfigError."""
    found = loaded(file, kafka=False)
    return found.config if found.config.ingestion.kafka is None else loaded(file, kafka=True).config


def _chosen(config: Config, wanted: Wanted, limit: int) -> tuple[str, Chosen]:
    """The name of the place, and what was found there."""
    letters = letters_of(config)
    with progress("reading") as shown:
        return letters.name, choose(letters, wanted, limit, shown)


def _warn_unreadable(chosen: Chosen) -> None:
    if chosen.unreadable:
        show(f"{counted(chosen.unreadable, 'line or record', 'lines or records')} there are no dead letters, and were left out", err=True)


def _as_data(letter: Letter) -> dict[str, Any]:
    return {"id": letter.id, **msgspec.structs.asdict(letter)}


def _row(letter: Letter) -> tuple[str, ...]:
    texts = (letter.received_at, letter.code, letter.id, f"{letter.record_bytes:,}", shorten(letter.detail, DETAIL_CHARS))
    return tuple(map(printable, texts))
