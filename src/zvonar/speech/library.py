"""Where is the audio of a clip, as a file? A text is spoken once, an upload is fetched from the store once."""

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Final
from weakref import WeakValueDictionary

import msgspec
from msgspec import Struct

from zvonar.core import markup
from zvonar.core.campaign import Voice
from zvonar.core.markup import ClipRef, MarkupInvalid, Pause
from zvonar.speech import AudioMissing
from zvonar.speech.clips import ClipCache
from zvonar.speech.converter import WAIT, Converter, ConverterBusy
from zvonar.speech.files import stored, whole_file
from zvonar.speech.formats import HEAD, AudioEmpty, AudioFormatUnknown, suffix_of, wav_duration_ms
from zvonar.speech.joined import Piece
from zvonar.speech.synthesis import MarkupUnplayable, NothingToSay
from zvonar.speech.synthesis import Voice as SpokenVoice
from zvonar.speech.utterances import Sounding, Utterance, utterances
from zvonar.store import clips
from zvonar.store.clips import Clip, ClipNotFound, Form
from zvonar.store.db import Database

UPLOADED: Final = "uploaded"
MAX_NESTED: Final = 3  # texts that are clips, inside each other
_KNOWN: Final = 10_000  # clips whose rows are kept in memory


class ClipLost(AudioMissing):
    """The clip's audio is neither on this machine nor in the database: upload it again."""


class Audio(Struct, frozen=True, kw_only=True):
    """A clip as a file."""

    path: Path
    size: int  # bytes
    suffix: str  # wav, mp3, ogg, flac

    @property
    def duration_ms(self) -> int:
        """Of a converted one."""
        return wav_duration_ms(self.size)


class Library:
    """The clips of every account. `directory`: where this machine keeps copies of uploads."""

    def __init__(self, db: Database, cache: ClipCache, *, directory: Path, converter: Converter) -> None:
        self._db = db
        self._cache = cache
        self._directory = directory
        self._converter = converter
        self._turns: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()  # by account
        self._heard: dict[tuple[int, str, Voice], Audio] = {}  # what a text became
        self._rows: dict[tuple[int, int], Clip] = {}  # by account and clip id
        self._fetching = asyncio.Lock()  # one at a time: a burst of calls fetches its prompt once

    async def said(self, account_id: int, text: str, voice: Voice) -> Audio:
        """A text of an account, with its markup, as the telephone plays it. Raises SpeechFailed."""
        # A prompt that was played a moment ago is found without being read again.
        known = self._heard.get((account_id, text, voice))
        if known is not None and self._cache.there(known.path.stem):
            return known
        audio = await self._said(account_id, text, voice, 0)
        if audio.path == self._cache.path_for(
            audio.path.stem
        ):  # not an upload, which is looked for elsewhere
            if len(self._heard) >= _KNOWN:
                self._heard.clear()
            self._heard[account_id, text, voice] = audio
        return audio

    async def converted(self, clip: Clip, *, voice: Voice | None = None) -> Audio:
        """A clip as the telephone plays it; `voice` for a text that was given none. Raises SpeechFailed."""
        return await self._converted(clip, voice or Voice(), 0)

    async def _converted(self, clip: Clip, voice: Voice, depth: int) -> Audio:
        if clip.kind == UPLOADED:
            return await self._copy(clip, "converted", "wav")
        return await self._said(
            clip.account_id, clip.text or "", Voice(**clip.voice) if clip.voice else voice, depth
        )

    async def _said(self, account_id: int, text: str, voice: Voice, depth: int) -> Audio:
        """`depth`: how many clips that are texts this text is inside of; two of them could name each other."""
        if depth > MAX_NESTED:
            raise MarkupUnplayable("Its clips play each other.")
        try:
            parts = utterances(markup.parse(text), voice.language)
        except MarkupInvalid as exc:
            raise MarkupUnplayable(exc.detail) from None
        found = await asyncio.gather(*(self._piece(account_id, part, voice, depth) for part in parts))
        pieces = [piece for piece in found if piece is not None]
        if len(pieces) == 1 and pieces[0].path is not None and pieces[0].volume == 1.0:
            path = pieces[0].path
        elif any(piece.path is not None for piece in pieces):
            path = (await self._cache.joined(pieces)).path
        else:
            raise NothingToSay
        with stored():
            return Audio(path=path, size=path.stat().st_size, suffix="wav")

    async def _piece(self, account_id: int, part: Sounding, voice: Voice, depth: int) -> Piece | None:
        match part:
            case Pause():
                return Piece(name="", silence=part.seconds)
            case ClipRef():
                clip = await self._clip(account_id, part.clip_id)
                path = (await self._converted(clip, voice, depth + 1)).path
                return Piece(name=path.stem, path=path)
            case Utterance():
                manner = part.manner
                spoken = SpokenVoice(
                    language=voice.language,
                    name=voice.name,
                    rate=min(max(voice.rate * manner.rate // 100, 50), 200),
                    pitch=min(max(voice.pitch * manner.pitch // 100, 0), 200),
                )
                try:
                    made = await self._cache.spoken(part.text, spoken)
                except NothingToSay:
                    if part.alone:
                        raise
                    return None  # punctuation between two tags
                return Piece(name=made.key, path=made.path, volume=manner.volume)

    async def _clip(self, account_id: int, clip_id: int) -> Clip:
        """A clip's row. What it says never changes, so each is read once in a while."""
        known = self._rows.get((account_id, clip_id))
        if known is None:
            try:
                known = await clips.get(self._db, account_id, clip_id)
            except ClipNotFound:
                raise MarkupUnplayable("It plays a clip that is not there.") from None
            if len(self._rows) >= _KNOWN:
                self._rows.clear()
            self._rows[account_id, clip_id] = known
        return known

    async def original(self, clip: Clip) -> Audio:
        """A clip as it came; what was spoken came from our own engine. Raises SpeechFailed."""
        if clip.kind == UPLOADED:
            return await self._copy(clip, "original", clip.suffix or "wav")
        return await self.converted(clip)

    def incoming(self) -> BinaryIO:
        """A file without a name for what is being received; it is gone with the process. Raises ClipNotStored."""
        with stored():
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            return tempfile.TemporaryFile(dir=self._directory)

    async def add(
        self,
        account_id: int,
        file: BinaryIO,
        *,
        name: str,
        speaker: str | None,
        text: str | None,
        now: datetime,
    ) -> Clip:
        """A recording that somebody brought, as a clip that can be played; durable once this returns.

        The same bytes with the same words about them are the same clip, so that a client may repeat itself.
        Raises AudioRejected, ConverterBusy, ConverterFailed, ClipNotStored.
        """
        with stored():
            head, fingerprint = await asyncio.to_thread(
                _read, file, msgspec.json.encode([name, speaker, text])
            )
        if not head:
            raise AudioEmpty
        suffix = suffix_of(head)
        if suffix is None:
            raise AudioFormatUnknown
        async with self._turn(account_id):
            if (clip := await clips.known(self._db, account_id, fingerprint)) is not None:
                return clip
            with self.incoming() as converted:
                await self._converter.telephone(file, converted)
                size = await asyncio.to_thread(converted.seek, 0, 2)
                new = clips.NewUpload(
                    fingerprint=fingerprint,
                    name=name,
                    speaker=speaker,
                    text=text,
                    suffix=suffix,
                    duration_ms=wav_duration_ms(size),
                )
                files: dict[Form, BinaryIO] = {"original": file, "converted": converted}
                return await clips.add_upload(self._db, account_id, new, files, now=now)

    @asynccontextmanager
    async def _turn(self, account_id: int) -> AsyncIterator[None]:
        """One recording of an account at a time, so that its many do not keep the others' waiting."""
        turn = self._turns.setdefault(account_id, asyncio.Lock())
        try:
            async with asyncio.timeout(WAIT):
                await turn.acquire()
        except TimeoutError:
            raise ConverterBusy from None
        try:
            yield
        finally:
            turn.release()

    async def _copy(self, clip: Clip, form: Form, suffix: str) -> Audio:
        name = (
            f"{clip.fingerprint}.{suffix}" if form == "converted" else f"{clip.fingerprint}.original.{suffix}"
        )
        path = self._directory / clip.fingerprint[:2] / clip.fingerprint[2:4] / name
        if (found := _found(path, suffix)) is not None:
            return found
        async with self._fetching:
            if (found := _found(path, suffix)) is not None:
                return found
            await _fetch(clips.pieces(self._db, clip, form), path, self._directory)
        if (found := _found(path, suffix)) is not None:
            return found
        raise ClipLost


def _found(path: Path, suffix: str) -> Audio | None:
    """On the event loop on purpose: one stat of a cached inode is cheaper than a thread's wake-up."""
    with stored():
        try:
            return Audio(path=path, size=path.stat().st_size, suffix=suffix)
        except FileNotFoundError:
            return None


def _read(file: BinaryIO, about: bytes) -> tuple[bytes, str]:
    """A file's first bytes, and the hash of all of it and of what is said of it."""
    digest = hashlib.sha256(about)
    file.seek(0)
    head = b""
    while block := file.read(clips.PIECE):
        head = head or block[:HEAD]
        digest.update(block)
    return head, digest.hexdigest()


async def _fetch(pieces: AsyncIterator[bytes], path: Path, directory: Path) -> None:
    """Writes a file from the store; none where the store has none."""
    first = await anext(pieces, None)
    if first is None:
        raise ClipLost
    with whole_file(path, directory) as file:
        await asyncio.to_thread(file.write, first)
        async for piece in pieces:
            await asyncio.to_thread(file.write, piece)
