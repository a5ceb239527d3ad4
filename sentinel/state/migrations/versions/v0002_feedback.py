"""Feedback and markers."""

from alembic import op
from sqlalchemy import BigInteger, Column, PrimaryKeyConstraint, SmallInteger, Text

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables. Forward only: a restore from a backup is the way back."""
    _feedback()
    _markers()


def _feedback() -> None:
    op.create_table(
        "feedback",
        Column("anomaly_id", Text, nullable=False),
        Column("tenant", Text, nullable=False),
        Column("service", Text, nullable=False),
        Column("model", Text, nullable=False),
        Column("metric", Text, nullable=False),
        Column("detector", Text, nullable=False),
        Column("type", Text, nullable=False),
        Column("severity", SmallInteger, nullable=False),
        Column("verdict", Text, nullable=False),
        Column("note", Text, nullable=False),
        Column("given_by", Text, nullable=False),
        Column("given_ns", BigInteger, nullable=False),
        PrimaryKeyConstraint("anomaly_id", name="pk_feedback"),
    )
    op.create_index("ix_feedback_detector", "feedback", ["detector", "type", "verdict"])


def _markers() -> None:
    op.create_table(
        "markers",
        Column("id", Text, nullable=False),
        Column("kind", Text, nullable=False),
        Column("ts_ns", BigInteger, nullable=False),
        Column("tenant", Text, nullable=False),
        Column("service", Text),
        Column("model", Text),
        Column("text", Text, nullable=False),
        Column("made_by", Text, nullable=False),
        Column("made_ns", BigInteger, nullable=False),
        PrimaryKeyConstraint("id", name="pk_markers"),
    )
    op.create_index("ix_markers_ts", "markers", ["ts_ns", "id"])
