"""Is a recording served as soon as Asterisk has closed it, and not before?"""

import asyncio
import wave
from pathlib import Path

import pytest
import soundfile  # type: ignore[import-untyped]

from zvonar.speech import recordings
from zvonar.speech.formats import WAV_HEADER
from zvonar.speech.recordings import RecordingMissing, Recordings

from ..plant import tone

pytestmark = pytest.mark.asyncio
NAME = "261126000000001.1.1.wav"


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    (tmp_path / "spool").mkdir()
    return tmp_path / "spool"


@pytest.fixture
def served(tmp_path: Path, spool: Path) -> Recordings:
    return Recordings(spool, made=tmp_path / "made")


def unclosed(file: Path) -> bytes:
    """What Asterisk leaves while it still writes: both sizes are 0. Returns the whole file."""
    whole = tone(file, 1.0).read_bytes()
    file.write_bytes(whole[:4] + bytes(4) + whole[8:40] + bytes(4) + whole[44:])
    return whole


@pytest.mark.parametrize("name", [NAME, "gateway-1795720283.87.wav"])
async def test_a_closed_recording_is_served_as_it_is(served: Recordings, spool: Path, name: str) -> None:
    whole = tone(spool / name, 1.0).read_bytes()
    audio = await served.wav(name)
    assert (audio.path, audio.size, audio.path.read_bytes()) == (spool / name, len(whole), whole)


async def test_a_recording_that_is_being_closed_is_waited_for(
    served: Recordings, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = unclosed(spool / NAME)
    looks = [False, False, True]
    closed = recordings._closed

    def look(path: Path) -> bool:
        if looks.pop(0):
            path.write_bytes(whole)
        return closed(path)

    monkeypatch.setattr(recordings, "_closed", look)
    monkeypatch.setattr(recordings, "LOOK", 0.0)
    assert (await served.wav(NAME)).path.read_bytes() == whole
    assert looks == []


async def test_what_a_killed_gateway_left_can_be_heard(
    served: Recordings, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recordings, "LOOKS", 1)
    monkeypatch.setattr(recordings, "LOOK", 0.0)
    whole = unclosed(spool / NAME)
    audio = await served.wav(NAME)
    assert audio.path.read_bytes() == whole
    assert soundfile.info(str((await served.mp3(NAME)).path)).format == "MP3"


async def test_a_header_alone_is_no_recording(
    served: Recordings, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recordings, "LOOKS", 1)
    monkeypatch.setattr(recordings, "LOOK", 0.0)
    (spool / NAME).write_bytes(tone(spool / "other.wav", 1.0).read_bytes()[:WAV_HEADER])
    with pytest.raises(RecordingMissing):
        await served.wav(NAME)


@pytest.mark.parametrize(
    "name",
    ["", "1.1.1.wav", "../spool/1.1.1.wav", "/etc/passwd", "1.1.1.wav\n", "1.1.1.mp3", "a.wav", "１.1.1.wav"],
)
async def test_other_names_are_no_recordings(served: Recordings, spool: Path, name: str) -> None:
    (spool / "a.wav").write_bytes(b"x")
    with pytest.raises(RecordingMissing):
        await served.wav(name)
    with pytest.raises(RecordingMissing):
        await served.mp3(name)


async def test_mp3_is_as_long_as_the_recording_and_made_once(
    served: Recordings, spool: Path, tmp_path: Path
) -> None:
    tone(spool / NAME, 2.0)
    first, second = await asyncio.gather(served.mp3(NAME), served.mp3(NAME))
    assert first == second
    made = first.path.stat()
    info = soundfile.info(str(first.path))
    assert (info.format, info.samplerate, info.channels) == ("MP3", 8000, 1)
    assert info.duration == pytest.approx(2.0, abs=0.2)
    again = Recordings(spool, made=tmp_path / "made")
    assert (await again.mp3(NAME)).path.stat().st_mtime_ns == made.st_mtime_ns


async def test_what_was_made_longest_ago_makes_room(
    served: Recordings, spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tone(spool / NAME, 1.0)
    other = NAME.replace("1.1.1", "2.1.1")
    tone(spool / other, 1.0)
    first = await served.mp3(NAME)
    monkeypatch.setattr(recordings, "MOST_MADE", first.size + 1)
    monkeypatch.setattr(recordings, "PRUNED_EVERY", 0.0)
    second = await served.mp3(other)
    assert (first.path.exists(), second.path.exists()) == (False, True)
    with wave.open(str(spool / NAME)) as file:
        assert file.getnframes() == 8000
    assert (await served.mp3(NAME)).size == first.size


async def test_a_damaged_recording_is_a_failure_with_a_name(served: Recordings, spool: Path) -> None:
    (spool / NAME).write_bytes(b"x" * 40 + (2).to_bytes(4, "little") + b"xx")
    with pytest.raises(RecordingMissing):
        await served.mp3(NAME)
