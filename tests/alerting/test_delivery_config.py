"""The sections `rabbitmq`, `webhook` and `batching` as a file states them."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from sentinel.config.loader import draft
from sentinel.config.sections_alerting import Batching, RabbitMQ, Webhook


def test_secrets_come_from_files(tmp_path: Path) -> None:
    """Password, secret and the next secret, each from its own file, and none of them is shown."""
    for name in ("password", "secret", "next"):
        (tmp_path / name).write_text(f"hush-{name}\n")
        (tmp_path / name).chmod(0o600)
    file = tmp_path / "sentinel.yaml"
    file.write_text(
        "alerting:\n  rabbitmq:\n    password_file: password\n  webhook:\n    url: https://alerts.example/\n"
        "    secret_file: secret\n    secret_next_file: next\n"
    )
    alerting = draft(file, {}, read_secrets=True).config.alerting
    assert alerting.rabbitmq is not None
    assert alerting.webhook is not None
    found = [alerting.rabbitmq.password, alerting.webhook.secret, alerting.webhook.secret_next]
    assert [secret.reveal() for secret in found if secret] == ["hush-password", "hush-secret", "hush-next"]
    assert "hush" not in repr(alerting) + alerting.model_dump_json()


@pytest.mark.parametrize(
    ("section", "wrong"),
    [
        (Webhook, {"url": "ftp://alerts.example/"}),
        (Webhook, {"url": "https://user:hush@alerts.example/"}),
        (Webhook, {"allowed_networks": ["10.0.0.1/8"]}),
        (Webhook, {"allowed_networks": ["everything"]}),
        (Webhook, {"max_in_flight": 0}),
        (RabbitMQ, {"url": "http://mq.example"}),
        (RabbitMQ, {"url": "amqp://user:hush@mq.example"}),
        (RabbitMQ, {"url": "amqps://mq.example/?no_verify_ssl=1"}),
        (RabbitMQ, {"routing_key_prefix": "alert #"}),
        (RabbitMQ, {"routing_key_prefix": ""}),
        (RabbitMQ, {"exchange": ""}),
        (RabbitMQ, {"queue_max_length": 0}),
        (Batching, {"max_alerts": 1}),
        (Batching, {"max_wait_ms": 60_001}),
    ],
)
def test_what_cannot_work_is_refused(section: type[Webhook | RabbitMQ | Batching], wrong: dict[str, object]) -> None:
    """At load, and without quoting what was given."""
    with pytest.raises(ValidationError) as raised:
        section.model_validate(wrong)
    assert "hush" not in str(raised.value)
