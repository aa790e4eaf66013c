"""What was said on recorded calls? One recording after the other, each side by itself, in the background."""

import asyncio
import wave
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final

import structlog
from msgspec import Struct

from zvonar.speech import SpeechFailed
from zvonar.speech.recognition.transcribing import Transcriber, patient_pause
from zvonar.store import transcripts
from zvonar.store.db import Database, StoreUnavailable
from zvonar.store.transcripts import Recorded, Said

log = structlog.get_logger(__name__)

ROBOT: Final = 0
SUBSCRIBER: Final = 1
_SIDES: Final = {ROBOT: "out", SUBSCRIBER: "in"}  # as the gateway names the files of a recording's sides
_POLL: Final = 2.0  # seconds between looks where there is nothing to do
_LONGEST: Final = 3600  # seconds of a recording


class SideMissing(SpeechFailed):
    """The recording's sides are not there: it was made before transcripts were configured."""


class _Side(Struct, frozen=True, kw_only=True):
    wav: bytes
    seconds: float


class Transcripts:
    """`directory`: where the gateway records."""

    def __init__(
        self, db: Database, directory: Path, transcriber: Transcriber, *, now: Callable[[], datetime]
    ) -> None:
        self._db = db
        self._directory = directory
        self._transcriber = transcriber
        self._now = now

    async def run(self, stop: asyncio.Event) -> None:
        """Until told to stop; what is being written down then is given up, and claimed again by a later worker."""
        while not stop.is_set():
            try:
                busy = await self.one()
            except StoreUnavailable:
                busy = False
            if not busy:
                await patient_pause(stop, _POLL)

    async def one(self) -> bool:
        """Write down the next recording; False where there is none."""
        recorded = await transcripts.claim(self._db, now=self._now())
        if recorded is None:
            return False
        try:
            said = await self._written(recorded)
        except SpeechFailed as exc:
            log.warning("transcript.failed", call_id=recorded.call_id, error=type(exc).__name__)
            await transcripts.failed(self._db, recorded, type(exc).__name__)
        else:
            await transcripts.done(self._db, recorded, said, now=self._now())
            # They were recorded for this alone, and take twice the room of the call.
            for side in _SIDES:
                await asyncio.to_thread(self._side(recorded, side).unlink, missing_ok=True)
        return True

    def _side(self, recorded: Recorded, channel: int) -> Path:
        return self._directory / f"{Path(recorded.recording).stem}-{_SIDES[channel]}.wav"

    async def _written(self, recorded: Recorded) -> list[Said]:
        found = []
        for channel in _SIDES:
            side = await asyncio.to_thread(_read, self._side(recorded, channel))
            if side.seconds <= 0:
                continue
            segments = await self._transcriber.transcribe(
                side.wav, seconds=side.seconds, language=recorded.language
            )
            found += [Said(channel=channel, start=one.start, end=one.end, text=one.text) for one in segments]
        return found


def _read(path: Path) -> _Side:
    """A file that Asterisk wrote, with a header that says how long it is."""
    try:
        with wave.open(str(path), "rb") as reader:
            if (reader.getnchannels(), reader.getsampwidth(), reader.getframerate()) != (1, 2, 8000):
                raise SideMissing
            pcm = reader.readframes(min(reader.getnframes(), _LONGEST * 8000))
    except (OSError, wave.Error, EOFError):
        raise SideMissing from None
    size = len(pcm)
    head = b"RIFF" + (36 + size).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
    form = b"\x01\0\x01\0" + (8000).to_bytes(4, "little") + (16000).to_bytes(4, "little") + b"\x02\0\x10\0"
    return _Side(wav=head + form + b"data" + size.to_bytes(4, "little") + pcm, seconds=size / 16000)
