"""`docs/configuration.md`, written from the schema: what a key is called, takes, defaults to and means stands in one place only."""

import json
from collections.abc import Iterator, Mapping
from typing import Final

from pydantic.fields import FieldInfo

from sentinel.config.problems import KeyPath, dotted
from sentinel.config.schema import Config
from sentinel.config.section import Section
from sentinel.config.shape import Shape, expected, shapes_of
from sentinel.config.yaml_tree import MAX_BYTES, MAX_DEPTH, MAX_NODES

REFUSALS: Final[Mapping[str, str]] = {
    "unset_variable": "A value needs an environment variable that is not set and has no default.",
    "no_file": "A `*_file` key names a file that cannot be read.",
    "plaintext_kafka": "A broker on another machine is reached without encryption, and `security.insecure` is not true.",
    "plaintext": (
        "InfluxDB, Redis, RabbitMQ, PostgreSQL or the bucket of the checkpoints is reached on another machine without encryption, and the "
        "section's `insecure` is not true; or the webhook's URL begins with http://, and `allowed_networks` is empty."
    ),
    "sasl_incomplete": "The SASL protocols are used without a user and a password.",
    "no_pseudonym_key": "Replicas share a Kafka group or a Redis on another machine, and no pseudonym key is given for them to share.",
    "short_key": "The pseudonym key has fewer than 16 characters.",
    "no_source": "Kafka, HTTP and files are all switched off.",
    "no_detector": "A detector of others is not installed, or cannot be imported.",
    "never_ends": "`files.exit_at_end` is set beside Kafka, which never ends.",
}
"""Code -> what `sentinel run` refuses although the file is valid."""

_HEAD = f"""\
# Configuration

Written by `sentinel config docs` from the schema in `sentinel/config`; change it there.

`sentinel run --config FILE` reads one YAML file; without `--config` it is the one that `SENTINEL_CONFIG` names; without that the built-in
defaults apply, which need nothing but Python (embedded mode). [`config/sentinel.yaml`](../config/sentinel.yaml) shows every key with its
default.

| Command | What it does |
|---|---|
| `sentinel config validate [FILE]` | prints every problem with its line and its cure; exit code 0 if the file is valid, 3 if not |
| `sentinel config show [FILE]` | prints the configuration in effect, secrets starred out |
| `sentinel config schema` | prints the JSON Schema, for editors |

## How a file is read

- Unknown keys, keys that stand twice, wrong types and values out of range are errors. All problems are told at once.
- `${{NAME}}` is replaced by the environment variable `NAME`, `${{NAME:-default}}` by `default` when that is unset or empty.
  This is done once, in values only, after the file was parsed: what a variable holds is never read as YAML and never expanded
  again. `$${{` stands for the two characters `${{`. A variable that is unset and has no default is a warning to `validate`;
  `run` refuses it.
- The key decides how a value is read: `topic: 2024` is text, `password: 0123` keeps its zero.
- A secret can stand in the file, come from a variable, or be read from a file: `password_file: FILE` fills `password`. One line end is
  ignored. A relative path in a `*_file` key starts from the directory of the configuration file; all other paths start from the working
  directory. A secret file that others may read is a warning.
- Secrets are never printed: not by `show`, not in messages, not in logs. Problems never quote a value.
- The file is UTF-8, at most {MAX_BYTES} bytes, {MAX_NODES} values and {MAX_DEPTH} levels. Tags (`!...`) and merge keys (`<<`) are refused.

| Variable | Effect |
|---|---|
| `SENTINEL_CONFIG` | the file to read when no `--config` is given |
| `SENTINEL_LOG_LEVEL` | goes before `observability.log_level` |
| `SENTINEL_LOG_JSON` | goes before `observability.log_json` |
| `STATE_DIRECTORY` | the state directory when the file does not name one (systemd sets it; of several, the first) |

## What `sentinel run` refuses

`validate` reports these as warnings, because a file may be checked on another machine than the one that runs it; `run` does not start.

| Code | Reason |
|---|---|
"""


def render() -> str:
    """The whole document, Markdown."""
    refusals = "\n".join(f"| `{code}` | {reason} |" for code, reason in REFUSALS.items())
    keys = "\n".join(_section(Config, ()))
    return f"{_HEAD}{refusals}\n\n## Keys\n\n{keys}"


def _section(section: type[Section], path: KeyPath) -> Iterator[str]:
    """Heading, sentence and table of one section, then its sections."""
    yield f"### {f'`{dotted(path)}`' if path else 'Top level'}\n"
    yield (section.__doc__ or "").strip()
    yield "\n| Key | Value | Default | Meaning |\n|---|---|---|---|"
    shapes = shapes_of(section)
    for name, field in section.model_fields.items():
        yield _row(name, field, shapes[name], (*path, name))
    yield ""
    for name, shape in shapes.items():
        if shape.section is not None:
            yield from _section(shape.section, (*path, name))
        elif shape.item is not None and shape.item.section is not None:
            yield from _section(shape.item.section, (*path, f"{name}[]"))


def _row(name: str, field: FieldInfo, shape: Shape, path: KeyPath) -> str:
    meaning = _cell(field.description or "")
    if shape.section is not None:
        anchor = "".join(character for character in dotted(path) if character not in ".[]")
        return f"| [`{name}`](#{anchor}) | section | {'absent' if shape.nullable else 'its defaults'} | {meaning} |"
    value = "a secret" if shape.kind == "secret" else expected(shape)
    return f"| `{name}` | {_cell(value)} | {_default(field, shape)} | {meaning} |"


def _default(field: FieldInfo, shape: Shape) -> str:
    if shape.required:
        return "required"
    default = field.get_default(call_default_factory=True)
    return "absent" if default is None else f"`{_cell(json.dumps(default))}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
