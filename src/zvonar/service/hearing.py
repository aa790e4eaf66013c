"""Who recognises words and writes calls down here? What the settings name, or nobody."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from msgspec import Struct

from zvonar.speech.recognition import model
from zvonar.speech.recognition.model import EngineMissing, ModelMissing

if TYPE_CHECKING:
    from zvonar.dialer.hearing import Hearing
    from zvonar.line.tap import Tapping
    from zvonar.speech.recognition.transcribing import Transcriber

log = structlog.get_logger(__name__)

_LINES = 50  # listened to for each recogniser: most of the time nobody says anything


class HearingConfig(Struct, frozen=True, kw_only=True):
    """What the supervisor found out for its roles."""

    model: str | None  # directory of a whisper model; None: no words, and no transcripts of our own
    recognisers: int  # processes
    wait: float  # seconds for a free one
    transcribe_url: str | None
    transcribe_key: str | None
    transcribe_model: str

    @property
    def transcribes(self) -> bool:
        """Whether calls are written down at all."""
        return self.model is not None or self.transcribe_url is not None

    def __repr__(self) -> str:
        return f"HearingConfig(model={self.model})"


def model_of(directory: Path | None, *, cache: Path) -> str | None:
    """The model to use, None without one. Raises ModelMissing where the operator named one that is not there."""
    try:
        return str(model.find(directory, cache=cache))
    except (ModelMissing, EngineMissing):
        if directory is not None:
            raise
        return None


@asynccontextmanager
async def ears(config: HearingConfig, tapping: "Tapping") -> AsyncIterator["Hearing | None"]:
    """Words on the line."""
    if config.model is None:
        yield None
        return
    from zvonar.dialer.hearing import Hearing
    from zvonar.speech.recognition.pool import Pool

    async with Pool(
        model.command(Path(config.model)), model.environment(), size=config.recognisers, wait=config.wait
    ) as pool:
        warming = asyncio.create_task(pool.warm())
        try:
            yield Hearing(tapping, pool, lines=_LINES * config.recognisers, wait=config.wait)
        finally:
            warming.cancel()
            await asyncio.wait({warming})


@asynccontextmanager
async def transcriber(config: HearingConfig) -> AsyncIterator["Transcriber | None"]:
    """Transcripts: a service where one is named, else the model."""
    from zvonar.speech.recognition.pool import Pool
    from zvonar.speech.recognition.transcribing import HttpTranscriber, LocalTranscriber

    if config.transcribe_url is not None:
        yield HttpTranscriber(config.transcribe_url, key=config.transcribe_key, model=config.transcribe_model)
    elif config.model is not None:
        async with Pool(model.command(Path(config.model)), model.environment(), wait=3600.0) as pool:
            yield LocalTranscriber(pool)
    else:
        yield None
