"""`sentinel tune`: settings that alert no more often than wanted, found on events of the past."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import yaml

from sentinel.cli.options import json_output
from sentinel.cli.past import loaded, past, past_options, progress
from sentinel.cli.problems import show
from sentinel.cli.tables import table

if TYPE_CHECKING:
    from sentinel.app.backtest.inputs import Input
    from sentinel.app.backtest.tune import Candidate, Tuning

FAILURE: Final = 1
LOST: Final = ("lost: critical", "warning", "info")
MOST_LOST: Final = 20
"""Lost alerts that are named; --json has all."""


@click.command()
@past_options
@click.option(
    "--max-alerts-per-week", "most_weekly", type=click.FloatRange(min=0), required=True, metavar="N", help="Alerts a week, all together."
)
@json_output
def tune(
    file: Path | None,
    files: tuple[Path, ...],
    start_ns: int | None,
    end_ns: int | None,
    most_weekly: float,
    *,
    kafka: bool,
    store: bool,
    as_json: bool,
) -> int:
    """Try settings on events of the past, and print those that would alert at most N times a week, as YAML for the configuration.

    Of several, the one that loses least is taken. The YAML goes to standard output, everything else to standard error. Exit code 1 when
    no setting is quiet enough.
    """
    found = loaded(file, kafka=kafka)
    source = past(found, files, start_ns, end_ns, kafka=kafka, store=store)
    from sentinel.app.backtest.tune import tune as tuned  # noqa: PLC0415  numba, after `past` has prepared it

    with progress("tune") as shown:
        tuning = tuned(source, found.config, most_weekly, shown)
    if as_json:
        click.echo(json.dumps(_as_json(source.source.name, tuning, most_weekly)))
    else:
        _explain(source.source, tuning, most_weekly)
        if tuning.chosen is not None:
            click.echo(yaml.safe_dump(tuning.chosen.change, sort_keys=False) if tuning.chosen.change else "# nothing to change\n", nl=False)
    return 0 if tuning.chosen is not None else FAILURE


def _explain(source: "Input", tuning: "Tuning", most_weekly: float) -> None:
    """Everything but the YAML, to standard error."""
    from sentinel.app.report.markup import printable  # noqa: PLC0415  as above
    from sentinel.app.report.words import caveats, source_line  # noqa: PLC0415  likewise

    show(printable(source_line(source.name, tuning.account)), err=True)
    for text in caveats(tuning.account, source.lacks):
        show(printable(text), err=True)
    show("", err=True)
    headings = (
        "",
        "sensitivity",
        "least change",
        "min_severity",
        "same alert within",
        "single events",
        "alerts",
        "a week",
        "90% interval",
        *LOST,
    )
    table([headings, *(_row(one, tuning) for one in tuning.worth_showing)], right={6, 7, 8, 9, 10, 11}, err=True)
    show("", err=True)
    for text in verdict(tuning, most_weekly):
        show(text, err=True)
    if tuning.chosen is not None:
        _lost(tuning.chosen)


def _row(one: "Candidate", tuning: "Tuning") -> tuple[str, ...]:
    from sentinel.app.report.units import length, rough  # noqa: PLC0415  as above

    role = "chosen" if one is tuning.chosen else "now" if one is tuning.current else ""
    window = length(int(one.setting.window_secs * 1e9))
    interval = f"{rough(one.rate.low)} to {rough(one.rate.high)}"
    numbers = f"{one.total:,}", rough(one.rate.weekly), interval, *(f"{count:,}" for count in one.loss)
    events = "yes" if one.setting.event_anomalies else "no"
    detecting = one.setting.detecting
    return role, detecting.sensitivity, f"x {detecting.factor}", one.setting.min_severity, window, events, *numbers


def verdict(tuning: "Tuning", most_weekly: float) -> list[str]:
    """What to do, and how sure that is."""
    from sentinel.app.report.units import compact, counted, length, rough  # noqa: PLC0415  as above

    now, chosen = tuning.current, tuning.chosen
    said = [f"as it is, the configuration alerts {rough(now.rate.weekly)} times a week"]
    if chosen is None:
        least = rough(min(one.rate.weekly for one in tuning.candidates))
        said.append(f"no setting alerts at most {compact(most_weekly)} times a week: the quietest still alerts {least} times")
        said.append("see what fires with `sentinel backtest --out report.html`, and mend or leave out what is noisiest")
        return said
    if chosen is now:
        said.append(f"that is at most {compact(most_weekly)}: nothing needs to be changed")
    else:
        lost = ", ".join(f"{count:,} {name}" for count, name in zip(chosen.loss, ("critical", "warning", "info"), strict=True) if count)
        loss = f"what would be lost: {lost}" if lost else "nothing would be lost"
        said.append(f"with the chosen setting it would alert {rough(chosen.rate.weekly)} times a week; {loss}")
    between = f"{rough(chosen.rate.low)} and {rough(chosen.rate.high)}"
    said.append(
        f"seen were {counted(chosen.total, 'alert')} in {length(tuning.account.length_ns)}, so the true rate lies between {between} a week "
        "with 90% confidence, if alerts come independently of each other"
    )
    if chosen.rate.high > most_weekly:
        said.append(f"that may be more than {compact(most_weekly)}: a longer past tells more, or ask for less")
    return said


def _lost(chosen: "Candidate") -> None:
    from sentinel.app.report.markup import printable  # noqa: PLC0415  as above
    from sentinel.app.report.units import moment  # noqa: PLC0415  likewise

    for alert in sorted(chosen.lost, key=lambda alert: (-alert.severity, alert.started_ns))[:MOST_LOST]:
        show(f"  lost: {moment(alert.started_ns)}  {printable(alert.title)}", err=True)
    if len(chosen.lost) > MOST_LOST:
        show(f"  ... and {len(chosen.lost) - MOST_LOST:,} more, which --json has", err=True)


def _as_json(source: str, tuning: "Tuning", most_weekly: float) -> dict[str, Any]:
    from sentinel.app.report.data import account_data, candidate_data  # noqa: PLC0415  as above

    chosen = tuning.chosen
    return {
        "source": source,
        "read": account_data(tuning.account),
        "max_alerts_per_week": most_weekly,
        "current": candidate_data(tuning.current, tuning.account),
        "chosen": None if chosen is None else candidate_data(chosen, tuning.account),
        "change": None if chosen is None else chosen.change,
        "tried": [candidate_data(one, tuning.account) for one in tuning.candidates],
    }
