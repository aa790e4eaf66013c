"""How do several calls leave the queue at once? See 0029_placing.sql."""

from pathlib import Path

from alembic import op

revision = "0029"
down_revision = "0028"


def upgrade() -> None:
    sql = Path(__file__).with_name("0029_placing.sql").read_text(encoding="utf-8")
    # The driver's own execute: the file has many statements and percent signs of its own.
    driver = op.get_bind().connection.driver_connection
    assert driver is not None
    driver.execute(sql)
