"""Has this been said before? If so, where is the file; if not, say it once.

The name of a file is a hash of everything that shapes the sound, so a file never goes stale and needs no
index: what is on disk is the cache. A file appears under its name only when it is complete.
"""

import asyncio
import hashlib
import os
import re
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from zvonar.speech import SpeechFailed
from zvonar.speech.audio import Sound, levelled, resampled, to_wav, trimmed
from zvonar.speech.files import ClipNotStored, whole_file
from zvonar.speech.formats import WAV_HEADER, wav_duration_ms
from zvonar.speech.joined import Piece, joined
from zvonar.speech.synthesis import NothingToSay, Synthesiser, Voice, spoken_text

PROCESSING: Final = 1  # raise it when trimming, levelling or the file's format change: old files are ignored
TOUCH_SECONDS: Final = 60  # a use is noted on disk at most this often
KEEP_SECONDS: Final = 3600  # a clip used within it may be about to play: an attempt rings before it plays

_KEY: Final = re.compile(r"[0-9a-f]{64}")


class ClipCacheClosed(SpeechFailed):
    """The service is stopping and starts no new speech: try again after the restart."""


class Clip(msgspec.Struct, frozen=True, kw_only=True):
    key: str  # SHA-256 in hex of all that shapes the sound
    path: Path  # 8 kHz mono 16-bit WAV; Asterisk's `sound:` wants it without the suffix
    duration_ms: int  # what will be heard, at normal speed


class ClipCache:
    """Speech on disk, made once. Any number of processes may share the directory."""

    def __init__(self, directory: Path, synthesiser: Synthesiser) -> None:
        self._directory = directory
        self._synthesiser = synthesiser
        self._flights: dict[str, asyncio.Task[Clip]] = {}
        self._closed = False

    async def spoken(self, text: str, voice: Voice) -> Clip:
        """The text as a clip. Raises SynthesisFailed, ClipNotStored, ClipCacheClosed."""
        words = spoken_text(text)
        key = self.key(words, voice)
        return self._found(key) or await self._flown(key, lambda: self._make(key, words, voice))

    async def joined(self, pieces: Sequence[Piece]) -> Clip:
        """Several sounds as one clip. Raises ClipNotStored, ClipCacheClosed, AudioTooLong."""
        shape = (PROCESSING, "joined", [(piece.name, piece.silence, piece.volume) for piece in pieces])
        key = hashlib.sha256(msgspec.json.encode(shape)).hexdigest()
        return self._found(key) or await self._flown(key, lambda: self._join(key, pieces))

    async def _flown(self, key: str, make: Callable[[], Coroutine[Any, Any, Clip]]) -> Clip:
        """What is being made already, or is made now; whoever asks meanwhile waits for the same."""
        if self._closed:
            raise ClipCacheClosed
        flight = self._flights.get(key)
        if flight is None:
            flight = asyncio.create_task(make(), name=f"clip-{key[:12]}")
            self._flights[key] = flight
            flight.add_done_callback(partial(self._landed, key))
        try:
            # The flight belongs to the cache: a caller that gives up must not take the others' prompt along.
            return await asyncio.shield(flight)
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if flight.cancelled() and not (caller and caller.cancelling()):
                raise ClipCacheClosed from None
            raise

    def there(self, key: str) -> bool:
        """Whether a clip that was made before still is; that counts as a use. Raises ClipNotStored."""
        return self._found(key) is not None

    def key(self, text: str, voice: Voice) -> str:
        """Raises as `spoken_text` does."""
        shape = (PROCESSING, self._synthesiser.identity(voice), voice, spoken_text(text))
        return hashlib.sha256(msgspec.json.encode(shape)).hexdigest()

    def path_for(self, key: str) -> Path:
        """Two levels of folders keep each of them small with a million clips."""
        if not _KEY.fullmatch(key):
            raise ValueError("a clip's key is 64 hexadecimal digits")
        return self._directory / key[:2] / key[2:4] / f"{key}.wav"

    async def prune(self, max_bytes: int) -> int:
        """Deletes the clips unused for longest until the rest fits; the bytes freed.

        Clips used within `KEEP_SECONDS` stay, even when they alone are more than `max_bytes`.
        """
        return await asyncio.to_thread(_prune, self._directory, max_bytes, time.time() - KEEP_SECONDS)

    async def aclose(self) -> None:
        """Ends what is being spoken; whoever waits for it gets ClipCacheClosed."""
        self._closed = True
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

    def _found(self, key: str) -> Clip | None:
        """On the event loop on purpose: one stat of a cached inode is cheaper than a thread's wake-up."""
        path = self.path_for(key)
        try:
            stat = path.stat()
            if stat.st_size <= WAV_HEADER:
                return None
            if time.time() - stat.st_mtime > TOUCH_SECONDS:
                os.utime(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ClipNotStored(f"{error.strerror}.") from error
        return Clip(key=key, path=path, duration_ms=wav_duration_ms(stat.st_size))

    async def _make(self, key: str, words: str, voice: Voice) -> Clip:
        sound = await self._synthesiser.speak(words, voice)
        path = self.path_for(key)
        size = await asyncio.to_thread(_store, sound, path, self._directory)
        return Clip(key=key, path=path, duration_ms=wav_duration_ms(size))

    async def _join(self, key: str, pieces: Sequence[Piece]) -> Clip:
        path = self.path_for(key)
        size = await asyncio.to_thread(_store_joined, pieces, path, self._directory)
        return Clip(key=key, path=path, duration_ms=wav_duration_ms(size))

    def _landed(self, key: str, flight: asyncio.Task[Clip]) -> None:
        # Only flights are kept, never failures: the next request tries again.
        del self._flights[key]
        if not flight.cancelled():
            flight.exception()  # its waiters have it; with none left, asyncio would log it, traceback and all


def _store(sound: Sound, path: Path, directory: Path) -> int:
    speech = trimmed(resampled(sound))
    if not len(speech.samples):
        raise NothingToSay
    data = to_wav(levelled(speech))
    with whole_file(path, directory) as file:
        file.write(data)
    return len(data)


def _store_joined(pieces: Sequence[Piece], path: Path, directory: Path) -> int:
    data = to_wav(joined(pieces))
    with whole_file(path, directory) as file:
        file.write(data)
    return len(data)


def _prune(directory: Path, max_bytes: int, before: float) -> int:
    clips: list[tuple[float, int, Path]] = []
    freed = 0
    for path in directory.glob("??/??/*"):
        try:
            stat = path.stat()
            if path.suffix == ".wav":
                clips.append((stat.st_mtime, stat.st_size, path))
            elif path.suffix == ".part" and stat.st_mtime < before:
                path.unlink()  # a process was killed while writing it
                freed += stat.st_size
        except FileNotFoundError:
            continue  # another process prunes, too
    excess = sum(size for _, size, _ in clips) - max_bytes
    for _, size, path in sorted(clips):
        if excess <= 0:
            break
        try:
            if path.stat().st_mtime >= before:
                continue  # fresh, or used since the list was made
            path.unlink()
        except FileNotFoundError:
            pass  # gone all the same
        else:
            freed += size
        excess -= size
    return freed
