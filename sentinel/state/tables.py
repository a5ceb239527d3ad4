"""The tables of the state database. The migrations make them; a test holds both against each other.

Times are nanoseconds since the epoch, JSON is text, severities are indices into `SEVERITIES`. `*_ns` columns of episodes hold event time
where they say so, wall-clock time otherwise.
"""

from typing import Final

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, MetaData, SmallInteger, Table, Text, text

METADATA: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _partial(name: str, *columns: str, where: str, unique: bool = False) -> Index:
    """An index over some of the rows."""
    return Index(name, *columns, unique=unique, sqlite_where=text(where), postgresql_where=text(where))


Counter: Final = BigInteger().with_variant(Integer(), "sqlite")
"""A number the database gives out in rising order; SQLite does that only for its own INTEGER."""

ALERTS: Final = Table(
    "alerts",
    METADATA,
    Column("alert_id", Text, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("service", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("metric", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("severity", SmallInteger, nullable=False),
    Column("started_ns", BigInteger, nullable=False),  # event time, as the next three
    Column("last_seen_ns", BigInteger, nullable=False),
    Column("notified_ns", BigInteger, nullable=False),
    Column("ended_ns", BigInteger),
    Column("resolve_reason", Text),
    Column("repeat", Integer, nullable=False),  # number of the last notification, from 0
    Column("count", BigInteger, nullable=False),
    Column("title", Text, nullable=False),  # what people are told now
    Column("description", Text, nullable=False),
    Column("strongest", Text, nullable=False),  # JSON list of anomalies, strongest first
    Column("current", Boolean, nullable=False),  # the newest episode of its fingerprint
    Column("created_ns", BigInteger, nullable=False),
    Column("updated_ns", BigInteger, nullable=False),
    _partial("uq_alerts_current", "fingerprint", where="current", unique=True),
    _partial("ix_alerts_open", "updated_ns", where="ended_ns IS NULL"),
    _partial("ix_alerts_ended", "updated_ns", where="ended_ns IS NOT NULL"),
    Index("ix_alerts_started", "started_ns", "alert_id"),
)
"""Episodes: what people are told about."""

OUTBOX: Final = Table(
    "outbox",
    METADATA,
    Column("seq", Counter, primary_key=True, autoincrement=True),  # the order they were put in
    Column("notification_id", Text, nullable=False, unique=True),
    Column("alert_id", Text, nullable=False, index=True),
    Column("receiver", Text, nullable=False),
    Column("severity", SmallInteger, nullable=False),
    Column("state", Text, nullable=False),  # waiting, sent, refused, dropped
    Column("body", Text, nullable=False),  # the alert as JSON; empty once it no longer waits
    Column("size_bytes", Integer, nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    Column("due_ns", BigInteger, nullable=False),
    Column("leased_until_ns", BigInteger, nullable=False),  # claimed by a replica until then
    Column("leased_by", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("settled_ns", BigInteger),
    _partial("ix_outbox_due", "receiver", "severity", "seq", where="state = 'waiting'"),
    _partial("ix_outbox_waiting", "severity", "seq", "size_bytes", "created_ns", where="state = 'waiting'"),
    _partial("ix_outbox_settled", "settled_ns", where="state <> 'waiting'"),
)
"""Notifications that wait, and without their body those that no longer do."""

DELIVERY_ATTEMPTS: Final = Table(
    "delivery_attempts",
    METADATA,
    Column("seq", Counter, primary_key=True, autoincrement=True),
    Column("notification_id", Text, nullable=False),
    Column("alert_id", Text, nullable=False, index=True),
    Column("receiver", Text, nullable=False),
    Column("at_ns", BigInteger, nullable=False),
    Column("attempt", Integer, nullable=False),  # from 1
    Column("outcome", Text, nullable=False),  # sent, deferred, refused, dropped
    Column("reason", Text, nullable=False),
    Index("ix_delivery_attempts_at", "at_ns"),
)
"""What became of every attempt to deliver."""

ALERT_PROGRESS: Final = Table(
    "alert_progress",
    METADATA,
    Column("cluster", Text, primary_key=True),
    Column("topic", Text, primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("owner", Text, nullable=False),  # the process whose epoch it is
    Column("epoch", BigInteger, nullable=False),
    Column("next_offset", BigInteger, nullable=False),
    Column("updated_ns", BigInteger, nullable=False),
)
"""Up to where the anomalies of a log have been turned into alerts."""

API_KEYS: Final = Table(
    "api_keys",
    METADATA,
    Column("kid", Text, primary_key=True),
    Column("secret_sha256", Text, nullable=False),  # hexadecimal
    Column("name", Text, nullable=False),
    Column("scopes", Text, nullable=False),  # viewer, operator, ingester, admin; several with a blank between
    Column("created_ns", BigInteger, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("expires_ns", BigInteger),
    Column("revoked_ns", BigInteger),
    Column("last_used_ns", BigInteger),
)
"""API keys, without their secrets."""

AUDIT: Final = Table(
    "audit",
    METADATA,
    Column("id", Counter, primary_key=True, autoincrement=True),
    Column("at_ns", BigInteger, nullable=False, index=True),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("detail", Text, nullable=False),  # JSON
    Column("prev_hash", Text, nullable=False, unique=True),  # unique: the chain cannot fork
    Column("hash", Text, nullable=False, unique=True),
)
"""Who changed what: each row holds the hash of the one before."""

FEEDBACK: Final = Table(
    "feedback",
    METADATA,
    Column("anomaly_id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),  # what the anomaly was: it may be deleted before its verdict is
    Column("service", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("metric", Text, nullable=False),
    Column("detector", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("severity", SmallInteger, nullable=False),
    Column("verdict", Text, nullable=False),  # true_positive, false_positive
    Column("note", Text, nullable=False),
    Column("given_by", Text, nullable=False),
    Column("given_ns", BigInteger, nullable=False),
    Index("ix_feedback_detector", "detector", "type", "verdict"),
)
"""What people think of anomalies: the last verdict on each."""

MARKERS: Final = Table(
    "markers",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("ts_ns", BigInteger, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("service", Text),  # NULL = all
    Column("model", Text),
    Column("text", Text, nullable=False),
    Column("made_by", Text, nullable=False),
    Column("made_ns", BigInteger, nullable=False),
    Index("ix_markers_ts", "ts_ns", "id"),
)
"""Deploys, prompt versions and price changes that people told."""

REPLICAS: Final = Table(
    "replicas",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),  # as people know it
    Column("group_id", Text, nullable=False),  # its Kafka group: only replicas of one group answer for each other
    Column("host", Text, nullable=False),  # its machine
    Column("url", Text),  # of its API; NULL = nobody can ask it
    Column("partitions", Text, nullable=False),  # JSON list
    Column("seen_ns", BigInteger, nullable=False),  # when it last wrote this
)
"""Replicas that run, or ran a moment ago."""
