"""How are lists loaded in the background, and which jobs wait? See 0004_bulk.sql, and the job library's own schema."""

from pathlib import Path

from alembic import op
from procrastinate.schema import SchemaManager

revision = "0004"
down_revision = "0003"
# What the library's schema has reached at the release that is locked; a newer one brings migrations, and they one of
# ours, which a test reminds of.
REACHED = "03.04.00_50_post_add_retry_failed_job_procedure.sql"


def upgrade() -> None:
    driver = op.get_bind().connection.driver_connection
    assert driver is not None
    driver.execute(Path(__file__).with_name("0004_bulk.sql").read_text(encoding="utf-8"))
    driver.execute(SchemaManager.get_schema())
