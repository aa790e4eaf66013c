"""Which end has a call that is removed while it is up? See 0025_removed.sql."""

from pathlib import Path

from alembic import op

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    sql = Path(__file__).with_name("0025_removed.sql").read_text(encoding="utf-8")
    # The driver's own execute: the file has many statements and percent signs of its own.
    driver = op.get_bind().connection.driver_connection
    assert driver is not None
    driver.execute(sql)
