"""What was said on recorded calls? See 0018_transcripts.sql."""

from pathlib import Path

from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    sql = Path(__file__).with_name("0018_transcripts.sql").read_text(encoding="utf-8")
    # The driver's own execute: the file has many statements and percent signs of its own.
    driver = op.get_bind().connection.driver_connection
    assert driver is not None
    driver.execute(sql)
