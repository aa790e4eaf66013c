"""Is the database in the shape that this code expects? If not, bring it there."""

from pathlib import Path

# Any number: it keeps two processes from migrating at once.
_LOCK = 0x5A564F4E


def migrate(dsn: str) -> str:
    """Upgrade to the newest revision and return its name; safe to call from several processes."""
    # Imported here: only a start needs Alembic, and it weighs tens of megabytes.
    import psycopg
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from sqlalchemy import create_engine, pool

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
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
