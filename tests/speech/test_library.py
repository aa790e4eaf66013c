"""Is an uploaded clip one clip, durable and playable on any machine that shares the database?"""

import asyncio
import os
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import BinaryIO

import pytest
from tests.sounds import sound

from zvonar.speech.clips import ClipCache
from zvonar.speech.converter import Converter, ConverterBusy
from zvonar.speech.files import ClipNotStored
from zvonar.speech.library import ClipLost, Library
from zvonar.speech.synthesis import NullSynthesiser
from zvonar.store import accounts, clips
from zvonar.store.clips import Clip
from zvonar.store.db import Database

pytestmark = pytest.mark.asyncio
NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
LONG = sound(150.0)  # more than two pieces


async def an_account(db: Database, name: str = "owner") -> int:
    added = await accounts.add(
        db,
        name=name,
        currency="RUB",
        timezone="UTC",
        countries=["RU"],
        balance=Decimal(1),
        keys={},
        logins={},
        now=NOW,
    )
    return added.account_id


def library(db: Database, room: Path, *, parallel: int = 2) -> Library:
    cache = ClipCache(room / "clips", NullSynthesiser())
    return Library(db, cache, directory=room / "uploads", converter=Converter(parallel=parallel))


async def brought(
    shelf: Library,
    account_id: int,
    data: bytes = LONG,
    *,
    name: str = "x",
    speaker: str | None = None,
    text: str | None = None,
) -> Clip:
    with shelf.incoming() as file:
        file.write(data)
        file.flush()
        return await shelf.add(account_id, file, name=name, speaker=speaker, text=text, now=NOW)


async def test_the_bytes_come_back_as_they_went_in(db: Database, tmp_path: Path) -> None:
    account_id = await an_account(db)
    clip = await brought(library(db, tmp_path / "here"), account_id)
    there = library(db, tmp_path / "there")
    assert (await there.original(clip)).path.read_bytes() == LONG
    assert (await there.converted(clip)).duration_ms == clip.duration_ms == 150_000
    assert await clips.get(db, account_id, clip.clip_id) == clip


async def test_the_same_recording_twice_at_once_is_one_clip(db: Database, tmp_path: Path) -> None:
    account_id = await an_account(db)
    shelf = library(db, tmp_path)
    first, second, third = await asyncio.gather(*(brought(shelf, account_id) for _ in range(3)))
    assert first == second == third
    pieces = await db.value("SELECT count(*)::int FROM clip_audio")
    assert pieces == 2 * -(-len(LONG) // clips.PIECE)


async def test_a_burst_fetches_a_clip_once(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account_id = await an_account(db)
    clip = await brought(library(db, tmp_path / "here"), account_id)
    fetched = []
    real = clips.pieces

    def counting(*of: object) -> object:
        fetched.append(of)
        return real(*of)  # type: ignore[arg-type]

    monkeypatch.setattr(clips, "pieces", counting)
    there = library(db, tmp_path / "there")
    played = await asyncio.gather(*(there.converted(clip) for _ in range(10)))
    assert len(fetched) == 1
    assert len({audio.path for audio in played}) == 1


async def test_a_transaction_that_fails_leaves_no_half_a_clip(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account_id = await an_account(db)
    shelf = library(db, tmp_path)
    real = asyncio.to_thread
    reads = []

    async def breaks(work: object, *of: object) -> object:
        if getattr(work, "__name__", "") == "read":
            reads.append(of)
            if len(reads) == 2:
                raise OSError("the disk is gone")
        return await real(work, *of)  # type: ignore[arg-type]

    monkeypatch.setattr(asyncio, "to_thread", breaks)
    with pytest.raises(OSError, match="gone"):
        await brought(shelf, account_id)
    monkeypatch.undo()
    assert await db.value("SELECT (SELECT count(*) FROM clips) + (SELECT count(*) FROM clip_audio)") == 0
    assert (await shelf.converted(await brought(shelf, account_id))).size


async def test_a_clip_without_its_bytes_is_lost_by_name(db: Database, tmp_path: Path) -> None:
    account_id = await an_account(db)
    clip = await brought(library(db, tmp_path / "here"), account_id)
    await db.execute("DELETE FROM clip_audio")
    with pytest.raises(ClipLost):
        await library(db, tmp_path / "there").converted(clip)
    assert not [path for path in (tmp_path / "there").rglob("*") if path.is_file()]


async def test_a_directory_that_cannot_be_written_has_a_name(db: Database, tmp_path: Path) -> None:
    (tmp_path / "uploads").write_text("a file")
    with pytest.raises(ClipNotStored):
        library(db, tmp_path).incoming()


async def test_other_words_about_the_same_recording_are_another_clip(db: Database, tmp_path: Path) -> None:
    account_id = await an_account(db)
    shelf = library(db, tmp_path)
    said = [("a", None, None), ("a", "b", None), ("a", None, "b"), ("b", None, None)]
    made = [
        await brought(shelf, account_id, sound(), name=name, speaker=speaker, text=text)
        for name, speaker, text in said
    ]
    assert len({clip.clip_id for clip in made}) == len(said)


async def test_an_account_with_many_recordings_does_not_keep_another_waiting(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy, other = await an_account(db, "busy"), await an_account(db, "other")
    shelf = library(db, tmp_path, parallel=1)
    converted: list[int] = []
    real = Converter.telephone

    async def slow(of: Converter, source: BinaryIO, target: BinaryIO) -> None:
        converted.append(os.fstat(source.fileno()).st_size)
        while len(converted) < 2:  # the first one takes until somebody else has had a turn
            await asyncio.sleep(0.001)
        await real(of, source, target)

    monkeypatch.setattr(Converter, "telephone", slow)
    many = [asyncio.create_task(brought(shelf, busy, sound(1.0), name=str(n))) for n in range(4)]
    await brought(shelf, other, sound(0.5))
    assert min(converted) in converted[:2]
    await asyncio.gather(*many)


async def test_whoever_waits_too_long_for_a_turn_is_told(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zvonar.speech.library.WAIT", 0.05)
    account_id = await an_account(db)
    shelf = library(db, tmp_path)
    async with shelf._turn(account_id):
        with pytest.raises(ConverterBusy):
            await brought(shelf, account_id)
    assert await brought(shelf, account_id)
