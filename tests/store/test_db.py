"""What does the code see when PostgreSQL goes away, and when it is back? On a server that is really killed."""

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import psutil
import pytest
from psycopg.conninfo import conninfo_to_dict

from zvonar.store.db import Connection, Database, StoreFault, StoreUnavailable
from zvonar.store.migrate import migrate
from zvonar.store.server import PostgresServer

pytestmark = pytest.mark.asyncio
PHONE = "+79991234567"
PATIENCE = 90.0  # seconds for anything that a test waits for


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """A server of this test's own, for it to kill."""
    room = Path(tempfile.mkdtemp(prefix=f"zv-{os.getpid()}-", dir="/tmp"))
    room.chmod(0o711)
    made = PostgresServer(room / "home")
    sockets = conninfo_to_dict(made.ensure())["host"]
    yield made
    made.stop()
    shutil.rmtree(sockets, ignore_errors=True)
    shutil.rmtree(room)


def kill(server: PostgresServer) -> None:
    """Kill the postmaster, and wait until its sessions, who notice by themselves, are gone too."""
    pid = server.pid
    assert pid is not None
    sessions = psutil.Process(pid).children()
    os.kill(pid, signal.SIGKILL)
    _, alive = psutil.wait_procs(sessions, timeout=PATIENCE)
    assert not alive
    assert not server.running()


async def test_killed_server_is_one_plain_error_and_work_goes_on_after_its_restart(
    server: PostgresServer,
) -> None:
    async with Database(server.dsn(), size=4) as db:
        await db.execute("CREATE TABLE numbers (phone text PRIMARY KEY)")
        await db.execute("INSERT INTO numbers VALUES (%s)", [PHONE])
        await asyncio.gather(*(db.value("SELECT pg_sleep(0.05)") for _ in range(4)))
        asleep = asyncio.create_task(db.value("SELECT pg_sleep(60), %s::text", [PHONE]))
        assert await db.value("SELECT 1") == 1
        await asyncio.to_thread(kill, server)
        with pytest.raises(StoreUnavailable) as during:
            await asleep
        with pytest.raises(StoreUnavailable) as after:
            await db.value("SELECT phone FROM numbers")
        for error in (during, after):
            assert PHONE not in repr(error.value)
            assert error.value.__cause__ is None
            assert error.value.__suppress_context__
        await asyncio.to_thread(server.ensure)
        async with asyncio.timeout(PATIENCE):
            assert await db.patiently(lambda: db.value("SELECT phone FROM numbers"), what="look") == PHONE


async def test_patient_work_is_done_when_the_server_is_back(server: PostgresServer) -> None:
    async with Database(server.dsn(), size=2) as db:
        await asyncio.to_thread(kill, server)
        tried = 0
        first = asyncio.Event()

        async def work() -> int:
            nonlocal tried
            tried += 1
            try:
                return int(await db.value("SELECT 42"))
            finally:
                first.set()

        working = asyncio.create_task(db.patiently(work, what="work"))
        async with asyncio.timeout(PATIENCE):
            await first.wait()
            assert not working.done()
            await asyncio.to_thread(server.ensure)
            assert await working == 42
        assert tried > 1


async def test_patience_is_for_an_absent_database_only(dsn: str) -> None:
    async with Database(dsn) as db:
        with pytest.raises(StoreFault):
            await db.patiently(lambda: db.value("SELECT 1/0"), what="work")


async def test_reader_of_notifications_is_told_at_every_connection(server: PostgresServer) -> None:
    async with (
        Database(server.dsn()) as db,
        aclosing(db.notifications("one", "two")) as heard,
        asyncio.timeout(PATIENCE),
    ):
        assert [await anext(heard), await anext(heard)] == ["one", "two"]
        waiting = asyncio.create_task(next_of(heard))
        await db.execute("NOTIFY two")
        assert await waiting == "two"
        waiting = asyncio.create_task(next_of(heard))
        await asyncio.to_thread(kill, server)
        assert not waiting.done()
        await asyncio.to_thread(server.ensure)
        assert await waiting == "one"
        assert await anext(heard) == "two"


async def next_of(heard: AsyncIterator[str]) -> str:
    return await anext(heard)


async def test_refused_statement_says_which_rule_and_not_whose_row(dsn: str) -> None:
    async with Database(dsn) as db:
        await db.execute("CREATE TABLE numbers (phone text CONSTRAINT short CHECK (length(phone) < 5))")
        with pytest.raises(StoreFault, match=r"CheckViolation 23514 short") as refused:
            await db.execute("INSERT INTO numbers VALUES (%s)", [PHONE])
        assert PHONE not in str(refused.value)
        with pytest.raises(StoreFault) as odd:
            await db.execute("SELECT %s::int", [PHONE + "x"])
        assert PHONE not in str(odd.value)


async def insert_and_fail(db: Database) -> None:
    async with db.transaction() as connection:
        await connection.execute("INSERT INTO numbers VALUES (1)")
        raise KeyError


async def test_transaction_is_whole_or_not_at_all(dsn: str) -> None:
    async with Database(dsn) as db:
        await db.execute("CREATE TABLE numbers (n int)")
        with pytest.raises(KeyError):
            await insert_and_fail(db)
        assert await db.value("SELECT count(*) FROM numbers") == 0
        async with db.transaction() as connection:
            await connection.execute("INSERT INTO numbers VALUES (1)")
        assert await db.value("SELECT count(*) FROM numbers") == 1


async def test_migrating_twice_and_at_once_is_migrating_once(postgres: str, dsn: str) -> None:
    del postgres
    heads = await asyncio.gather(*(asyncio.to_thread(migrate, dsn) for _ in range(3)))
    assert len(set(heads)) == 1
    async with Database(dsn) as db:
        assert await db.value("SELECT count(*) FROM tariffs") == 1


async def test_one_failure_after_a_restart_finds_every_dead_connection(server: PostgresServer) -> None:
    async with Database(server.ensure(), size=5) as db:
        await asyncio.gather(*(db.value("SELECT pg_sleep(0.2)") for _ in range(5)))
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.ensure)
        with pytest.raises(StoreUnavailable):
            await db.value("SELECT 1")
        await asyncio.wait({task for task in asyncio.all_tasks() if task.get_name() == "pool-check"})
        assert await asyncio.gather(*(db.value("SELECT 1") for _ in range(5))) == [1] * 5


async def test_whoever_waits_for_a_notification_is_woken_by_nothing_else(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    delays: list[float] = []
    notes = db.notifications("zvonar_test")
    async with aclosing(notes):
        assert await anext(notes) == "zvonar_test"  # the connection itself
        loop = asyncio.get_running_loop()
        later = loop.call_later

        def noted(delay: float, *args: Any, **kwargs: Any) -> asyncio.TimerHandle:
            delays.append(delay)
            return later(delay, *args, **kwargs)

        monkeypatch.setattr(loop, "call_later", noted)
        waiting = asyncio.ensure_future(anext(notes))
        await asyncio.sleep(0.5)
        asked = [delay for delay in delays if delay != 0.5]
        assert asked
        assert min(asked) > 1
        monkeypatch.undo()
        await db.execute("NOTIFY zvonar_test")
        async with asyncio.timeout(PATIENCE):
            assert await waiting == "zvonar_test"


async def test_a_statement_that_nobody_waits_for_any_more_ends_and_its_connection_goes_on(
    db: Database,
) -> None:
    asking = asyncio.create_task(db.value("SELECT pg_sleep(600)"))
    async with asyncio.timeout(PATIENCE):
        while not await db.value(
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%%' AND state = 'active'"
        ):
            await asyncio.sleep(0.01)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        while await db.value(
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%%' AND state = 'active'"
        ):
            await asyncio.sleep(0.01)
    assert [await db.value("SELECT 1") for _ in range(5)] == [1] * 5


async def test_plans_are_made_anew_whenever_the_first_connection_is_fetched(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[Any] = []
    execute = Connection.execute

    async def noted(self: Connection, statement: Any, *args: Any, **kwargs: Any) -> Any:
        said.append(statement)
        return await execute(self, statement, *args, **kwargs)

    monkeypatch.setattr(Connection, "execute", noted)
    async with Database(dsn, size=2) as kept:
        assert [await kept.value("SELECT 1") for _ in range(3)] == [1] * 3
    assert said.count("DISCARD PLANS") == 1
    said.clear()
    monkeypatch.setattr("zvonar.store.db._KEPT", -1.0)  # it is brought back after each use
    async with Database(dsn, size=2) as fetched:
        assert [await fetched.value("SELECT 1") for _ in range(3)] == [1] * 3
    assert said.count("DISCARD PLANS") == 3
