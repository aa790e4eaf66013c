"""What do the reports' tests share? A migrated PostgreSQL and sessions to ask about."""

import asyncio
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Coroutine, Iterable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import pytest
from psycopg.conninfo import conninfo_to_dict
from psycopg.types.json import Jsonb

from zvonar.dialects.uis import outcomes
from zvonar.reports import postgres
from zvonar.reports.filling import Filling
from zvonar.reports.query import Query
from zvonar.reports.writing import Change
from zvonar.store import accounts
from zvonar.store.db import Database
from zvonar.store.migrate import migrate
from zvonar.store.server import PostgresServer

T = TypeVar("T")


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


class World:
    """A database, its report store, whatever fills it, and a clock that tests move."""

    def __init__(self, dsn: str, runner: asyncio.Runner) -> None:
        self.runner = runner
        self.now = datetime(2026, 11, 20, 12, tzinfo=UTC)
        self.db = Database(dsn)
        self.reports = Database(dsn, session=postgres.SESSION)
        self.run(self.db.__aenter__())
        self.run(self.reports.__aenter__())
        self.store = postgres.PostgresReportStore(self.reports)
        self.filling = Filling(self.db, outcomes.describe, clock=lambda: self.now)
        self.writer = self.filling.writer

    def close(self) -> None:
        self.run(self.reports.__aexit__())
        self.run(self.db.__aexit__())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(asyncio.wait_for(work, 240))

    def execute(self, statement: str, params: dict[str, Any] | None = None) -> None:
        self.run(self.db.execute(statement, params or {}))  # type: ignore[arg-type]

    def value(self, statement: str, params: dict[str, Any] | None = None) -> Any:
        return self.run(self.db.value(statement, params or {}))  # type: ignore[arg-type]

    def account(self, *, zone: str = "Europe/Moscow") -> int:
        added = accounts.add(
            self.db,
            name=f"reports {next(_serial)}",
            currency="RUB",
            timezone=zone,
            countries=["RU"],
            balance=Decimal(0),
            keys={},
            logins={},
            now=self.now,
        )
        return self.run(added).account_id

    def put(self, *rows: dict[str, Any]) -> list[dict[str, Any]]:
        async def work() -> list[dict[str, Any]]:
            await self.writer.prepare(row["start_time"] for row in rows)
            async with self.db.transaction() as connection:
                return await self.writer.put(connection, rows)

        return self.run(work())

    def change(self, account_id: int, session_id: int, **fields: Any) -> set[int]:
        async def work() -> set[int]:
            change = Change(account_id=account_id, session_id=session_id, patch=lambda _: fields)
            async with self.db.transaction() as connection:
                return await self.writer.change(connection, [change])

        return self.run(work())

    def fill(self) -> int:
        return self.run(self.filling.once())

    def ended(self, account_id: int, **facts: Any) -> int:
        """A session that has ended without an attempt."""
        return int(
            self.value(
                """INSERT INTO ended_sessions (session_id, account_id, facts)
                VALUES (nextval('session_ids'), %(account_id)s, %(facts)s) RETURNING session_id""",
                {"account_id": account_id, "facts": Jsonb(facts)},
            )
        )

    def ask(
        self, account_id: int, fields: Iterable[str] = ("id",), **query: Any
    ) -> tuple[int, list[dict[str, Any]]]:
        """Total and rows."""
        asked: dict[str, Any] = {
            "zone": "Europe/Moscow",
            "since": datetime(2020, 1, 1, tzinfo=UTC),
            "until": datetime(2030, 1, 1, tzinfo=UTC),
            "limit": 1000,
            **query,
        }

        async def work() -> tuple[int, list[dict[str, Any]]]:
            made = Query(account_id=account_id, fields=tuple(fields), **asked)
            async with self.store.report(made) as report:
                return report.total, [json.loads(row) async for chunk in report.rows for row in chunk]

        return self.run(work())


_serial = itertools.count(1)


@pytest.fixture(scope="module")
def world(dsn: str, runner: asyncio.Runner) -> Iterator[World]:
    made = World(dsn, runner)
    yield made
    made.close()
