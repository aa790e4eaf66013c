"""Which legs had a session, and whose number has its communication? See 0024_legs.sql."""

from pathlib import Path

from alembic import op

revision = "0024"
down_revision = "0022"


def upgrade() -> None:
    sql = Path(__file__).with_name("0024_legs.sql").read_text(encoding="utf-8")
    # The driver's own execute: the file has many statements and percent signs of its own.
    driver = op.get_bind().connection.driver_connection
    assert driver is not None
    driver.execute(sql)
