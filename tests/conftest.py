"""What do all tests share? One PostgreSQL, one gateway and one town a session, started by whoever asks first.

A test gets a database of its own, copied from a migrated template.
"""

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
from hypothesis import HealthCheck, settings
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from zvonar.store.db import Database
from zvonar.store.migrate import migrate
from zvonar.store.server import PostgresServer

from .plant import Plant, running

TEMPLATE = "migrated"
# They wait for rings and speech, mostly.
ON_THE_LINE = frozenset({"line", "dialer", "service", "cli", "bench"})
# Nothing here is timed: a slow machine is no defect of what is tested.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")
_names = (f"case_{number}" for number in count())


class Sides(LoadScopeScheduling):
    """Two processes may share the suite (`make test`): one has Asterisk and whole services, the other the rest.

    So no two of them look for free ports at once, and no session's fixture is made twice.
    """

    def _split_scope(self, nodeid: str) -> str:
        return "line" if nodeid.split("/")[1] in ON_THE_LINE else "rest"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Sides:
    return Sides(config, log)


def at_database(dsn: str, name: str) -> str:
    """The same server, another database."""
    return make_conninfo(dsn, dbname=name)


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    """A running server whose database TEMPLATE is migrated."""
    # Short, because a socket's path may have 107 bytes; passable, because the server's user is not root.
    room = Path(tempfile.mkdtemp(prefix=f"zvd-{os.getpid()}-", dir="/tmp"))
    room.chmod(0o711)
    made = PostgresServer(room / "home")
    dsn = made.ensure()
    sockets = Path(str(conninfo_to_dict(dsn)["host"]))
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {TEMPLATE}".encode())
    migrate(at_database(dsn, TEMPLATE))
    yield made
    made.stop()
    shutil.rmtree(sockets, ignore_errors=True)
    shutil.rmtree(room, ignore_errors=True)


@pytest.fixture
def dsn(server: PostgresServer) -> Iterator[str]:
    """The DSN of a migrated database of this test's own."""
    name = next(_names)
    here = server.ensure()
    with psycopg.connect(here, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}".encode())
    yield at_database(here, name)
    # Whoever vacuums it just now is not ours to end; then it goes with the server.
    with (
        contextlib.suppress(psycopg.errors.InsufficientPrivilege, psycopg.errors.ObjectInUse),
        psycopg.connect(server.ensure(), autocommit=True) as connection,
    ):
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest_asyncio.fixture
async def db(dsn: str) -> AsyncIterator[Database]:
    """A pool on this test's own database."""
    async with Database(dsn, size=12) as opened:
        yield opened


@pytest.fixture(scope="session")
def plant() -> Iterator[Plant]:
    """A gateway and a town."""
    with running() as up:
        yield up
