"""Are recordings deleted when they are done with, and not before?"""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from zvonar.speech.keeping import KEEP_SIDES, sweep
from zvonar.speech.recordings import Recordings

from ..plant import tone

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def recorded(spool: Path, name: str, age: timedelta) -> Path:
    spool.mkdir(exist_ok=True)
    path = tone(spool / name, 0.2)
    written = (NOW - age).timestamp()
    os.utime(path, (written, written))
    return path


def left(spool: Path) -> set[str]:
    return {path.name for path in spool.iterdir()}


def test_sides_go_once_nobody_will_write_them_down(tmp_path: Path) -> None:
    for age, call in ((KEEP_SIDES - DAY / 24, 1), (KEEP_SIDES + DAY / 24, 2), (365 * DAY, 3)):
        for side in ("", "-in", "-out"):
            recorded(tmp_path / "spool", f"{call}.1.1{side}.wav", age)
    recorded(tmp_path / "spool", "gateway-1764184923.12-in.wav", 365 * DAY)
    recorded(tmp_path / "spool", "greeting-in.wav", 365 * DAY)
    assert sweep(tmp_path / "spool", made=tmp_path / "made", keep=None, now=NOW) == 5
    assert left(tmp_path / "spool") == {
        *(f"{call}.1.1.wav" for call in (1, 2, 3)),
        "1.1.1-in.wav",
        "1.1.1-out.wav",
        "greeting-in.wav",
    }


@pytest.mark.asyncio
async def test_recordings_go_when_the_operator_says_so_with_what_was_made_of_them(tmp_path: Path) -> None:
    spool, made = tmp_path / "spool", tmp_path / "made"
    young, old = (recorded(spool, f"{call}.1.2.wav", age * DAY) for call, age in ((7, 29), (8, 31)))
    incoming = recorded(spool, "gateway-1764184923.12.wav", 31 * DAY)
    served = Recordings(spool, made=made)
    copies = [(await served.mp3(path.name)).path for path in (young, old)]
    assert sweep(spool, made=made, keep=30 * DAY, now=NOW) == 2
    assert [path.exists() for path in (young, old, incoming, *copies)] == [True, False, False, True, False]
    assert sweep(spool, made=made, keep=30 * DAY, now=NOW) == 0


def test_where_nothing_was_recorded_there_is_nothing_to_sweep(tmp_path: Path) -> None:
    assert sweep(tmp_path / "spool", made=tmp_path / "made", keep=DAY, now=NOW) == 0
