"""What does a script need of whoever recognises words on a line? A protocol, with speech and gateway behind it."""

from collections.abc import Collection
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from zvonar.line.line import Line


class Heard(Struct, frozen=True, kw_only=True):
    """Somebody has spoken."""

    word: str | None  # one of those that were listened for; None: it was not understood


class Ear(Protocol):
    """Listens to one line."""

    async def heard(self) -> Heard:
        """Wait for the next utterance. Never raises HungUp; whoever waits has an eye on the line himself."""


class Ears(Protocol):
    """Recognises words, on as many lines at once as were configured."""

    def listening(
        self, line: Line, words: Collection[str], *, language: str, prompt: Path | None = None
    ) -> AbstractAsyncContextManager[Ear | None]:
        """Listen to the subscriber until the end of the block; None where keys alone must do.

        `words`: lower case; those of `zvonar.core.reaction.MEANINGS` stand for their meaning in the language. Entering
        it takes no longer than the configured wait for a free recogniser. `prompt`: what plays meanwhile; when it comes
        back as an echo nobody has spoken. A recogniser that fails or hangs is never
        noticed as more than a Heard that never comes.
        """
