"""What the documents say is held against the code: files, modules, links, configurations, commands, codes, names."""

import importlib
import json
import pkgutil
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import pytest

from sentinel import api
from sentinel.cli.main import cli
from sentinel.config.checks import check_run
from sentinel.config.loader import draft
from sentinel.config.schema import Config, Parsing
from sentinel.config.section import Section
from sentinel.config.shape import shapes_of
from sentinel.core.anomaly import DetectorName
from sentinel.core.batch import Dialect, PartitionId
from sentinel.core.delivery import Delivery
from sentinel.core.errors import RejectCode
from sentinel.core.explain import anomaly_type
from sentinel.core.flags import Flag
from sentinel.core.metrics import METRIC_NAMES, METRICS
from sentinel.ingestion.decode import Decoded, decode
from sentinel.ingestion.wire import WireEvent
from sentinel.observability.metrics import Metrics
from sentinel.storage.influx_points import POSITIONS

ROOT = Path(__file__).parents[2]
ARCHITECTURE, EVENTS, DETECTION = (ROOT / "docs" / name for name in ("ARCHITECTURE.md", "events.md", "detection.md"))
"""Documents with sections that a test below reads."""

DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.md")])
PAGES = sorted({*DOCUMENTS, *(page for place in ("examples", "deployments", "sdk") for page in (ROOT / place).glob("**/*.md"))})
"""All documents, those that stand beside what they describe among them."""

OWN_LABELS = {
    "channel",
    "code",
    "condition",
    "detector",
    "kind",
    "level",
    "partition",
    "queue",
    "result",
    "route",
    "severity",
    "sink",
    "stage",
    "status",
    "type",
    "version",
}
NOT_BUILT_COMMANDS = {
    "replay",
    "tap",
    "top",
    "prices",
    "export",
    "report",
}
OPERATION = re.compile(r"(?<![A-Za-z])/(?:api/v1|health)/?[A-Za-z0-9_/{}.-]*")


class Block(NamedTuple):
    """A fenced block: where it stands, its language, its text."""

    document: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.document.relative_to(ROOT)}:{self.line}"


def blocks(document: Path) -> Iterator[Block]:
    """The fenced blocks of a document."""
    text = document.read_text(encoding="utf-8")
    for found in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield Block(document, text.count("\n", 0, found.start()) + 1, found[1], found[2])


def prose(document: Path) -> str:
    """A document without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def section(document: Path, heading: str) -> str:
    """The text under a heading, up to the next one of the same or a higher rank."""
    rank = len(heading) - len(heading.lstrip("#"))
    text = document.read_text(encoding="utf-8")
    found = re.search(rf"^{re.escape(heading)}\n(.*?)(?=^#{{1,{rank}}} |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"{document.name} has no section {heading}"
    return found[1]


def first_column(table: str) -> list[str]:
    """The code spans that begin the rows of a table."""
    return re.findall(r"^\| `([^`]+)`", table, re.MULTILINE)


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def all_blocks(language: str) -> list[Block]:
    """The blocks of one language in all documents."""
    return [block for document in DOCUMENTS for block in blocks(document) if block.language == language]


def commands(program: str) -> list[tuple[str, list[str]]]:
    """The command lines of one program in all shell blocks, with their places."""
    lines = [(block, line) for block in all_blocks("sh") for line in block.text.replace("\\\n", " ").splitlines()]
    return [
        (f"{block}: {line}", shlex.split(line, comments=True)[1:]) for block, line in lines if re.match(rf"(?:\S*/)?{program} ", f"{line} ")
    ]


# ---------------------------------------------------------------------------------------------------------------- files and links


@pytest.mark.parametrize("document", PAGES, ids=lambda document: str(document.relative_to(ROOT)))
def test_internal_links_resolve(document: Path) -> None:
    """Each link within the repository leads to a file that is there, and to a heading in it."""
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(document)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (document.parent / path).resolve() if path else document
        assert there.exists(), f"{document.name} links to {target}"
        if anchor and there.suffix == ".md":
            assert anchor in anchors(there), f"{document.name} links to {target}, and there is no such heading"


@pytest.mark.parametrize("document", PAGES, ids=lambda document: str(document.relative_to(ROOT)))
def test_named_paths_exist(document: Path) -> None:
    """A path in a code span that begins with one of our directories is there."""
    rooms = "|".join(sorted(path.name for path in (ROOT / "sentinel").iterdir() if path.is_dir()))
    named = re.findall(rf"`((?:sentinel|tests|docs|config|bench|tools|examples|stubs|requirements|{rooms})/[\w./-]*)`", prose(document))
    missing = [path for path in named if not (ROOT / path).exists() and not (ROOT / "sentinel" / path).exists()]
    state = {"checkpoints/", "numba/"}
    assert not set(missing) - state


def test_the_architecture_names_every_module() -> None:
    """No module of the package is left out of the map, and none is in it twice by another name."""
    named = set(re.findall(r"`(\w+/[\w/]+\.py)`", ARCHITECTURE.read_text(encoding="utf-8")))
    package = ROOT / "sentinel"
    modules = {str(path.relative_to(package)) for path in package.rglob("*.py") if path.name != "__init__.py"}
    assert modules - named == set()


def test_the_laws_name_their_tests() -> None:
    """Each law names at least one file that holds it."""
    rows = re.findall(r"^\| \d+\. .*$", section(ARCHITECTURE, "## Laws"), re.MULTILINE)
    assert len(rows) == 9
    assert all(re.search(r"`(?:tests|sentinel)/[^`]+`", row) for row in rows)


def test_the_rooms_are_those_of_the_contract() -> None:
    """The picture of the rooms is the list that import-linter holds."""
    contract = re.search(r"layers = \[(.*?)\]", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.DOTALL)
    assert contract
    picture = next(block.text for block in blocks(ARCHITECTURE) if block.language == "" and block.text.startswith("cli\n"))
    assert picture.split("\n")[:-1] == re.findall(r'"([^"]+)"', contract[1])


def test_every_decision_has_the_same_form() -> None:
    """Numbered without a gap, each with status, context, decision and consequences."""
    decisions = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [path.name[:4] for path in decisions] == [f"{number:04}" for number in range(1, len(decisions) + 1)]
    for path in decisions:
        text = path.read_text(encoding="utf-8")
        assert text.startswith(f"# {path.name[:4]}: ")
        assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences"]
        assert re.search(r"^Status: (?:accepted|superseded by \[)", text, re.MULTILINE)


def test_every_dependency_has_its_reason() -> None:
    """The runtime dependencies of pyproject.toml are the lines of their decision, no more and no fewer."""
    declared = re.search(r"^dependencies = \[(.*?)^\]", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert declared
    text = (ROOT / "docs" / "decisions" / "0002-dependencies.md").read_text(encoding="utf-8")
    explained = re.findall(r"^\| ([a-z0-9-]+) \|", text, re.MULTILINE)
    assert explained == re.findall(r'"([a-z0-9-]+)', declared[1])


# -------------------------------------------------------------------------------------------------- configurations and commands


@pytest.mark.parametrize("block", all_blocks("yaml"), ids=str)
def test_configurations_load(block: Block, tmp_path: Path) -> None:
    """Each YAML block is a configuration that `run` takes, but for files and detectors that are not on this machine."""
    file = tmp_path / "sentinel.yaml"
    file.write_text(block.text, encoding="utf-8")
    problems = check_run(draft(file, {}, read_secrets=False))
    assert [str(problem) for problem in problems if problem.severity == "error" and problem.code not in {"no_file", "no_detector"}] == []


@pytest.mark.parametrize(("place", "arguments"), commands("sentinel"), ids=lambda given: given if isinstance(given, str) else "")
def test_commands_parse(place: str, arguments: list[str]) -> None:
    """Each `sentinel` command line names a command and options that exist, with values they take."""
    command: click.Command = cli
    with click.Context(cli, info_name="sentinel") as parent:
        while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
            found = command.get_command(parent, arguments[0])
            assert found is not None, place
            command, arguments = found, arguments[1:]
        command.make_context(command.name, list(arguments), parent=parent)


def test_make_targets_exist() -> None:
    """Each `make` command line names targets of the Makefile."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    lines = commands("make")
    assert lines
    for place, arguments in lines:
        assert {argument for argument in arguments if "=" not in argument} <= targets, place


def test_commands_that_are_not_built_are_not_there() -> None:
    """The README lists them as not built, and they are not."""
    listed = section(ROOT / "README.md", "## Not built yet")
    line = next(line for line in listed.splitlines() if line.startswith("- The commands "))
    assert set(re.findall(r"`(\w+)`", line)) == NOT_BUILT_COMMANDS
    assert NOT_BUILT_COMMANDS.isdisjoint(cli.list_commands(click.Context(cli)))


def test_named_variables_are_read() -> None:
    """An environment variable of ours in a code span is read somewhere in the package."""
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "sentinel").rglob("*.py"))
    for document in DOCUMENTS:
        for variable in re.findall(r"`((?:SENTINEL|STATE|NUMBA)_[A-Z_]+)(?:=\d)?`", prose(document)):
            assert variable in code, f"{document.name}: {variable}"


# ------------------------------------------------------------------------------------------------------------------------- names


def test_reject_codes_are_the_enum() -> None:
    """docs/events.md lists every reject code, once, and no other."""
    assert first_column(section(EVENTS, "## Reject codes")) == [code.value for code in RejectCode]


def test_flags_are_the_enum() -> None:
    """docs/events.md lists every flag, once, and no other."""
    assert first_column(section(EVENTS, "## Flags")) == [*(str(flag.name).lower() for flag in Flag), "implausible_<metric>"]


def test_fields_are_those_of_a_record() -> None:
    """The fields and aliases in docs/events.md are those that the decoder knows, all of them."""
    rows = re.findall(r"^\| (`.+?) \|", section(EVENTS, "## Flat"), re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    aliases = set(re.findall(r"`(\w+)`", section(EVENTS, "### Aliases")))
    elsewhere = {"prompt", "response", "resource_spans"}
    assert named | aliases | elsewhere == set(WireEvent.__struct_fields__) - {"schema_version"}


def test_required_fields_are_required() -> None:
    """The fields marked as required make an event; without any one of them there is none."""
    table = section(EVENTS, "## Flat").splitlines()
    required = [found[1] for line in table if (found := re.match(r"\| `(\w+)` \|[^|]*\| (?:required|likewise|required; likewise)", line))]
    assert required == ["service_name", "model_name", "latency_ms"]
    event = {name: "x" if name.endswith("_name") else 1.0 for name in required}
    assert decoded(event).rejects == []
    for name in required:
        assert [reject.detail for reject in decoded(event | {name: None}).rejects] == [f"{name}: missing"]


@pytest.mark.parametrize(("heading", "dialect"), [("## Flat", Dialect.FLAT), ("## Nested", Dialect.NESTED)])
def test_examples_are_events(heading: str, dialect: Dialect) -> None:
    """The example of each dialect is an event of that dialect, with nothing to remark on."""
    example = re.search(r"```json\n(.*?)```", section(EVENTS, heading), re.DOTALL)
    assert example
    batch = decoded(json.loads(example[1])).batch
    assert batch is not None
    assert batch.dialects.tolist() == [dialect]
    assert batch.flags.tolist() == [0 if dialect is Dialect.FLAT else Flag.TIMESTAMP_MISSING]


def decoded(event: dict[str, Any]) -> Decoded:
    """What the decoder makes of one event."""
    now_ns = np.array([1_768_473_060_000_000_000])
    source = PartitionId("docs", "events", 0)
    return decode(Delivery(source, [json.dumps(event).encode()], np.array([0]), now_ns, int(now_ns[0]), 0, 1), Parsing())


def test_anomaly_types_are_those_of_the_code() -> None:
    """The table of types in docs/detection.md says what `anomaly_type` answers, for every metric."""
    rows = re.findall(r"^\| (`\w+_\w+`.*|`error`.*) \|$", section(DETECTION, "## Severity"), re.MULTILINE)
    seen = {}
    for row in rows:
        metrics, spike, drift, *_ = (cell.strip() for cell in row.split("|"))
        for name in re.findall(r"`(\w+)`", metrics):
            seen[name] = (spike.strip("`"), drift.strip("`"))
    assert seen == {
        metric.name: (anomaly_type(metric, DetectorName.ZSCORE), anomaly_type(metric, DetectorName.CUSUM)) for metric in METRICS
    }
    assert list(seen) == list(METRIC_NAMES)


def test_named_keys_exist() -> None:
    """A dotted configuration key in a code span is a key of the schema; `state.db` is a file."""
    tops = "|".join(Config.model_fields)
    for document in DOCUMENTS:
        for key in re.findall(rf"`((?:{tops})\.(?!db`)[a-z_.]+)(?:: [^`]*)?`", prose(document)):
            assert _is_key(key.split(".")), f"{document.name}: {key}"


def _is_key(path: list[str]) -> bool:
    section_: type[Section] | None = Config
    for name in path:
        if section_ is None or name not in section_.model_fields:
            return False
        section_ = shapes_of(section_)[name].section
    return True


def test_named_metrics_exist() -> None:
    """A metric in a code span is in the registry, counters with their suffix; measurements in InfluxDB look like them."""
    exposed = {sample.name for family in Metrics().registry.collect() for sample in family.samples}
    known = (
        {POSITIONS, "sentinel_probe"}
        | exposed
        | {f"{family.name}{'_total' * (family.type == 'counter')}" for family in Metrics().registry.collect()}
    )
    for document in DOCUMENTS:
        if document.name != "metrics.md":
            named = set(re.findall(r"`(sentinel_[a-z_]+)`", prose(document)))
            assert named <= known, document.name


def test_metrics_have_no_labels_from_events() -> None:
    """Every label of our own metrics is one of a fixed list; none can hold a service, a model or a person."""
    labels = {name for collector in vars(Metrics()).values() for name in getattr(collector, "_labelnames", ())}
    assert labels <= OWN_LABELS


def test_named_operations_exist() -> None:
    """A path of the API in a document is one that the server has."""
    modules = [importlib.import_module(f"sentinel.api.{found.name}") for found in pkgutil.iter_modules(api.__path__)]
    paths = {operation.path for module in modules for operation in getattr(module, "OPERATIONS", ())}
    paths |= {"/api/v1/status", "/api/v1/ledger", "/api/v1/openapi.json"}
    for document in DOCUMENTS:
        for path in OPERATION.findall(document.read_text(encoding="utf-8")):
            assert path.rstrip("./-") in paths, f"{document.name}: {path}"
