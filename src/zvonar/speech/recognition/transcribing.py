"""Who writes down what is said in a sound? A model of ours, a service that speaks OpenAI's API, or nobody."""

import asyncio
from typing import Final, Protocol

import aiohttp
import msgspec
from msgspec import Struct

from zvonar.speech.recognition import RecognitionFailed
from zvonar.speech.recognition.pool import Pool
from zvonar.speech.recognition.wire import Segment

_MOST: Final = 8 << 20  # bytes of an answer
_PER_SECOND: Final = 3.0  # seconds that a second of sound may take
_AT_LEAST: Final = 60.0  # seconds


class Transcriber(Protocol):
    async def transcribe(self, wav: bytes, *, seconds: float, language: str) -> list[Segment]:
        """What is said in a WAV of 8 kHz, mono, 16 bits. Raises RecognitionFailed and nothing else."""
        ...


class LocalTranscriber:
    """By a model of this machine's."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def transcribe(self, wav: bytes, *, seconds: float, language: str) -> list[Segment]:
        deadline = max(_AT_LEAST, seconds * _PER_SECOND)
        return await self._pool.transcribe(wav[44:], language=language, deadline=deadline)


class _Verbose(Struct, frozen=True, kw_only=True):
    """An answer in the format `verbose_json`."""

    text: str = ""
    duration: float | None = None
    segments: list[Segment] | None = None


class HttpTranscriber:
    """By an OpenAI-compatible service. `url`: of its API, such as https://host/v1."""

    def __init__(self, url: str, *, key: str | None, model: str) -> None:
        self._url = f"{url.rstrip('/')}/audio/transcriptions"
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._model = model

    async def transcribe(self, wav: bytes, *, seconds: float, language: str) -> list[Segment]:
        form = aiohttp.FormData()
        form.add_field("file", wav, filename="call.wav", content_type="audio/wav")
        form.add_field("model", self._model)
        form.add_field("language", language.partition("-")[0])
        form.add_field("response_format", "verbose_json")
        form.add_field("timestamp_granularities[]", "segment")
        timeout = aiohttp.ClientTimeout(total=max(_AT_LEAST, seconds * _PER_SECOND))
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, headers=self._headers, trust_env=False) as session,
                session.post(self._url, data=form, allow_redirects=False) as response,
            ):
                if response.status != 200:
                    raise RecognitionFailed(f"It answered {response.status}.")
                body = await response.content.read(_MOST)
                found = msgspec.json.decode(body, type=_Verbose)
        except (aiohttp.ClientError, OSError, TimeoutError, msgspec.MsgspecError, ValueError) as exc:
            raise RecognitionFailed(type(exc).__name__) from None
        if found.segments is None:
            # Plain `json` has no times: then all of it was said from the beginning to the end.
            whole = Segment(start=0.0, end=round(found.duration or seconds, 2), text=found.text.strip())
            return [whole] if whole.text else []
        return [
            Segment(start=round(one.start, 2), end=round(one.end, 2), text=one.text.strip())
            for one in found.segments
            if one.text.strip()
        ]


async def patient_pause(stop: asyncio.Event, seconds: float) -> None:
    """Until told to stop, and no longer than this."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
