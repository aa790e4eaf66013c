"""What is missing, or there twice, when a worker or its importer is killed in the middle of a list? Nothing."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib import import_module
from importlib.resources import files
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from zvonar.intake.jobs import enqueue
from zvonar.store.db import Database

from .world import World, number

TESTS = Path(__file__).parents[1]
COUNT = 6000


@pytest_asyncio.fixture
async def world(db: Database) -> World:
    return await World(db).settle()


@asynccontextmanager
async def victim(dsn: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "intake.victim"),
        env={**os.environ, "ZVONAR_TEST_DSN": dsn, "PYTHONPATH": str(TESTS)},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def until(world: World, list_id: int, enough: Callable[[int, str], bool]) -> None:
    async with asyncio.timeout(180):
        while True:
            found = await world.phone_list(list_id)
            if enough(found.done, found.state):
                return
            await asyncio.sleep(0.005)


async def whole(world: World, list_id: int) -> None:
    """Every number once, in its place, and every rejection once."""
    made = await world.calls()
    assert [call.phone for call in made] == [number(n) for n in range(COUNT)]
    assert [call.ordinal for call in made] == list(range(1, COUNT + 1))
    assert await world.rejected(list_id) == [(COUNT + 1, "duplicate"), (COUNT + 2, "phone_invalid")]
    assert await world.tallied() == {"state/queued": COUNT}
    found = await world.phone_list(list_id)
    assert (found.total, found.done, found.loaded, found.rejected) == (COUNT + 2, COUNT + 2, COUNT, 2)


def rows() -> list[str]:
    return [*(number(n) for n in range(COUNT)), number(7), "нет"]


@pytest.mark.asyncio
async def test_a_worker_killed_in_the_middle_is_followed_by_one_that_goes_on(dsn: str, world: World) -> None:
    list_id = await world.receive(rows(), enqueue=enqueue)
    for share in range(1, 4):
        async with victim(dsn) as process:
            await until(world, list_id, lambda done, _, share=share: done >= share * 1000)  # type: ignore[misc]
            process.kill()
            await process.wait()
    async with victim(dsn):
        await until(world, list_id, lambda _, state: state == "loaded")
    await whole(world, list_id)


@pytest.mark.asyncio
async def test_an_importer_killed_in_the_middle_is_started_again(
    dsn: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    list_id = await world.receive(rows(), enqueue=enqueue)
    async with victim(dsn) as process:
        await until(world, list_id, lambda done, _: done >= 1000)
        for child in psutil.Process(process.pid).children():
            child.kill()
        await until(world, list_id, lambda _, state: state == "loaded")
    await whole(world, list_id)


@pytest.mark.asyncio
async def test_a_stopped_worker_leaves_at_a_batch_and_the_next_goes_on(dsn: str, world: World) -> None:
    list_id = await world.receive(rows(), enqueue=enqueue)
    async with victim(dsn) as process:
        await until(world, list_id, lambda done, _: done >= 1000)
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
    assert (await world.phone_list(list_id)).state == "loading"
    async with victim(dsn):
        await until(world, list_id, lambda _, state: state == "loaded")
    await whole(world, list_id)
    assert await world.db.value("SELECT count(*) FROM procrastinate_jobs") in (0, 1)


@pytest.mark.asyncio
async def test_a_job_exists_only_with_its_list(world: World) -> None:
    class Unlucky(Exception):
        pass

    async def fails(*of: object) -> None:
        await enqueue(*of)  # type: ignore[arg-type]
        raise Unlucky

    with pytest.raises(Unlucky):
        await world.receive([number(1)], enqueue=fails)
    for table in ("procrastinate_jobs", "phone_lists", "phone_list_chunks"):
        assert await world.db.value(f"SELECT count(*) FROM {table}") == 0  # type: ignore[arg-type]


def test_the_job_library_has_no_newer_tables_than_our_migrations() -> None:
    names = sorted(
        file.name
        for file in files("procrastinate.sql.migrations").iterdir()
        if file.name[0].isdigit() and file.name.endswith(".sql")
    )
    assert names[-1] == import_module("zvonar.store.migrations.versions.v0004_bulk").REACHED
