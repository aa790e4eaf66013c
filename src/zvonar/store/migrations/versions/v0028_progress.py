"""What of a call in progress is told to nobody? See 0028_progress.sql."""

from pathlib import Path

from alembic import op

revision = "0028"
down_revision = "0027"


def upgrade() -> None:
    sql = Path(__file__).with_name("0028_progress.sql").read_text(encoding="utf-8")
    # The driver's own execute: the file has many statements and percent signs of its own.
    driver = op.get_bind().connection.driver_connection
    assert driver is not None
    driver.execute(sql)
