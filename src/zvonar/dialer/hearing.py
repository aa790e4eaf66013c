"""Which word has the subscriber said? His sound, cut into utterances, each given to a recogniser.

So many lines listen at once as were configured. Whoever finds no place within the wait does with keys, and so does a
line whose sound cannot be had.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection
from pathlib import Path

import structlog

from zvonar.line.ears import Ear, Heard
from zvonar.line.line import GatewayInDoubt, GatewayLost, GatewayRefused, Line
from zvonar.line.tap import Tap, Tapping
from zvonar.speech.recognition import Recogniser, RecognitionFailed
from zvonar.speech.recognition.echo import Prompt
from zvonar.speech.recognition.endpoint import Endpointer

log = structlog.get_logger(__name__)


class _Listening:
    """One line, as long as it is listened to."""

    def __init__(self) -> None:
        self.said: asyncio.Queue[Heard] = asyncio.Queue()

    async def heard(self) -> Heard:
        return await self.said.get()


class Hearing:
    """`lines`: how many are listened to at once. `wait`: seconds for a place among them."""

    def __init__(self, tapping: Tapping, recogniser: Recogniser, *, lines: int, wait: float) -> None:
        self._tapping = tapping
        self._recogniser = recogniser
        self._places = asyncio.Semaphore(lines)
        self._wait = wait

    @contextlib.asynccontextmanager
    async def listening(
        self, line: Line, words: Collection[str], *, language: str, prompt: Path | None = None
    ) -> AsyncIterator[Ear | None]:
        """As `line.ears.Ears` says."""
        async with contextlib.AsyncExitStack() as held:
            try:
                async with asyncio.timeout(self._wait):
                    await self._places.acquire()
                    held.callback(self._places.release)
                    tap = await held.enter_async_context(self._tapping.tap(line.leg))
            except (TimeoutError, GatewayRefused, GatewayLost, GatewayInDoubt, OSError) as exc:
                log.warning("words.keys_only", leg=str(line.leg), error=type(exc).__name__)
                tap = None
            if tap is None:
                await held.aclose()
                yield None
                return
            ear = _Listening()
            hearing = asyncio.create_task(self._hear(tap, ear, tuple(words), language, prompt))
            try:
                yield ear
            finally:
                hearing.cancel()
                await asyncio.wait({hearing})

    async def _hear(
        self, tap: Tap, ear: _Listening, words: tuple[str, ...], language: str, prompt: Path | None
    ) -> None:
        endpointer = Endpointer()
        ours = await _read(prompt) if prompt is not None else None
        while True:
            utterance = endpointer.feed(await tap.frame())
            if utterance is None:
                continue
            if ours is not None and await asyncio.to_thread(ours.echoed, utterance):
                continue
            try:
                word = await self._recogniser.choose(utterance, words, language=language)
            except RecognitionFailed as exc:
                # Nothing was heard, then; keys go on, and the question is asked again when they do not come.
                log.warning("words.not_recognised", error=type(exc).__name__)
                continue
            ear.said.put_nowait(Heard(word=word))


async def _read(clip: Path) -> Prompt | None:
    """What may come back; None where it cannot be read, and an echo then passes for speech."""
    try:
        return await asyncio.to_thread(Prompt.read, clip)
    except OSError as exc:
        log.warning("words.prompt_unread", error=type(exc).__name__)
        return None
