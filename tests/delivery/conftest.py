"""Which database and which receivers does a delivery test have? Real ones, both on this machine."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path

import psycopg
import pytest
import pytest_asyncio
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from zvonar.store.db import Database
from zvonar.store.migrate import migrate
from zvonar.store.server import PostgresServer

from .receiver import Receiver

TEMPLATE = "migrated"
# Whose the made-up events of world.py are.
ACCOUNT = """
INSERT INTO accounts (account_id, name, currency, timezone, countries, tariff_id, email)
OVERRIDING SYSTEM VALUE
SELECT 1, 'world', 'RUB', 'UTC', ARRAY['RU'], tariff_id, 'world@example.com' FROM tariffs;
SELECT setval(pg_get_serial_sequence('accounts', 'account_id'), 1)
"""
_names = (f"case_{number}" for number in count())


def at_database(dsn: str, name: str) -> str:
    """The same server, another database."""
    return make_conninfo(**{**conninfo_to_dict(dsn), "dbname": name})


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The DSN of a running server whose database TEMPLATE is migrated."""
    # Short, because a socket's path may have 107 bytes; passable, because the server's user is not root.
    room = Path(tempfile.mkdtemp(prefix=f"zv-{os.getpid()}-", dir="/tmp"))
    room.chmod(0o711)
    server = PostgresServer(room / "home")
    dsn = server.ensure()
    sockets = Path(str(conninfo_to_dict(dsn)["host"]))
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {TEMPLATE}".encode())
    migrate(at_database(dsn, TEMPLATE))
    with psycopg.connect(at_database(dsn, TEMPLATE), autocommit=True) as connection:
        connection.execute(ACCOUNT)
    yield dsn
    server.stop()
    shutil.rmtree(sockets, ignore_errors=True)
    shutil.rmtree(room, ignore_errors=True)


@pytest.fixture
def dsn(postgres: str) -> Iterator[str]:
    """The DSN of a migrated database of this test's own."""
    name = next(_names)
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}".encode())
        yield at_database(postgres, name)
        # Whoever vacuums it just now is not ours to end; then it goes with the server.
        with contextlib.suppress(psycopg.errors.InsufficientPrivilege, psycopg.errors.ObjectInUse):
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest_asyncio.fixture
async def db(dsn: str) -> AsyncIterator[Database]:
    """A pool on this test's own database."""
    async with Database(dsn) as opened:
        yield opened


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Somebody who wants to be told, up already."""
    async with Receiver() as up:
        yield up
