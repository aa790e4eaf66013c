"""Is the database in the shape that this code expects? If not, bring it there."""

from pathlib import Path

import psycopg

from zvonar.core.errors import ZvonarError

_MIGRATIONS = Path(__file__).parent / "migrations"
# Any number: it keeps two processes from migrating at once.
_LOCK = 0x5A564F4E
_CONNECT = 10  # seconds to reach a database that may be somebody else's and far away


class DatabaseNewer(ZvonarError):
    """A newer Zvonar has used this database: install that release, or give this one a database of its own."""


def migrate(dsn: str) -> str:
    """Upgrade to the newest revision and return its name; safe to call from several processes.

    Raises DatabaseNewer.
    """
    newest, reached = _newest(), _reached(dsn)
    if newest == reached:
        return newest
    if reached is not None and reached > newest:
        raise DatabaseNewer(f"It is at {reached}, this release at {newest}.")
    # Imported here: only a first start needs Alembic, and it takes half a second and tens of megabytes.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from sqlalchemy import create_engine, pool

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("path_separator", "os")
    head = ScriptDirectory.from_config(config).get_current_head()
    if head is None:
        raise RuntimeError("The installation has no migrations; reinstall it.")
    with psycopg.connect(dsn, autocommit=True) as guard:
        guard.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        engine = create_engine(
            "postgresql+psycopg://", creator=lambda: psycopg.connect(dsn), poolclass=pool.NullPool
        )
        with engine.connect() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, head)
        engine.dispose()
    return head


def _newest() -> str:
    """The newest revision by its file's name, v0001_pipeline.py: every command asks, so without Alembic."""
    return max(path.stem[1:].partition("_")[0] for path in _MIGRATIONS.glob("versions/v*.py"))


def _reached(dsn: str) -> str | None:
    """The revision that the database is at; None where there is none yet."""
    with psycopg.connect(dsn, autocommit=True, connect_timeout=_CONNECT) as connection:
        try:
            found = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        except psycopg.errors.UndefinedTable:
            return None
        return str(found[0]) if found else None
