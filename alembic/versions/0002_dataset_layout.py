"""How a dataset's source is laid out: plain images, or annotated photographs."""

import sqlalchemy as sa

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("dataset", sa.Column("layout", sa.String(), server_default="images", nullable=False))


def downgrade() -> None:
    op.drop_column("dataset", "layout")
