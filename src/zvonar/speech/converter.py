"""Who turns an outsider's file into the telephone's, without being hurt by it?

One short process a file: a decoder that crashes, hangs or eats memory costs that file and nothing else.
"""

import asyncio
import os
import signal
import sys
from contextlib import suppress
from typing import BinaryIO, Final

from zvonar.speech import SpeechFailed
from zvonar.speech.convert import MOST_SECONDS, REJECTED
from zvonar.speech.formats import LONGEST_MS, REJECTIONS, AudioBroken, AudioTooCostly

DEADLINE: Final = 2.0 * MOST_SECONDS  # seconds for one file, on a machine that has other work
WAIT: Final = 30.0  # seconds for a turn
REAP_SECONDS: Final = 2.0  # for the kernel to end a killed process
_PASSED_ON: Final = ("PATH", "HOME", "LANG", "PYTHONPATH", "LD_LIBRARY_PATH", "PYTHONHOME")


class ConverterBusy(SpeechFailed):
    """Too many audio files are being converted: try again in a minute."""


class ConverterFailed(SpeechFailed):
    """The converter did not start or ended by itself: run `zvonar doctor`."""


class Converter:
    """Converts `parallel` files at once; others wait their turn, `WAIT` seconds at most."""

    def __init__(self, *, parallel: int = 1) -> None:
        self._slots = asyncio.Semaphore(parallel)

    async def telephone(self, source: BinaryIO, target: BinaryIO, *, longest_ms: int = LONGEST_MS) -> None:
        """The recording in `source` as the telephone's WAV in `target`, both real files.

        Raises AudioRejected, ConverterBusy, ConverterFailed.
        """
        try:
            async with asyncio.timeout(WAIT):
                await self._slots.acquire()
        except TimeoutError:
            raise ConverterBusy from None
        try:
            code = await _run(source, target, longest_ms)
        finally:
            self._slots.release()
        if 0 <= code - REJECTED < len(REJECTIONS):
            raise REJECTIONS[code - REJECTED]
        if code in (-signal.SIGXCPU, -signal.SIGKILL, -signal.SIGXFSZ):
            raise AudioTooCostly
        if code < 0:
            raise AudioBroken(f"Its decoder died of {signal.Signals(-code).name}.")
        if code:
            raise ConverterFailed(f"Its exit code is {code}.")


async def _run(source: BinaryIO, target: BinaryIO, longest_ms: int) -> int:
    """The exit code; below 0 a signal, SIGKILL where it took too long."""
    source.seek(0)
    # It reads a stranger's bytes: it gets no address, no password and no more of a processor than one.
    env = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    env |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "zvonar.speech.convert", str(longest_ms),
            env=env,
            stdin=source,
            stdout=target,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise ConverterFailed(f"{error.strerror}.") from error
    try:
        async with asyncio.timeout(DEADLINE):
            return await process.wait()
    except TimeoutError:
        return -signal.SIGKILL
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            with suppress(TimeoutError):
                async with asyncio.timeout(REAP_SECONDS):
                    await process.wait()
