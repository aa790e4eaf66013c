"""What do the reports' tests share? A migrated PostgreSQL and sessions to ask about."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from zvonar.store.migrate import migrate
from zvonar.store.server import PostgresServer


@pytest.fixture(scope="session")
def dsn() -> Iterator[str]:
    # Short, because a socket's path may have 107 bytes; passable, because the server's user is not root.
    room = Path(tempfile.mkdtemp(prefix=f"zv-{os.getpid()}-", dir="/tmp"))
    room.chmod(0o711)
    server = PostgresServer(room / "home")
    made = server.ensure()
    migrate(made)
    yield made
    server.stop()
    shutil.rmtree(conninfo_to_dict(made)["host"], ignore_errors=True)
    shutil.rmtree(room, ignore_errors=True)


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as made:
        yield made
