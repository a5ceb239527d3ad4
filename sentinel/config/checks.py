"""What is well written and still unsafe or contradictory. Pure: a loaded configuration in, problems out.

`check` says what `sentinel config validate` tells, `check_run` the same as `sentinel run` sees it: there, what is unsafe or unset is an
error. docs/configuration.md lists what it refuses.
"""

from dataclasses import replace
from typing import Final

from sentinel.config import (
    rules_alarms,
    rules_alerting,
    rules_api,
    rules_ingestion,
    rules_kafka,
    rules_plugins,
    rules_privacy,
    rules_servers,
    workers,
)
from sentinel.config.loader import Loaded
from sentinel.config.problems import Problem, dotted, in_reading_order
from sentinel.config.rule import Finding, Rule

RULES: Final[tuple[Rule, ...]] = (
    rules_kafka.connection,
    rules_ingestion.sources,
    rules_ingestion.plausibility,
    rules_ingestion.patterns,
    rules_plugins.installed,
    rules_privacy.pseudonym_key,
    rules_privacy.short_key,
    rules_servers.plaintext,
    rules_servers.unused_stores,
    rules_servers.checkpoint_credentials,
    rules_alerting.webhook,
    rules_alarms.canary,
    rules_api.bind,
    rules_api.certificate,
    rules_api.cors,
    rules_api.metrics_path,
)


def check(loaded: Loaded) -> list[Problem]:
    """Everything known against a configuration: what loading found, and every rule. Errors make it invalid."""
    found = [_placed(finding, loaded) for rule in RULES for finding in rule(loaded)]
    return list(in_reading_order([*loaded.problems, *found]))


def check_run(loaded: Loaded) -> list[Problem]:
    """The same as `sentinel run` judges it: `run` must not start while one of these is an error."""
    return [replace(problem, severity="error") if problem.blocks_run else problem for problem in check(loaded)]


def check_workers(loaded: Loaded, count: int) -> list[Problem]:
    """What keeps so many workers of one host from working by this configuration, besides what `check_run` says; all of it errors."""
    return list(in_reading_order(_placed(finding, loaded) for finding in workers.several(loaded, count)))


def _placed(finding: Finding, loaded: Loaded) -> Problem:
    file, line, column = loaded.place(finding.path)
    key = dotted(finding.path)
    return Problem(file, line, column, key, finding.code, finding.what, finding.suggestion, finding.severity, finding.blocks_run)
