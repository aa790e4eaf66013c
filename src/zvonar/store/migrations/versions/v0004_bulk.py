"""How are lists loaded in the background, and which jobs wait? See 0004_bulk.sql and 0004_procrastinate.sql."""

from pathlib import Path

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    driver = op.get_bind().connection.driver_connection
    assert driver is not None
    for name in ("0004_bulk.sql", "0004_procrastinate.sql"):
        driver.execute(Path(__file__).with_name(name).read_text(encoding="utf-8"))
