"""What came of a backtest, in sentences."""

from sentinel.app.backtest.outcome import Outcome
from sentinel.app.backtest.rates import WEEK_NS
from sentinel.app.backtest.sieve import Account
from sentinel.app.report.units import counted, length, moment, rough
from sentinel.core.anomaly import SEVERITIES


def source_line(source: str, account: Account) -> str:
    """What was read, in one line."""
    first, last = account.first_ns or 0, account.last_ns or 0
    what = f"{counted(account.events, 'event')} of {len(account.series):,} series from {source}"
    return f"{what}, {moment(first)} to {moment(last)} UTC ({length(account.length_ns)})"


def headline(outcome: Outcome) -> str:
    """The answer, in one sentence."""
    lasted = length(outcome.account.length_ns)
    if not outcome.total:
        return f"Nobody would have been alerted in these {lasted}."
    times = "once" if outcome.total == 1 else f"{outcome.total:,} times"
    kinds = ", ".join(
        f"{count:,} {severity.value}" for severity, count in zip(reversed(SEVERITIES), reversed(outcome.by_severity), strict=True) if count
    )
    return f"You would have been alerted {times} in {lasted} ({kinds}). That is {rate_text(outcome)}."


def rate_text(outcome: Outcome) -> str:
    """Alerts a week, and how sure that is where it is not simply counted."""
    rate = outcome.rate
    text = f"{rough(rate.weekly)} a week"
    if outcome.account.length_ns >= WEEK_NS:
        return text
    return f"{text}, extrapolated (90% interval {rough(rate.low)} to {rough(rate.high)})"


def caveats(account: Account, lacks: str | None) -> list[str]:
    """What makes the figures less sure than they look; `lacks` is what the input says of itself."""
    said = [] if lacks is None else [lacks]
    if account.length_ns < WEEK_NS:
        said.append(
            f"The data covers {length(account.length_ns)}, less than a week: a daily or weekly rhythm is hardly known, or not at all."
        )
    said += left_out(account)
    return said


def listed(outcome: Outcome) -> list[str]:
    """What lists of alerts leave out."""
    if outcome.all_before_ns is None:
        return []
    until = moment(outcome.all_before_ns)
    return [
        f"Of the alerts of {outcome.name}, {len(outcome.alerts):,} are listed; only those before {until} UTC are all there, and compared."
    ]


def left_out(account: Account) -> list[str]:
    """What was read and not judged, in sentences."""
    said = []
    if account.rejected:
        codes = ", ".join(f"{code} {count:,}" for code, count in account.rejected.most_common())
        said.append(f"{counted(account.rejected.total(), 'record')} could not be events ({codes}); the first is {account.first_reject}.")
    if account.timeless:
        said.append(f"{counted(account.timeless, 'event')} without a timestamp left out: nobody knows when they were.")
    if account.outside:
        said.append(f"{counted(account.outside, 'event')} lay outside the asked time.")
    if account.filtered:
        said.append(f"{counted(account.filtered, 'span')} were no LLM requests.")
    return said
