"""Does a stranger's file cost no more than itself, whatever it does to the decoder?"""

import asyncio
import io
import os
import signal
import sys
import tempfile
import wave
from collections.abc import Iterator
from typing import BinaryIO

import pytest
from tests.sounds import silence, sound

from zvonar.speech import converter, formats
from zvonar.speech.converter import Converter, ConverterBusy, ConverterFailed

pytestmark = pytest.mark.asyncio


@pytest.fixture
def target() -> Iterator[BinaryIO]:
    with tempfile.TemporaryFile() as file:
        yield file


def file(data: bytes) -> BinaryIO:
    made = tempfile.TemporaryFile()  # noqa: SIM115  closed with the test's end
    made.write(data)
    made.flush()
    return made


def pretend(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Instead of the decoder, a process that does this."""
    real = asyncio.create_subprocess_exec

    async def start(*_: str, **options: object) -> asyncio.subprocess.Process:
        return await real(sys.executable, "-c", code, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", start)


async def test_a_recording_becomes_the_telephones(target: BinaryIO) -> None:
    with file(sound(2.0, rate=44_100, channels=2, container="MP3")) as source:
        await Converter().telephone(source, target)
    target.seek(0)
    with wave.open(io.BytesIO(target.read())) as heard:
        assert (heard.getframerate(), heard.getnchannels(), heard.getsampwidth()) == (8000, 1, 2)
        assert heard.getnframes() == pytest.approx(16_000, abs=800)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", formats.AudioEmpty),
        (b"PK\3\4" + bytes(100), formats.AudioFormatUnknown),
        (b"OggS" + bytes(100), formats.AudioBroken),
        (sound(0.05), formats.AudioTooShort),
        (silence(7200), formats.AudioTooLong),
        (silence(1800, rate=96_000, channels=2), formats.AudioTooCostly),
    ],
)
async def test_a_rejection_keeps_its_reason_from_process_to_process(
    target: BinaryIO, data: bytes, error: type[formats.AudioRejected]
) -> None:
    with file(data) as source, pytest.raises(error):
        await Converter().telephone(source, target)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", formats.AudioBroken),
        ("import os; os.abort()", formats.AudioBroken),
        ("import os, signal; os.kill(os.getpid(), signal.SIGXCPU)", formats.AudioTooCostly),
        ("raise SystemExit(1)", ConverterFailed),
        ("raise SystemExit(200)", ConverterFailed),
    ],
)
async def test_a_decoder_that_dies_is_the_files_fault_and_one_that_fails_ours(
    target: BinaryIO, monkeypatch: pytest.MonkeyPatch, code: str, error: type[Exception]
) -> None:
    pretend(monkeypatch, f"import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); {code}")
    with file(b"x") as source, pytest.raises(error):
        await Converter().telephone(source, target)


async def test_one_that_hangs_is_ended(target: BinaryIO, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "import time; time.sleep(600)")
    monkeypatch.setattr(converter, "DEADLINE", 0.05)
    slow = Converter()
    with file(b"x") as source:
        with pytest.raises(formats.AudioTooCostly):
            await slow.telephone(source, target)
        # Its place is free again.
        monkeypatch.undo()
        with pytest.raises(formats.AudioFormatUnknown):
            await slow.telephone(source, target)


async def test_whoever_goes_away_takes_the_process_along(
    target: BinaryIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, "import os, time; os.write(1, str(os.getpid()).encode()); time.sleep(600)")
    with file(b"x") as source:
        work = asyncio.create_task(Converter().telephone(source, target))
        while not os.fstat(target.fileno()).st_size:
            await asyncio.sleep(0.01)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
    target.seek(0)
    with pytest.raises(ProcessLookupError):
        os.kill(int(target.read()), signal.SIGCONT)


async def test_no_more_than_so_many_decode_at_once(target: BinaryIO, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "import time; time.sleep(600)")
    monkeypatch.setattr(converter, "WAIT", 0.05)
    one = Converter(parallel=1)
    with file(b"x") as source:
        first = asyncio.create_task(one.telephone(source, target))
        await asyncio.sleep(0)
        with pytest.raises(ConverterBusy):
            await one.telephone(source, target)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)


async def test_a_decoder_sees_none_of_our_secrets(target: BinaryIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZVONAR_DATABASE_URL", "postgresql://somebody:secret@nowhere/")
    pretend(monkeypatch, "import os; print(sorted(os.environ))")
    with file(b"x") as source:
        await Converter().telephone(source, target)
    target.seek(0)
    assert b"ZVONAR" not in target.read()
