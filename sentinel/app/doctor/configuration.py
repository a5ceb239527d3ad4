"""The configuration, as `sentinel run` judges it."""

from collections.abc import Sequence

from sentinel.app.doctor.check import Finding, failed, ok, warning
from sentinel.config.checks import check_run
from sentinel.config.loader import Loaded

SUBJECT = "configuration"


def configuration(loaded: Loaded) -> Sequence[Finding]:
    """Every problem, or that there is none."""
    found = []
    for problem in check_run(loaded):
        where = problem.file if problem.line is None else f"{problem.file}:{problem.line}"
        what = f"{where}: {problem.key}: {problem.what}" if problem.key else f"{where}: {problem.what}"
        found.append((failed if problem.severity == "error" else warning)(SUBJECT, what, problem.suggestion))
    return found or [ok(SUBJECT, loaded.origin)]


def trustworthy(loaded: Loaded) -> bool:
    """Whether what it says of the dependencies is what was meant; else looking at them would mislead."""
    return not loaded.unset and not any(problem.severity == "error" for problem in loaded.problems)
