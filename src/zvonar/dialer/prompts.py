"""Where is the audio of this script? Every prompt as a file, before anyone is dialled."""

from collections.abc import Iterable
from pathlib import Path

from zvonar.core.campaign import Voice
from zvonar.core.script import Prompt
from zvonar.speech import SpeechFailed
from zvonar.speech.formats import wav_duration_ms
from zvonar.speech.library import Library
from zvonar.store import clips
from zvonar.store.clips import Clip, ClipNotFound
from zvonar.store.db import Database

_KNOWN = 10_000  # clips whose rows are kept in memory


class PromptMissing(SpeechFailed):
    """A clip of the script is not there any more."""


class Prompts:
    """Finds clips and has texts spoken."""

    def __init__(self, db: Database, library: Library) -> None:
        self._db = db
        self._library = library
        self._known: dict[tuple[int, int], Clip] = {}  # by account and clip id

    async def files(self, account_id: int, voice: Voice, prompts: Iterable[Prompt]) -> dict[Prompt, Path]:
        """A playable file for each prompt. Raises SpeechFailed where one cannot be had."""
        return {prompt: await self._file(account_id, voice, prompt) for prompt in prompts}

    def seconds(self, file: Path) -> float:
        """How long a file of `files` lasts. Raises SpeechFailed where it has gone meanwhile."""
        try:
            return wav_duration_ms(file.stat().st_size) / 1000
        except OSError:
            raise PromptMissing() from None

    async def _file(self, account_id: int, voice: Voice, prompt: Prompt) -> Path:
        if prompt.text is not None:
            return (await self._library.said(account_id, prompt.text, voice)).path
        clip = await self._clip(account_id, prompt)
        return (await self._library.converted(clip, voice=voice)).path

    async def _clip(self, account_id: int, prompt: Prompt) -> Clip:
        """The clip's row. What it says never changes, so each is read once in a while."""
        assert prompt.clip_id is not None
        known = self._known.get((account_id, prompt.clip_id))
        if known is None:
            try:
                known = await clips.get(self._db, account_id, prompt.clip_id)
            except ClipNotFound:
                raise PromptMissing() from None
            if len(self._known) >= _KNOWN:
                self._known.clear()
            self._known[account_id, prompt.clip_id] = known
        return known
