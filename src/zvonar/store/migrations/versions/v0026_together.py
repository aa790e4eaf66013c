"""What is written for several calls at once? See 0026_together.sql."""

from pathlib import Path

from alembic import op

revision = "0026"
down_revision = "0025"


def upgrade() -> None:
    sql = Path(__file__).with_name("0026_together.sql").read_text(encoding="utf-8")
    # The driver's own execute: the file has many statements and percent signs of its own.
    driver = op.get_bind().connection.driver_connection
    assert driver is not None
    driver.execute(sql)
