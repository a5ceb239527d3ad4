"""What is valid and still refused: every rule, its severity to `validate` and to `run`, and its place."""

from pathlib import Path

import pytest

from sentinel.config.addresses import is_loopback, parse_address
from sentinel.config.checks import check, check_run
from sentinel.config.document import REFUSALS
from sentinel.config.loader import load
from sentinel.config.problems import Problem

SEED = Path(__file__).parent / "seed_example.yaml"
KEY = "privacy: {pseudonym_key: 0123456789abcdef}\n"


def judged(tmp_path: Path, text: str) -> tuple[dict[str, Problem], dict[str, Problem]]:
    """Problems by code as `validate` and as `run` see them."""
    path = tmp_path / "sentinel.yaml"
    path.write_text(text, encoding="utf-8")
    loaded = load(path, {}, read_secrets=False)
    return {problem.code: problem for problem in check(loaded)}, {problem.code: problem for problem in check_run(loaded)}


def kafka(keys: str, brokers: str = "[localhost:9092]") -> str:
    """A file with a Kafka section and a key."""
    return f"{KEY}ingestion:\n  kafka:\n    brokers: {brokers}\n    {keys}\n"


def test_defaults_have_no_problems() -> None:
    """What runs without a file is safe: nothing to say."""
    assert check_run(load(None, {})) == []


TLS = "tls_cert_file: CERT, tls_key_file: CERT"
REMOTE = "[kafka-0:9092, localhost:9092, '10.0.0.1:9092']"
INFLUXDB = "storage:\n  influxdb: {url: 'http://influxdb:8086'}\n"
REDIS = f"{KEY}storage:\n  redis: {{enabled: true, dedupe: true, url: 'redis://redis:6379'}}\n"
RABBITMQ = "alerting:\n  rabbitmq: {url: 'amqp://rabbitmq:5672'}\n"
STATE = "state:\n  tls: off\n  url: postgresql://postgres:5432/sentinel\n"
SHARED = "storage:\n  influxdb: {}\n  cache: {}\n  redis: {enabled: true, url: 'rediss://redis:6379'}\n"
WEBHOOK = "alerting:\n  webhook: {enabled: true, secret: s, url: 'http://alerts.example.com'}\n"
CHECKPOINTS = "state:\n  checkpoints: {url: 's3://bucket/a', endpoint: 'http://minio:9000'}\n"
REFUSED = [
    (CHECKPOINTS, "plaintext", 2, "state.checkpoints.endpoint"),
    (INFLUXDB, "plaintext", 2, "storage.influxdb.url"),
    (REDIS, "plaintext", 3, "storage.redis.url"),
    (RABBITMQ, "plaintext", 2, "alerting.rabbitmq.url"),
    (STATE, "plaintext", 2, "state.tls"),
    (WEBHOOK, "plaintext", 2, "alerting.webhook.url"),
    (WEBHOOK.replace("alerts.example.com", "localhost"), "plaintext", 2, "alerting.webhook.url"),
    (SHARED, "no_pseudonym_key", None, "privacy.pseudonym_key_file"),
    (
        SHARED.replace("  influxdb: {}\n  cache: {}\n", "").replace("true,", "true, dedupe: true,"),
        "no_pseudonym_key",
        None,
        "privacy.pseudonym_key_file",
    ),
    ("ingestion:\n  http: {enabled: false}\n", "no_source", 1, "ingestion"),
    (kafka("topic: x\n  files: {paths: [a], exit_at_end: true}"), "never_ends", 6, "ingestion.files.exit_at_end"),
    (kafka("topic: x", REMOTE), "plaintext_kafka", 4, "ingestion.kafka.brokers"),
    (kafka("security: {protocol: SASL_PLAINTEXT, username: u, password: p}", REMOTE), "plaintext_kafka", 4, "ingestion.kafka.brokers"),
    (kafka("security: {protocol: SASL_SSL, username: u}"), "sasl_incomplete", 5, "ingestion.kafka.security.protocol"),
    (kafka("security: {protocol: SASL_SSL, password: u}"), "sasl_incomplete", 5, "ingestion.kafka.security.protocol"),
    (kafka("security: {insecure: true}", REMOTE).replace(KEY, "\n"), "no_pseudonym_key", None, "privacy.pseudonym_key_file"),
    (kafka("topic: x").replace("abcdef", ""), "short_key", 1, "privacy.pseudonym_key"),
    ("api:\n  timeout_secs: ${T}\n", "unset_variable", 2, "api.timeout_secs"),
    ("privacy:\n  pseudonym_key_file: /nonexistent/key\n", "no_file", 2, "privacy.pseudonym_key_file"),
    ("detection:\n  plugins:\n    not_there: {}\n", "no_detector", 3, "detection.plugins.not_there"),
]


@pytest.mark.parametrize(("text", "code", "line", "key"), REFUSED)
def test_run_refuses_what_validate_warns_about(tmp_path: Path, text: str, code: str, line: int | None, key: str) -> None:
    """Unsafe and unset: a warning to `validate`, an error to `run`, with place and cure, and nothing else."""
    warned, refused = judged(tmp_path, text)
    assert list(refused) == [code]
    assert (warned[code].severity, refused[code].severity) == ("warning", "error")
    assert (refused[code].line, refused[code].key) == (line, key)
    assert refused[code].suggestion.endswith(".")


def test_the_document_lists_what_run_refuses() -> None:
    """The table of refusals has every code that the test above saw refused, and no other."""
    assert set(REFUSALS) == {code for _, code, _, _ in REFUSED}


@pytest.mark.parametrize(
    ("text", "code", "key"),
    [
        (kafka("enable_auto_commit: true"), "auto_commit", "ingestion.kafka.enable_auto_commit"),
        (kafka("dead_letter_topic: llm.telemetry"), "same_topic", "ingestion.kafka.dead_letter_topic"),
        (kafka("topic: x", "[':9092']"), "bad_address", "ingestion.kafka.brokers[0]"),
        (kafka("topic: x", "['localhost']"), "bad_address", "ingestion.kafka.brokers[0]"),
        (kafka("topic: x", "['localhost:0']"), "bad_address", "ingestion.kafka.brokers[0]"),
        (kafka("security: {cert_file: CERT}"), "half_certificate", "ingestion.kafka.security.cert_file"),
        ("api:\n  bind_addr: '8080'\n", "bad_address", "api.bind_addr"),
        ("api:\n  bind_addr: '[::1:80'\n", "bad_address", "api.bind_addr"),
        (f"api: {{bind_addr: '0.0.0.0:80', require_keys: false, {TLS}}}\n", "public_bind", "api.require_keys"),
        ("api: {tls_cert_file: CERT}\n", "half_certificate", "api.tls_cert_file"),
        ("api: {tls_key_file: CERT}\n", "half_certificate", "api.tls_key_file"),
        ("api:\n  metrics_path: /api/v1/metrics\n", "taken_path", "api.metrics_path"),
        ("ingestion: {validation: {min_latency_ms: 2, max_latency_ms: 1}}\n", "empty_range", "ingestion.validation.min_latency_ms"),
        ("detection: {baseline: {min_samples: 20, window_size: 10}}\n", "empty_range", "detection.baseline.min_samples"),
        ("ingestion: {parsing: {sanitize_patterns: [ok, '(?<=x)y']}}\n", "bad_pattern", "ingestion.parsing.sanitize_patterns[1]"),
        ("ingestion: {files: {paths: [a, b, a]}}\n", "same_file", "ingestion.files.paths"),
        ("alerting: {webhook: {enabled: true, secret: s}}\n", "no_url", "alerting.webhook.enabled"),
        ("state: {checkpoints: {url: 's3://bucket', access_key_id: a}}\n", "half_credentials", "state.checkpoints"),
        ("state: {checkpoints: {url: 's3://bucket', secret_access_key: a}}\n", "half_credentials", "state.checkpoints"),
    ],
)
def test_contradictions_are_errors_for_everybody(tmp_path: Path, text: str, code: str, key: str) -> None:
    """What can never work is an error to `validate` too."""
    certificate = tmp_path / "cert.pem"
    certificate.touch()
    validated, refused = judged(tmp_path, text.replace("CERT", str(certificate)))
    assert list(validated) == list(refused) == [code]
    assert (validated[code].severity, validated[code].key) == ("error", key)


@pytest.mark.parametrize(
    ("text", "code", "key"),
    [
        ("api: {bind_addr: '0.0.0.0:8080'}\n", "plaintext_api", "api.bind_addr"),
        ("api: {bind_addr: ':8080', require_keys: true}\n", "plaintext_api", "api.bind_addr"),
        ("api: {bind_addr: '[::]:8080', metrics_public: true}\n", "plaintext_api", "api.bind_addr"),
        ("api: {bind_addr: 'example.com:8080'}\n", "plaintext_api", "api.bind_addr"),
        ("api: {enable_cors: true, cors_origins: ['https://a', '*']}\n", "any_origin", "api.cors_origins[1]"),
        ("api: {enable_cors: true}\n", "no_origin", "api.enable_cors"),
        ("api: {max_body_size: 20000000}\n", "queue_below_body", "ingestion.http.queue_max_bytes"),
        ("privacy: {capture: redacted}\ningestion: {parsing: {enable_sanitization: false}}\n", "nothing_to_capture", "privacy.capture"),
        (kafka("session_timeout_ms: 60000"), "timeouts", "ingestion.kafka.session_timeout_ms"),
        (kafka("security: {username: u}"), "sasl_unused", "ingestion.kafka.security.protocol"),
        (kafka("topic: x").replace(KEY, ""), "generated_pseudonym_key", "privacy.pseudonym_key_file"),
        (SHARED.replace("redis:6379", "localhost:6379"), "generated_pseudonym_key", "privacy.pseudonym_key_file"),
        ("alerting: {webhook: {enabled: true, url: 'https://a.example.com'}}\n", "unsigned_webhook", "alerting.webhook.secret_file"),
        ("canary: {enabled: true}\ningestion: {files: {paths: ['-'], exit_at_end: true}}\n", "no_way", "canary.enabled"),
        ("storage: {redis: {enabled: true}}\n", "unused_redis", "storage.redis"),
        ("storage: {redis: {enabled: true}, cache: {}}\n", "unused_redis", "storage.redis"),
        ("storage: {redis: {enabled: true}, influxdb: {}}\n", "unused_redis", "storage.redis"),
        ("storage: {influxdb: {}, embedded: {synchronous: normal}}\n", "unused_store", "storage.embedded"),
        ("state: {checkpoints: {region: eu-west-1}}\n", "unused_checkpoints", "state.checkpoints.url"),
        (
            "state: {checkpoints: {url: 's3://bucket'}}\ndetection: {baseline: {persistence_path: a}}\n",
            "unused_directory",
            "state.checkpoints.url",
        ),
    ],
)
def test_doubtful_choices_are_warnings_for_everybody(tmp_path: Path, text: str, code: str, key: str) -> None:
    """What works and is probably not meant is told, and does not keep `run` from starting."""
    validated, refused = judged(tmp_path, text)
    assert list(validated) == list(refused) == [code]
    assert (refused[code].severity, refused[code].key) == ("warning", key)


@pytest.mark.parametrize(
    "text",
    [
        "api: {bind_addr: '127.0.0.2:0'}\n",
        "api: {bind_addr: '[::1]:8080'}\n",
        "api: {bind_addr: 'localhost:8080'}\n",
        "storage: {influxdb: ~, redis: {enabled: false, url: 'redis://redis:6379'}}\n",
        "alerting: {webhook: {enabled: false, url: 'http://example.com'}, deduplication: {enabled: false}}\n",
        f"{RABBITMQ}  enabled: false\n",
        "alerting: {enabled: false, webhook: {enabled: true, url: 'http://example.com'}}\n",
        "alerting: {rabbitmq: {}, deduplication: {}}\n",
        "storage: {influxdb: {}, cache: {}}\n",
        f"{KEY}{SHARED}",
        STATE.replace("postgres:5432", "127.0.0.1:5432"),
        STATE.replace("off", "verify"),
        "state: {tls: off}\n",
        *(text.replace("url:", "insecure: true, url:") for text in (INFLUXDB, REDIS, RABBITMQ)),
        STATE.replace("url:", "insecure: true\n  url:"),
        WEBHOOK.replace("url:", "allowed_networks: [10.0.0.0/8], url:"),
        WEBHOOK.replace("secret: s", "secret_next: s").replace("http:", "https:"),
        "ingestion: {http: {enabled: false}, files: {paths: ['-']}}\n",
        "canary: {enabled: true}\n",
        "canary: {enabled: false, interval_secs: 30, silence_secs: 30}\n",
        kafka("session_timeout_ms: 300000\n    group_instance_id: a"),
        kafka("security: {protocol: SSL}", REMOTE),
        kafka("security: {insecure: true}", REMOTE),
        kafka("security: {protocol: SASL_SSL, username: u, password: p}", REMOTE),
    ],
)
def test_safe_and_switched_off_is_silent(tmp_path: Path, text: str) -> None:
    """Loopback, encryption, accepted risks and sections that are off give no problem."""
    assert judged(tmp_path, text) == ({}, {})


def test_a_public_api_with_keys_and_tls_is_silent(tmp_path: Path) -> None:
    """Nothing to say against listening everywhere with a certificate: keys are required there by themselves."""
    certificate = tmp_path / "cert.pem"
    certificate.touch()
    assert judged(tmp_path, f"api: {{bind_addr: '0.0.0.0:443', {TLS}}}\n".replace("CERT", str(certificate))) == ({}, {})


@pytest.mark.parametrize(
    ("text", "host", "scheme"), [(INFLUXDB, "influxdb", "http"), (REDIS, "redis", "redis"), (RABBITMQ, "rabbitmq", "amqp")]
)
def test_plaintext_is_cured_by_tls_or_by_staying_here(tmp_path: Path, text: str, host: str, scheme: str) -> None:
    """The cure names the scheme to use, and with it there is nothing to say; neither is there about a server on this machine."""
    assert f"Use {scheme}s://" in judged(tmp_path, text)[1]["plaintext"].suggestion
    for cured in (text.replace(f"{scheme}://", f"{scheme}s://"), text.replace(f"//{host}:", "//[::1]:")):
        assert judged(tmp_path, cured) == ({}, {})


def test_an_unset_broker_is_not_taken_for_local(tmp_path: Path) -> None:
    """A broker that is not known yet needs a shared key, and is no bad address."""
    _, refused = judged(tmp_path, "ingestion: {kafka: {brokers: ['${BROKER}']}}\n")
    assert set(refused) == {"unset_variable", "no_pseudonym_key"}


def test_an_unset_redis_is_not_taken_for_local(tmp_path: Path) -> None:
    """A Redis that is not known yet needs a shared key."""
    _, refused = judged(tmp_path, "storage: {redis: {enabled: true, dedupe: true, url: '${REDIS}'}}\n")
    assert set(refused) == {"unset_variable", "no_pseudonym_key"}


def test_kafka_and_redis_need_the_key_once(tmp_path: Path) -> None:
    """Two reasons for one shared key are one problem, which names both."""
    _, refused = judged(tmp_path, kafka("security: {protocol: SSL}", REMOTE).replace(KEY, "") + SHARED)
    assert list(refused) == ["no_pseudonym_key"]
    assert "a Kafka group and a Redis" in refused["no_pseudonym_key"].what


def test_an_unset_pattern_is_told_once(tmp_path: Path) -> None:
    """A pattern whose variable is unset is not told to be no expression as well."""
    _, refused = judged(tmp_path, "ingestion: {parsing: {sanitize_patterns: ['(${PATTERN}']}}\n")
    assert set(refused) == {"unset_variable"}


def test_an_unset_webhook_is_told_once(tmp_path: Path) -> None:
    """A target and a secret whose variables are unset are not told to be missing as well."""
    _, refused = judged(tmp_path, "alerting: {webhook: {enabled: true, url: '${URL}', secret: '${SECRET}'}}\n")
    assert set(refused) == {"unset_variable"}


def test_the_complete_example_is_valid_and_refused() -> None:
    """The example with every section loads with warnings only; `run` names each of its reasons with a line."""
    loaded = load(SEED, {}, read_secrets=False)
    assert {problem.severity for problem in check(loaded)} == {"warning"}
    reasons = {(problem.code, problem.key) for problem in check_run(loaded) if problem.severity == "error"}
    assert reasons == {
        ("plaintext_kafka", "ingestion.kafka.brokers"),
        ("no_pseudonym_key", "privacy.pseudonym_key_file"),
        ("plaintext", "storage.influxdb.url"),
        ("plaintext", "storage.redis.url"),
        ("plaintext", "alerting.rabbitmq.url"),
        ("unset_variable", "storage.influxdb.token"),
        ("unset_variable", "storage.redis.password"),
        ("unset_variable", "alerting.rabbitmq.password"),
        ("unset_variable", "alerting.webhook.secret"),
    }
    warnings = {problem.code for problem in check_run(loaded) if problem.severity == "warning"}
    assert warnings == {"plaintext_api", "any_origin"}


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("a:1", "a", 1), ("[::1]:65535", "::1", 65_535), (":0", "", 0), ("127.0.0.1:8080", "127.0.0.1", 8080)],
)
def test_addresses_are_parsed(text: str, host: str, port: int) -> None:
    """Host, port, IPv6 in brackets, and every interface."""
    assert parse_address(text) == (host, port)


@pytest.mark.parametrize("text", ["", "a", "a:", "a:b", "a:65536", "a:-1", "a:1\n", "::1:80", "[x]:1", "http://a:1", "a:²", "u@h:1"])
def test_what_is_no_address_is_refused(text: str) -> None:
    """Anything else is a ValueError."""
    with pytest.raises(ValueError, match=r".+"):
        parse_address(text)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.1.2.3", True), ("::1", True), ("LocalHost", True), ("", False), ("0.0.0.0", False), ("localhost.example.com", False)],  # noqa: S104  the address that must be seen as public
)
def test_loopback_is_told_from_the_rest(host: str, loopback: bool) -> None:
    """Only addresses that cannot leave the machine count."""
    assert is_loopback(host) is loopback
