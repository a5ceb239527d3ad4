"""Alerts, outbox, progress, keys and audit."""

from alembic import op
from sqlalchemy import BigInteger, Boolean, Column, Integer, PrimaryKeyConstraint, SmallInteger, Text, UniqueConstraint, text

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_COUNTER = BigInteger().with_variant(Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables. Forward only: a restore from a backup is the way back."""
    _alerts()
    _outbox()
    _delivery_attempts()
    _alert_progress()
    _api_keys()
    _audit()


def _alerts() -> None:
    op.create_table(
        "alerts",
        Column("alert_id", Text, nullable=False),
        Column("fingerprint", Text, nullable=False),
        Column("tenant", Text, nullable=False),
        Column("service", Text, nullable=False),
        Column("model", Text, nullable=False),
        Column("type", Text, nullable=False),
        Column("metric", Text, nullable=False),
        Column("status", Text, nullable=False),
        Column("severity", SmallInteger, nullable=False),
        Column("started_ns", BigInteger, nullable=False),
        Column("last_seen_ns", BigInteger, nullable=False),
        Column("notified_ns", BigInteger, nullable=False),
        Column("ended_ns", BigInteger),
        Column("resolve_reason", Text),
        Column("repeat", Integer, nullable=False),
        Column("count", BigInteger, nullable=False),
        Column("title", Text, nullable=False),
        Column("description", Text, nullable=False),
        Column("strongest", Text, nullable=False),
        Column("current", Boolean, nullable=False),
        Column("created_ns", BigInteger, nullable=False),
        Column("updated_ns", BigInteger, nullable=False),
        PrimaryKeyConstraint("alert_id", name="pk_alerts"),
    )
    _index("uq_alerts_current", "alerts", ["fingerprint"], "current", unique=True)
    _index("ix_alerts_open", "alerts", ["updated_ns"], "ended_ns IS NULL")
    _index("ix_alerts_ended", "alerts", ["updated_ns"], "ended_ns IS NOT NULL")
    op.create_index("ix_alerts_started", "alerts", ["started_ns", "alert_id"])


def _outbox() -> None:
    op.create_table(
        "outbox",
        Column("seq", _COUNTER, nullable=False, autoincrement=True),
        Column("notification_id", Text, nullable=False),
        Column("alert_id", Text, nullable=False),
        Column("receiver", Text, nullable=False),
        Column("severity", SmallInteger, nullable=False),
        Column("state", Text, nullable=False),
        Column("body", Text, nullable=False),
        Column("size_bytes", Integer, nullable=False),
        Column("created_ns", BigInteger, nullable=False),
        Column("due_ns", BigInteger, nullable=False),
        Column("leased_until_ns", BigInteger, nullable=False),
        Column("leased_by", Text, nullable=False),
        Column("attempts", Integer, nullable=False),
        Column("settled_ns", BigInteger),
        PrimaryKeyConstraint("seq", name="pk_outbox"),
        UniqueConstraint("notification_id", name="uq_outbox_notification_id"),
    )
    op.create_index("ix_outbox_alert_id", "outbox", ["alert_id"])
    _index("ix_outbox_due", "outbox", ["receiver", "severity", "seq"], "state = 'waiting'")
    _index("ix_outbox_waiting", "outbox", ["severity", "seq", "size_bytes", "created_ns"], "state = 'waiting'")
    _index("ix_outbox_settled", "outbox", ["settled_ns"], "state <> 'waiting'")


def _delivery_attempts() -> None:
    op.create_table(
        "delivery_attempts",
        Column("seq", _COUNTER, nullable=False, autoincrement=True),
        Column("notification_id", Text, nullable=False),
        Column("alert_id", Text, nullable=False),
        Column("receiver", Text, nullable=False),
        Column("at_ns", BigInteger, nullable=False),
        Column("attempt", Integer, nullable=False),
        Column("outcome", Text, nullable=False),
        Column("reason", Text, nullable=False),
        PrimaryKeyConstraint("seq", name="pk_delivery_attempts"),
    )
    op.create_index("ix_delivery_attempts_alert_id", "delivery_attempts", ["alert_id"])
    op.create_index("ix_delivery_attempts_at", "delivery_attempts", ["at_ns"])


def _alert_progress() -> None:
    op.create_table(
        "alert_progress",
        Column("cluster", Text, nullable=False),
        Column("topic", Text, nullable=False),
        Column("partition", Integer, nullable=False),
        Column("owner", Text, nullable=False),
        Column("epoch", BigInteger, nullable=False),
        Column("next_offset", BigInteger, nullable=False),
        Column("updated_ns", BigInteger, nullable=False),
        PrimaryKeyConstraint("cluster", "topic", "partition", name="pk_alert_progress"),
    )


def _api_keys() -> None:
    op.create_table(
        "api_keys",
        Column("kid", Text, nullable=False),
        Column("secret_sha256", Text, nullable=False),
        Column("name", Text, nullable=False),
        Column("scopes", Text, nullable=False),
        Column("created_ns", BigInteger, nullable=False),
        Column("created_by", Text, nullable=False),
        Column("expires_ns", BigInteger),
        Column("revoked_ns", BigInteger),
        Column("last_used_ns", BigInteger),
        PrimaryKeyConstraint("kid", name="pk_api_keys"),
    )


def _audit() -> None:
    op.create_table(
        "audit",
        Column("id", _COUNTER, nullable=False, autoincrement=True),
        Column("at_ns", BigInteger, nullable=False),
        Column("actor", Text, nullable=False),
        Column("action", Text, nullable=False),
        Column("target", Text, nullable=False),
        Column("detail", Text, nullable=False),
        Column("prev_hash", Text, nullable=False),
        Column("hash", Text, nullable=False),
        PrimaryKeyConstraint("id", name="pk_audit"),
        UniqueConstraint("prev_hash", name="uq_audit_prev_hash"),
        UniqueConstraint("hash", name="uq_audit_hash"),
    )
    op.create_index("ix_audit_at_ns", "audit", ["at_ns"])


def _index(name: str, table: str, columns: list[str], where: str, *, unique: bool = False) -> None:
    """An index over some of the rows."""
    op.create_index(name, table, columns, unique=unique, sqlite_where=text(where), postgresql_where=text(where))
