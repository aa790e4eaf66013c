"""Where is the recording of a call, as WAV and as MP3? In the gateway's directory as soon as it is complete.

Asterisk writes the sizes into the header when it closes the file, a moment after the hang-up: until then they are 0.
"""

import asyncio
import os
import re
import struct
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from zvonar.speech import AudioMissing
from zvonar.speech.files import stored, whole_file
from zvonar.speech.formats import TELEPHONE_RATE, WAV_HEADER
from zvonar.speech.library import Audio

LOOKS: Final = 60  # at a file that Asterisk has yet to close; a moment after the hang-up it has
LOOK: Final = 0.05  # seconds between them
MOST_MADE: Final = 1 << 30  # bytes of MP3 that are kept; they can be made again
PRUNED_EVERY: Final = 60.0  # seconds at least between two looks at all of them
BLOCK: Final = 1 << 16  # frames encoded at once

# A leg id, or what Asterisk calls a channel that came in.
_LEG: Final = r"(?:[0-9]{1,20}[.][0-9]{1,5}[.][0-9]{1,5}|[a-z][a-z0-9-]{0,31}-[0-9]{1,20}[.][0-9]{1,10})"
NAME: Final = re.compile(rf"{_LEG}[.]wav", re.ASCII)
SIDE: Final = re.compile(rf"{_LEG}-(?:in|out)[.]wav", re.ASCII)
_HEADER: Final = struct.Struct("<4sI4s4sIHHIIHH4sI")


class RecordingMissing(AudioMissing):
    """There is no recording of this call on this machine."""


class Recordings:
    """Recordings of one gateway. `made`: where what is made of them is kept."""

    def __init__(self, directory: Path, *, made: Path, parallel: int = 1) -> None:
        self._directory = directory
        self._made = made
        self._slots = asyncio.Semaphore(parallel)
        self._pruned = -PRUNED_EVERY  # at the first one, too
        self._flights: dict[str, asyncio.Task[None]] = {}

    async def wav(self, name: str) -> Audio:
        """The recording of this file name as Asterisk wrote it. Raises RecordingMissing, ClipNotStored."""
        if not NAME.fullmatch(name):
            raise RecordingMissing
        path = self._directory / name
        with stored():
            for _ in range(LOOKS):
                if _closed(path):
                    return Audio(path=path, size=path.stat().st_size, suffix="wav")
                await asyncio.sleep(LOOK)
            # Asterisk died while it wrote: what is there can be heard all the same.
            return await self._derived(f"{name[:-4]}.wav", partial(_mended, path))

    async def mp3(self, name: str) -> Audio:
        """That recording as MP3, made once. Raises as `wav` does."""
        wav = await self.wav(name)
        return await self._derived(f"{name[:-4]}.mp3", partial(_encoded, wav.path))

    async def _derived(self, name: str, make: "partial[None]") -> Audio:
        path = _place(self._made, name)
        if (found := _found(path)) is not None:
            return found
        flight = self._flights.get(name)
        if flight is None:
            flight = asyncio.create_task(self._make(path, make), name="recording")
            self._flights[name] = flight
            flight.add_done_callback(lambda done: self._landed(name, done))
        # Whoever asked may go away; the others wait for the same file.
        await asyncio.shield(flight)
        if (found := _found(path)) is None:
            raise RecordingMissing
        return found

    async def _make(self, path: Path, make: "partial[None]") -> None:
        async with self._slots:
            await asyncio.to_thread(make, path, self._made)
            now = asyncio.get_running_loop().time()
            if now - self._pruned >= PRUNED_EVERY:
                self._pruned = now
                await asyncio.to_thread(_prune, self._made, MOST_MADE, keep=path)

    def _landed(self, name: str, flight: "asyncio.Task[None]") -> None:
        del self._flights[name]
        if not flight.cancelled():
            flight.exception()  # its waiters have it


def made_of(directory: Path, name: str) -> list[Path]:
    """Where what is made of a recording of this file name is kept."""
    return [_place(directory, f"{name[:-4]}{suffix}") for suffix in (".wav", ".mp3")]


def _place(directory: Path, name: str) -> Path:
    call_id = name.partition(".")[0]
    return directory / call_id[-3:].zfill(3) / name  # a thousand folders, each of them small


def _found(path: Path) -> Audio | None:
    with stored():
        try:
            return Audio(path=path, size=path.stat().st_size, suffix=path.suffix[1:])
        except FileNotFoundError:
            return None


def _closed(path: Path) -> bool:
    """Whether Asterisk has written the sizes. Raises RecordingMissing where there is no file."""
    try:
        with path.open("rb") as file:
            header = file.read(WAV_HEADER)
            size = os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        raise RecordingMissing from None
    return size > WAV_HEADER and 0 < int.from_bytes(header[40:44], "little") <= size - WAV_HEADER


def _mended(source: Path, target: Path, directory: Path) -> None:
    """A copy with the header that the file would have, had it been closed."""
    with source.open("rb") as file:
        size = (os.fstat(file.fileno()).st_size - WAV_HEADER) // 2 * 2
        if size <= 0:
            raise RecordingMissing
        file.seek(WAV_HEADER)
        with whole_file(target, directory) as copy:
            copy.write(
                _HEADER.pack(
                    b"RIFF", size + WAV_HEADER - 8, b"WAVE", b"fmt ", 16, 1, 1,
                    TELEPHONE_RATE, 2 * TELEPHONE_RATE, 2, 16, b"data", size,
                )
            )  # fmt: skip
            while size and (block := file.read(min(size, BLOCK))):
                copy.write(block)
                size -= len(block)


def _encoded(source: Path, target: Path, directory: Path) -> None:
    # Imported here: most processes never encode, and the libraries take 15 MB.
    import soundfile  # type: ignore[import-untyped]

    try:
        with (
            soundfile.SoundFile(source) as reading,
            whole_file(target, directory) as file,
            soundfile.SoundFile(file, "w", reading.samplerate, reading.channels, format="MP3") as writing,
        ):
            while len(block := reading.read(BLOCK, dtype="int16")):
                writing.write(block)
    except soundfile.LibsndfileError as error:
        raise RecordingMissing(error.error_string) from error


def _prune(directory: Path, most: int, *, keep: Path) -> None:
    """Deletes what was made longest ago until the rest fits."""
    made = []
    for path in directory.glob("*/*"):
        with suppress(FileNotFoundError):  # another process prunes, too
            stat = path.stat()
            made.append((stat.st_mtime, stat.st_size, path))
    excess = sum(size for _, size, _ in made) - most
    for _, size, path in sorted(made):
        if excess <= 0:
            return
        if path != keep:
            with suppress(FileNotFoundError):  # another process prunes, too
                path.unlink()
            excess -= size
