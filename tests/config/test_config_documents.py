"""What is written about the configuration is true: the annotated file, the generated document, the JSON Schema, the schema itself."""

import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from jsonschema import Draft202012Validator

from sentinel.config.checks import check_run
from sentinel.config.document import render
from sentinel.config.loader import load
from sentinel.config.problems import KeyPath, dotted
from sentinel.config.reading import known_keys
from sentinel.config.schema import Cache, Config, Deduplication, InfluxDB, Kafka, MetricName, RabbitMQ, Redis, Webhook, json_schema
from sentinel.config.section import Section
from sentinel.config.shape import Shape, expected, shapes_of
from sentinel.core.metrics import METRIC_NAMES

ROOT = Path(__file__).parents[2]
ANNOTATED = ROOT / "config" / "sentinel.yaml"
SECRETS_BY_FILE = {path for path in known_keys(Config) if (*path[:-1], f"{path[-1]}_file") in known_keys(Config)}
"""Keys the annotated file names in prose: it sets their `*_file` sisters instead."""


def switched_on(text: str) -> str:
    """The annotated file with every `#key` switched on."""
    return re.sub(r"^( *)#(?=[^ \n])", r"\1", text, flags=re.MULTILINE)


def section_with(path: KeyPath) -> type[Section]:
    """The section that a key stands in."""
    section: type[Section] = Config
    for part in path[:-1]:
        inner = shapes_of(section)[str(part)].section
        assert inner is not None
        section = inner
    return section


def shape_at(path: KeyPath) -> Shape:
    """What a key accepts."""
    return shapes_of(section_with(path))[str(path[-1])]


def test_the_annotated_file_is_the_defaults() -> None:
    """config/sentinel.yaml loads without a problem, to `run` as well, and changes nothing."""
    loaded = load(ANNOTATED, {})
    assert check_run(loaded) == []
    assert loaded.config == Config()


def test_the_annotated_file_names_every_key(tmp_path: Path) -> None:
    """Switched on, its commented keys are known, valid and complete; only the files they name are missing."""
    path = tmp_path / "sentinel.yaml"
    path.write_text(switched_on(ANNOTATED.read_text(encoding="utf-8")), encoding="utf-8")
    loaded = load(path, {}, read_secrets=False)
    assert {problem.code for problem in check_run(loaded)} == {"no_file", "unused_store", "unused_directory"}
    assert set(known_keys(Config)) - set(loaded.positions) == SECRETS_BY_FILE


OPTIONAL: dict[KeyPath, Section] = {
    ("ingestion", "kafka"): Kafka(brokers=["a:1"]),
    ("storage", "influxdb"): InfluxDB(),
    ("storage", "cache"): Cache(),
    ("storage", "redis"): Redis(),
    ("alerting", "rabbitmq"): RabbitMQ(),
    ("alerting", "webhook"): Webhook(),
    ("alerting", "deduplication"): Deduplication(),
}
"""The sections that are absent by default, as they are without a key more than they need."""


@pytest.mark.parametrize("path", OPTIONAL, ids=dotted)
def test_commented_defaults_are_the_defaults(tmp_path: Path, path: KeyPath) -> None:
    """Where a switched-off line gives a value that has a default, it is the default, but for what must be chosen by the user."""
    file = tmp_path / "sentinel.yaml"
    file.write_text(switched_on(ANNOTATED.read_text(encoding="utf-8")), encoding="utf-8")
    section: Any = load(file, {}, read_secrets=False).config
    for part in path:
        section = getattr(section, str(part))
    defaults = OPTIONAL[path].model_dump()
    chosen = {"brokers", "security"} | {name for name, value in defaults.items() if value is None}
    assert section.model_dump(exclude=chosen) == {name: value for name, value in defaults.items() if name not in chosen}


def test_the_list_of_optional_sections_is_complete() -> None:
    """The test above compares every section that may be absent."""
    assert set(OPTIONAL) == {path for path in known_keys(Config) if shape_at(path).section is not None and shape_at(path).nullable}


def test_the_document_is_up_to_date() -> None:
    """docs/configuration.md is what `sentinel config docs` writes."""
    assert (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8") == render()


@pytest.mark.parametrize("path", known_keys(Config), ids=dotted)
def test_every_key_has_a_sentence(path: KeyPath) -> None:
    """Each key says what it means in a sentence, and has a default or is required."""
    field = section_with(path).model_fields[str(path[-1])]
    assert field.description is not None
    assert field.description.endswith(".")
    assert expected(shape_at(path))


def test_links_of_the_document_lead_somewhere() -> None:
    """Every section link has its heading."""
    text = render()
    headings = {heading.replace(".", "").strip("`") for heading in re.findall(r"^### (.+)$", text, flags=re.MULTILINE)}
    assert set(re.findall(r"\]\(#([a-z_]+)\)", text)) <= headings


def test_the_json_schema_agrees_with_the_loader() -> None:
    """The JSON Schema is valid, takes the annotated and the complete example, and refuses unknown keys."""
    Draft202012Validator.check_schema(json_schema())
    validator = Draft202012Validator(json_schema())
    for path in (ANNOTATED, Path(__file__).parent / "seed_example.yaml"):
        assert list(validator.iter_errors(yaml.safe_load(path.read_text(encoding="utf-8")))) == []
    assert list(validator.iter_errors({"api": {"bind_adr": "x"}}))


def test_metric_names_are_those_of_the_domain() -> None:
    """The names the configuration takes are the measured columns, in their order."""
    assert get_args(MetricName) == METRIC_NAMES
