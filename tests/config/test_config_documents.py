"""What is written about the configuration is true: the annotated file, the generated document, the JSON Schema, the schema itself."""

import re
from pathlib import Path
from typing import get_args

import pytest
import yaml
from jsonschema import Draft202012Validator

from sentinel.config.checks import check_run
from sentinel.config.document import render
from sentinel.config.loader import load
from sentinel.config.problems import KeyPath, dotted
from sentinel.config.reading import known_keys
from sentinel.config.schema import Config, Kafka, MetricName, json_schema
from sentinel.config.section import Section
from sentinel.config.shape import expected, shapes_of
from sentinel.core.metrics import METRIC_NAMES

ROOT = Path(__file__).parents[2]
ANNOTATED = ROOT / "config" / "sentinel.yaml"
SECRETS_BY_FILE = {("privacy", "pseudonym_key"), ("ingestion", "kafka", "security", "password")}
"""Keys the annotated file names in prose: it sets their `*_file` sisters instead."""


def switched_on(text: str) -> str:
    """The annotated file with every `#key` switched on."""
    return re.sub(r"^( *)#(?=[^ \n])", r"\1", text, flags=re.MULTILINE)


def built(section: type[Section], path: KeyPath = ()) -> set[KeyPath]:
    """Paths of all keys that are built."""
    keys: set[KeyPath] = set()
    for name, shape in shapes_of(section).items():
        if not shape.not_built:
            keys.add((*path, name))
            keys |= built(shape.section, (*path, name)) if shape.section else set()
    return keys


def test_the_annotated_file_is_the_defaults() -> None:
    """config/sentinel.yaml loads without a problem, to `run` as well, and changes nothing."""
    loaded = load(ANNOTATED, {})
    assert check_run(loaded) == []
    assert loaded.config == Config()


def test_the_annotated_file_names_every_built_key(tmp_path: Path) -> None:
    """Switched on, its commented keys are known, valid and complete; only the files they name are missing."""
    path = tmp_path / "sentinel.yaml"
    path.write_text(switched_on(ANNOTATED.read_text(encoding="utf-8")), encoding="utf-8")
    loaded = load(path, {}, read_secrets=False)
    assert {problem.code for problem in check_run(loaded)} == {"no_file"}
    assert built(Config) - set(loaded.positions) - {("alerting",)} == SECRETS_BY_FILE


def test_commented_defaults_are_the_defaults(tmp_path: Path) -> None:
    """Where a switched-off line gives a value that has a default, it is the default, but for what must be chosen by the user."""
    path = tmp_path / "sentinel.yaml"
    path.write_text(switched_on(ANNOTATED.read_text(encoding="utf-8")), encoding="utf-8")
    kafka = load(path, {}, read_secrets=False).config.ingestion.kafka
    assert kafka is not None
    chosen = {"brokers", "group_instance_id", "security"}
    assert kafka.model_dump(exclude=chosen) == Kafka(brokers=["a:1"]).model_dump(exclude=chosen)


def test_the_document_is_up_to_date() -> None:
    """docs/configuration.md is what `sentinel config docs` writes."""
    assert (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8") == render()


@pytest.mark.parametrize("path", known_keys(Config), ids=dotted)
def test_every_key_has_a_sentence(path: KeyPath) -> None:
    """Each key says what it means in a sentence, and has a default or is required."""
    section: type[Section] = Config
    for part in path[:-1]:
        inner = shapes_of(section)[str(part)].section
        assert inner is not None
        section = inner
    field = section.model_fields[str(path[-1])]
    assert field.description is not None
    assert field.description.endswith(".")
    assert expected(shapes_of(section)[str(path[-1])])


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
