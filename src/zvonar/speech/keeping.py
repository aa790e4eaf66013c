"""Which recordings are done with? One side's once it can be written down no more, the others when an operator says so.

They are judged by when their file was last written to, so a call that is up is never touched.
"""

import asyncio
import os
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import structlog

from zvonar.speech.recordings import NAME, SIDE, made_of
from zvonar.store import transcripts

log = structlog.get_logger(__name__)

_LOOK: Final = 3600.0  # seconds between looks
# A call of the longest that there are, the transcripts' own bound, and all their tries.
KEEP_SIDES: Final = timedelta(hours=1) + transcripts.LOOK_BACK + transcripts.TRIES * transcripts.PATIENCE


async def forget(
    directory: Path,
    *,
    made: Path,
    keep: timedelta | None,
    stop: asyncio.Event,
    clock: Callable[[], datetime],
) -> None:
    """Until `stop`: delete recordings that are older than `keep`, and what was made of them. `keep`: None for ever."""
    while not stop.is_set():
        now = clock()
        try:
            gone = await asyncio.to_thread(sweep, directory, made=made, keep=keep, now=now)
        except OSError as exc:
            log.warning("recordings.not_swept", error=type(exc).__name__)
        else:
            if gone:
                log.info("recordings.swept", files=gone)
        try:
            await asyncio.wait_for(stop.wait(), _LOOK)
        except TimeoutError:
            continue


def sweep(directory: Path, *, made: Path, keep: timedelta | None, now: datetime) -> int:
    """How many files of the gateway went. What is no recording stays."""
    gone = 0
    try:
        entries = os.scandir(directory)
    except FileNotFoundError:
        return 0  # nothing was recorded yet
    with entries:
        for entry in entries:
            whole = NAME.fullmatch(entry.name) is not None
            kept = keep if whole else KEEP_SIDES if SIDE.fullmatch(entry.name) else None
            if kept is None:
                continue
            written = entry.stat(follow_symlinks=False).st_mtime
            if written >= (now - kept).timestamp():
                continue
            if whole:
                for copy in made_of(made, entry.name):
                    copy.unlink(missing_ok=True)
            Path(entry.path).unlink(missing_ok=True)
            gone += 1
    return gone
