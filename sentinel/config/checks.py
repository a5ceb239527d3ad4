"""What is well written and still unsafe, contradictory or not built. Pure: a loaded configuration in, problems out.

`check` says what `sentinel config validate` tells, `check_run` the same as `sentinel run` sees it: there, what is unsafe, unset or not
built is an error. docs/configuration.md lists what it refuses.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

import re2

from sentinel.config.addresses import Address, host_of_url, is_loopback, parse_address
from sentinel.config.loader import Loaded
from sentinel.config.problems import KeyPath, Problem, Severity, dotted, in_reading_order
from sentinel.config.schema import Kafka, KafkaSecurity
from sentinel.config.section import Section
from sentinel.config.shape import shapes_of

SHORTEST_KEY_CHARS: Final = 16
_KEY_CURE = (
    "Make one with `openssl rand -hex 32 > FILE`, give every replica the same file, and name it in `privacy.pseudonym_key_file`; "
    "replicas with different keys would give one person several pseudonyms."
)


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that applies, before it knows its place in the file."""

    path: KeyPath
    code: str
    what: str
    suggestion: str
    severity: Severity = "warning"
    blocks_run: bool = False


Rule = Callable[[Loaded], Iterator[Finding]]


def check(loaded: Loaded) -> list[Problem]:
    """Everything known against a configuration: what loading found, and every rule of this file. Errors make it invalid."""
    found = [_placed(finding, loaded) for rule in RULES for finding in rule(loaded)]
    return list(in_reading_order([*loaded.problems, *found]))


def check_run(loaded: Loaded) -> list[Problem]:
    """The same as `sentinel run` judges it: `run` must not start while one of these is an error."""
    return [replace(problem, severity="error") if problem.blocks_run else problem for problem in check(loaded)]


def _placed(finding: Finding, loaded: Loaded) -> Problem:
    file, line, column = loaded.place(finding.path)
    key = dotted(finding.path)
    return Problem(file, line, column, key, finding.code, finding.what, finding.suggestion, finding.severity, finding.blocks_run)


# --------------------------------------------------------------------------------------------------------------------- not built


def _not_built(loaded: Loaded) -> Iterator[Finding]:
    """Sections that are understood and do nothing yet, unless they are switched off."""
    for path, section in _sections(loaded.config):
        yield from (
            Finding(
                (*path, name),
                "not_built",
                "is not built in this version, and `sentinel run` refuses it",
                "Remove the section." if "enabled" not in shapes_of(type(part)) else "Remove the section, or set its `enabled` to false.",
                blocks_run=True,
            )
            for name, part in _parts(section)
            if shapes_of(type(section))[name].not_built and getattr(part, "enabled", True)
        )


def _plaintext_urls(loaded: Loaded) -> Iterator[Finding]:
    """Connections that could be read on the way."""
    for path, section in _sections(loaded.config):
        url = getattr(section, "url", None)
        if not isinstance(url, str) or not getattr(section, "enabled", True):
            continue
        scheme = url.partition(":")[0].lower()
        if scheme in _ENCRYPTED_SCHEME and not is_loopback(host_of_url(url)):
            suggestion = f"Use {_ENCRYPTED_SCHEME[scheme]}://."
            yield Finding((*path, "url"), "plaintext", f"begins with {scheme}://: everything sent there can be read on the way", suggestion)


_ENCRYPTED_SCHEME = {"http": "https", "redis": "rediss", "amqp": "amqps"}


# ------------------------------------------------------------------------------------------------------------------------- kafka


_KAFKA: KeyPath = ("ingestion", "kafka")


def _broker(text: str) -> Address | None:
    """Where a broker is; None when the text does not say."""
    try:
        address = parse_address(text)
    except ValueError:
        return None
    return address if address.host and address.port else None


def _known_brokers(loaded: Loaded, kafka: Kafka) -> Iterator[tuple[KeyPath, Address | None]]:
    """The brokers whose text holds no unset variable."""
    for index, text in enumerate(kafka.brokers):
        path = (*_KAFKA, "brokers", index)
        if path not in loaded.unset:
            yield path, _broker(text)


def _remote_brokers(loaded: Loaded, kafka: Kafka) -> int:
    """How many brokers are known not to be on this machine."""
    return sum(address is not None and not is_loopback(address.host) for _, address in _known_brokers(loaded, kafka))


def _kafka(loaded: Loaded) -> Iterator[Finding]:
    """Rules of the Kafka section."""
    kafka = loaded.config.ingestion.kafka
    if kafka is None:
        return
    for path, address in _known_brokers(loaded, kafka):
        if address is None:
            yield Finding(path, "bad_address", "is not host:port", "Write it like kafka-0.example.com:9092.", "error")
    yield from _kafka_commits(kafka)
    yield from _kafka_encryption(loaded, kafka)
    yield from _kafka_credentials(kafka.security)
    yield from _pseudonym_key(loaded, kafka)


def _kafka_commits(kafka: Kafka) -> Iterator[Finding]:
    if kafka.enable_auto_commit:
        what = "must be false: an automatic commit confirms events before they are stored, and a crash then loses them"
        yield Finding((*_KAFKA, "enable_auto_commit"), "auto_commit", what, "Set it to false, or remove it.", "error")
    if kafka.dead_letter_topic == kafka.topic:
        what = "is the topic that is consumed: every dead letter would be read and rejected again, without end"
        yield Finding((*_KAFKA, "dead_letter_topic"), "same_topic", what, "Name another topic.", "error")
    if kafka.session_timeout_ms >= kafka.rebalance_timeout_ms and kafka.group_instance_id is None:
        what = "is not below rebalance_timeout_ms: a rebalance would wait longer for a dead replica than for a living one"
        yield Finding((*_KAFKA, "session_timeout_ms"), "timeouts", what, "Lower it, or raise rebalance_timeout_ms.")


def _kafka_encryption(loaded: Loaded, kafka: Kafka) -> Iterator[Finding]:
    security = kafka.security
    if security.protocol in {"SSL", "SASL_SSL"} or security.insecure:
        return
    remote = _remote_brokers(loaded, kafka)
    if remote:
        what = f"has {remote} that are reached without encryption and are not on this machine"
        cure = "Set `security.protocol` to SSL or SASL_SSL, or `security.insecure: true` if the network is trusted."
        yield Finding((*_KAFKA, "brokers"), "plaintext_kafka", what, cure, blocks_run=True)


def _kafka_credentials(security: KafkaSecurity) -> Iterator[Finding]:
    path = (*_KAFKA, "security")
    has_password = security.password is not None or security.password_file is not None
    if security.protocol.startswith("SASL_") and not (security.username and has_password):
        cure = "Give `username`, and `password_file` or `password`."
        yield Finding((*path, "protocol"), "sasl_incomplete", "uses SASL without a user and a password", cure, blocks_run=True)
    if not security.protocol.startswith("SASL_") and (security.username or has_password):
        what = f"is {security.protocol}, which does not use the user and password that are set"
        yield Finding((*path, "protocol"), "sasl_unused", what, "Set it to SASL_SSL, or remove the user and the password.")
    if (security.cert_file is None) != (security.key_file is None):
        there, missing = ("key_file", "cert_file") if security.cert_file is None else ("cert_file", "key_file")
        yield Finding((*path, there), "half_certificate", f"is set without {missing}", "Set both, or neither.", "error")


def _pseudonym_key(loaded: Loaded, kafka: Kafka) -> Iterator[Finding]:
    """Replicas of a group must share one key; only on one machine may it be made up."""
    privacy = loaded.config.privacy
    path = ("privacy", "pseudonym_key_file")
    if privacy.pseudonym_key is not None or privacy.pseudonym_key_file is not None or ("privacy", "pseudonym_key") in loaded.unset:
        return
    anywhere_else = _remote_brokers(loaded, kafka) or any(unset[:3] == (*_KAFKA, "brokers") for unset in loaded.unset)
    if anywhere_else:
        yield Finding(path, "no_pseudonym_key", "is not set, and replicas of a Kafka group must share one key", _KEY_CURE, blocks_run=True)
    else:
        what = "is not set: a key is generated in the state directory, which is right for one replica only"
        yield Finding(path, "generated_pseudonym_key", what, _KEY_CURE)


def _short_key(loaded: Loaded) -> Iterator[Finding]:
    """A key that can be guessed makes pseudonyms reversible."""
    key = loaded.config.privacy.pseudonym_key
    if key is not None and len(key.reveal()) < SHORTEST_KEY_CHARS:
        what = f"holds fewer than {SHORTEST_KEY_CHARS} characters, so pseudonyms could be reversed by trying keys"
        name = "pseudonym_key" if ("privacy", "pseudonym_key") in loaded.positions else "pseudonym_key_file"
        yield Finding(("privacy", name), "short_key", what, "Make one with `openssl rand -hex 32`.", blocks_run=True)


# --------------------------------------------------------------------------------------------------------------------- ingestion


def _sources(loaded: Loaded) -> Iterator[Finding]:
    """A daemon without an input, and HTTP limits that contradict each other."""
    ingestion, api = loaded.config.ingestion, loaded.config.api
    if ingestion.kafka is None and not ingestion.files.paths and not ingestion.http.enabled:
        cure = "Set `http.enabled` to true, or configure `kafka` or `files.paths`."
        yield Finding(("ingestion",), "no_source", "has no source switched on", cure, blocks_run=True)
    if ingestion.kafka is not None and ingestion.files.exit_at_end:
        what = "is set beside `kafka`, which never ends, so the daemon would never exit"
        yield Finding(("ingestion", "files", "exit_at_end"), "never_ends", what, "Set it to false, or remove `kafka`.", blocks_run=True)
    paths = ingestion.files.paths
    if len(set(paths)) < len(paths):
        what = "names a file twice: its lines would be learned twice"
        yield Finding(("ingestion", "files", "paths"), "same_file", what, "Name each file once.", "error")
    if loaded.config.privacy.capture == "redacted" and not ingestion.parsing.enable_sanitization:
        what = "is redacted, but `ingestion.parsing.enable_sanitization` is false, so no text is kept"
        yield Finding(("privacy", "capture"), "nothing_to_capture", what, "Set sanitization to true, or capture to none.")
    if ingestion.http.enabled and ingestion.http.queue_max_bytes < api.max_body_size:
        what = "is below api.max_body_size: a request of that size would always be told to come back later"
        yield Finding(("ingestion", "http", "queue_max_bytes"), "queue_below_body", what, "Raise it, or lower api.max_body_size.")


def _plausibility(loaded: Loaded) -> Iterator[Finding]:
    """Limits that exclude everything."""
    validation, baseline = loaded.config.ingestion.validation, loaded.config.detection.baseline
    if validation.min_latency_ms > validation.max_latency_ms:
        what = "is above max_latency_ms, so no latency would be plausible"
        yield Finding(("ingestion", "validation", "min_latency_ms"), "empty_range", what, "Exchange the two.", "error")
    if baseline.min_samples > baseline.window_size:
        what = "is above window_size, so no window would ever be judged against"
        yield Finding(("detection", "baseline", "min_samples"), "empty_range", what, "Lower it, or raise window_size.", "error")


def _patterns(loaded: Loaded) -> Iterator[Finding]:
    """Expressions that RE2 does not take."""
    options = re2.Options()
    options.log_errors = False
    for index, pattern in enumerate(loaded.config.ingestion.parsing.sanitize_patterns):
        path = ("ingestion", "parsing", "sanitize_patterns", index)
        if path in loaded.unset:
            continue
        try:
            re2.compile(pattern, options=options)
        except re2.error:
            cure = "See https://github.com/google/re2/wiki/Syntax: no back-references, no look-around."
            yield Finding(path, "bad_pattern", "is not an RE2 expression", cure, "error")


# --------------------------------------------------------------------------------------------------------------------------- api


def _bind(loaded: Loaded) -> Iterator[Finding]:
    """Who could reach the API."""
    path = ("api", "bind_addr")
    try:
        address = parse_address(loaded.config.api.bind_addr)
    except ValueError:
        yield Finding(path, "bad_address", "is not host:port", "Write it like 127.0.0.1:8080.", "error")
        return
    if not is_loopback(address.host):
        what = "lets other machines in, and API keys are not built in this version"
        cure = "Listen on 127.0.0.1 and put a reverse proxy with authentication in front."
        yield Finding(path, "public_bind", what, cure, blocks_run=True)


def _cors(loaded: Loaded) -> Iterator[Finding]:
    """Which web pages could read answers."""
    api = loaded.config.api
    if api.enable_cors and "*" in api.cors_origins:
        index = api.cors_origins.index("*")
        what = "lets every web page that someone on this machine opens read the answers"
        yield Finding(("api", "cors_origins", index), "any_origin", what, "Name the origins, like https://dashboard.example.com.")
    if api.enable_cors and not api.cors_origins:
        yield Finding(
            ("api", "enable_cors"), "no_origin", "is true, and `cors_origins` names no origin", "Name the origins, or set it to false."
        )


def _metrics_path(loaded: Loaded) -> Iterator[Finding]:
    """A metrics path that would hide a page of the API."""
    path = loaded.config.api.metrics_path
    if path in {"/", "/docs"} or path.startswith(("/api/", "/health/")):
        yield Finding(("api", "metrics_path"), "taken_path", "is a path the API uses itself", "Choose another, like /metrics.", "error")


RULES: Final[tuple[Rule, ...]] = (
    _not_built,
    _plaintext_urls,
    _kafka,
    _short_key,
    _sources,
    _plausibility,
    _patterns,
    _bind,
    _cors,
    _metrics_path,
)


def _sections(section: Section, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Section]]:
    """All sections that are set, outer ones first."""
    yield path, section
    for name, part in _parts(section):
        yield from _sections(part, (*path, name))


def _parts(section: Section) -> Iterator[tuple[str, Section]]:
    for name in shapes_of(type(section)):
        part = getattr(section, name)
        if isinstance(part, Section):
            yield name, part
