"""`sentinel backtest`: what a configuration would have told people, on events of the past."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from sentinel.cli.options import json_output
from sentinel.cli.past import check_target, loaded, past, past_options, progress, write
from sentinel.cli.problems import show
from sentinel.cli.tables import table
from sentinel.config.loader import Loaded

if TYPE_CHECKING:
    from sentinel.app.backtest.alerts import PastAlert
    from sentinel.app.backtest.compare import Changes
    from sentinel.app.backtest.inputs import Input
    from sentinel.app.backtest.outcome import Outcome, Row

MOST_ROWS: Final = 30
"""Lines of a table on a terminal; --json and --out have all."""
MOST_FACTS: Final = 5
"""Of these, lines of what fired and alerted nobody."""
_COLOURS: Final = ("blue", "yellow", "red")


@click.command()
@past_options
@click.option("--against", type=click.Path(path_type=Path), metavar="FILE", help="Compare with this configuration on the same events.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write a report with plots, one HTML file.")
@json_output
def backtest(
    file: Path | None,
    files: tuple[Path, ...],
    start_ns: int | None,
    end_ns: int | None,
    against: Path | None,
    out: Path | None,
    *,
    kafka: bool,
    store: bool,
    as_json: bool,
) -> int:
    """Go over events of the past as the daemon would have, and tell what it would have told.

    Nothing is delivered, committed or stored; only --out is written. Baselines begin empty, as on a daemon's first day.
    """
    first = loaded(file, kafka=kafka)
    second = None if against is None else loaded(against, kafka=False)
    source = past(first, files, start_ns, end_ns, kafka=kafka, store=store)
    from sentinel.app.backtest.run import compared, noisiest, outcomes, plots, twice  # noqa: PLC0415  numba, after `past` has prepared it

    if out is not None:
        check_target(out)
        twice(source)
    configurations = [(name_of(found), found.config) for found in (first, second) if found is not None]
    with progress("backtest") as shown:
        outcome, *rest = outcomes(source, configurations, shown)
    other = rest[0] if rest else None
    changes = None if other is None else compared(outcome, other)
    if out is not None:
        from sentinel.app.report.page import Report, page  # noqa: PLC0415  likewise

        with progress("plots") as shown:
            drawn = plots(source, first.config, noisiest(outcome, other), outcome.account.length_ns, shown)
        write(out, page(Report(source.source.name, source.source.lacks, outcome, other, changes, drawn)))
    if as_json:
        from sentinel.app.report.data import report_data  # noqa: PLC0415  likewise

        click.echo(json.dumps(report_data(source.source.name, outcome, other, changes)))
    else:
        _print(source.source, outcome, other, changes, out)
    return 0


def name_of(found: Loaded) -> str:
    """A configuration in a word."""
    return "the built-in defaults" if found.file is None else found.file.name


def _print(source: "Input", outcome: "Outcome", other: "Outcome | None", changes: "Changes | None", out: Path | None) -> None:
    from sentinel.app.report.markup import printable  # noqa: PLC0415  as above
    from sentinel.app.report.words import caveats, headline, listed, rate_text, source_line  # noqa: PLC0415  likewise

    show(f"{printable(source_line(source.name, outcome.account))}")
    for text in [*caveats(outcome.account, source.lacks), *listed(outcome)]:
        show(printable(text))
    show(f"\n{click.style(printable(outcome.name), bold=True)}: {headline(outcome)}")
    if outcome.rows:
        _fired(outcome)
    if other is not None and changes is not None:
        show(f"\n{click.style(printable(other.name), bold=True)}: {other.total:,} alerts, {rate_text(other)}")
        _alerts("disappear", changes.disappear)
        _alerts("appear", changes.appear)
        if changes.severities:
            show(f"{len(changes.severities):,} would have another severity")
        if not (changes.appear or changes.disappear or changes.severities):
            show("both would have told you the same")
    if out is not None:
        show(f"\nreport: {out}")


def _fired(outcome: "Outcome") -> None:
    """What fired, what made alerts first."""
    from sentinel.app.report.markup import printable, series_name, shorten  # noqa: PLC0415  as above
    from sentinel.app.report.units import moment, rough  # noqa: PLC0415  likewise

    def line(row: "Row") -> tuple[str, ...]:
        weekly = rough(outcome.weekly(row.alerts))
        name = shorten(printable(series_name(row.kind.series)), 40)
        numbers = f"{row.alerts:,}", weekly, f"{row.fired.total:,}"
        return name, row.kind.type, row.kind.detector, *numbers, moment(row.fired.first_ns), moment(row.fired.last_ns)

    told = sum(row.alerts > 0 for row in outcome.rows)
    rows = outcome.rows[: min(told + MOST_FACTS, MOST_ROWS)]
    headings = ("series", "type", "detector", "alerts", "a week", "anomalies", "first (UTC)", "last (UTC)")
    show("")
    table([headings, *map(line, rows)], right={3, 4, 5})
    if len(outcome.rows) > len(rows):
        show(f"... and {len(outcome.rows) - len(rows):,} more rows, which --out and --json have")


def _alerts(verb: str, alerts: "Sequence[PastAlert]") -> None:
    from sentinel.app.report.markup import printable  # noqa: PLC0415  as above
    from sentinel.app.report.units import counted, moment  # noqa: PLC0415  likewise

    if alerts:
        show(f"{counted(len(alerts), 'alert')} would {verb}:")
    for alert in alerts[:MOST_ROWS]:
        head, _, rest = printable(alert.title).partition(":")
        show(f"  {moment(alert.started_ns)}  {click.style(head, fg=_COLOURS[alert.severity])}:{rest}")
    if len(alerts) > MOST_ROWS:
        show(f"  ... and {len(alerts) - MOST_ROWS:,} more, which --out and --json have")
