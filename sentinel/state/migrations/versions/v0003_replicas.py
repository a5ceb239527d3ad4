"""Replicas that find each other."""

from alembic import op
from sqlalchemy import BigInteger, Column, PrimaryKeyConstraint, Text

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table. Forward only: a restore from a backup is the way back."""
    op.create_table(
        "replicas",
        Column("id", Text, nullable=False),
        Column("name", Text, nullable=False),
        Column("group_id", Text, nullable=False),
        Column("host", Text, nullable=False),
        Column("url", Text),
        Column("partitions", Text, nullable=False),
        Column("seen_ns", BigInteger, nullable=False),
        PrimaryKeyConstraint("id", name="pk_replicas"),
    )
