"""How many recognise at once, who waits, and what of one that hangs? A few processes, each killed at its deadline."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec
import structlog

from zvonar.speech.recognition import (
    RecogniserBusy,
    RecogniserDied,
    RecognitionFailed,
    chosen,
    phrases,
    wire,
)
from zvonar.speech.recognition.wire import (
    Answer,
    Ready,
    Request,
    Score,
    Scores,
    Segment,
    Transcribe,
    Transcribed,
)

log = structlog.get_logger(__name__)

_LOAD: Final = 60.0  # seconds for a model to be loaded
_REAP: Final = 2.0  # seconds for the kernel to end a killed process


class _Process:
    """One recogniser; started when it is needed."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str]) -> None:
        self._command = command
        self._env = dict(env)
        self._process: asyncio.subprocess.Process | None = None

    async def ask(self, request: Request, deadline: float) -> Answer:
        """Its answer. Raises RecogniserDied, and the process is dead then."""
        try:
            async with asyncio.timeout(_LOAD):
                process = await self._started()
            async with asyncio.timeout(deadline):
                return await _asked(process, request)
        except TimeoutError:
            await self.kill()
            raise RecogniserDied("It did not answer in time.") from None
        except (OSError, asyncio.IncompleteReadError, ValueError, msgspec.MsgspecError) as exc:
            await self.kill()
            raise RecogniserDied(type(exc).__name__) from None
        except BaseException:
            # Whoever gave up leaves an answer in the pipe that would be the next one's.
            await self.kill()
            raise

    async def _started(self) -> asyncio.subprocess.Process:
        if self._process is not None and self._process.returncode is None:
            return self._process
        self._process = process = await asyncio.create_subprocess_exec(
            *self._command,
            env=self._env,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        if not isinstance(await _answer(process), Ready):
            raise ValueError("it is not what we started")
        return process

    async def warm(self) -> None:
        """Load the model before anybody asks. Raises nothing: whoever asks is told what is wrong."""
        try:
            async with asyncio.timeout(_LOAD):
                await self._started()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError, msgspec.MsgspecError) as exc:
            log.warning("recogniser.not_loaded", error=type(exc).__name__)
            await self.kill()

    async def kill(self) -> None:
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_REAP):
                assert process.stdout
                while await process.stdout.read(1 << 16):
                    pass
                await process.wait()


async def _asked(process: asyncio.subprocess.Process, request: Request) -> Answer:
    assert process.stdin
    process.stdin.write(wire.framed(request))
    await process.stdin.drain()
    return await _answer(process)


async def _answer(process: asyncio.subprocess.Process) -> Answer:
    assert process.stdout
    size = wire.length(await process.stdout.readexactly(wire.HEAD))
    answer: Answer = wire.decode_answer(await process.stdout.readexactly(size))
    return answer


class Pool:
    """So many recognisers and never more; use as a context.

    `command` starts one. `wait`: seconds that a request waits for a free one. `deadline`: seconds for its answer.
    """

    def __init__(
        self,
        command: Sequence[str],
        env: Mapping[str, str],
        *,
        size: int = 1,
        wait: float = 2.0,
        deadline: float = 3.0,
    ) -> None:
        self._free: asyncio.Queue[_Process] = asyncio.Queue()
        self._all = [_Process(command, env) for _ in range(size)]
        for process in self._all:
            self._free.put_nowait(process)
        self._wait = wait
        self._deadline = deadline

    async def __aenter__(self) -> "Pool":
        return self

    async def warm(self) -> None:
        """Load every model that is not loaded yet, so that the first caller need not wait for it."""
        cold = [self._free.get_nowait() for _ in range(self._free.qsize())]
        try:
            for process in cold:
                await process.warm()
        finally:
            for process in cold:
                self._free.put_nowait(process)

    async def __aexit__(self, *_: object) -> None:
        for process in self._all:
            await process.kill()

    async def choose(self, pcm: bytes, words: Collection[str], *, language: str) -> str | None:
        """As `Recogniser` says."""
        said = [(word, phrase) for word in words for phrase in phrases(word, language)]
        request = Score(pcm=pcm, language=language, phrases=[phrase for _, phrase in said])
        answer = await self._ask(request, self._deadline)
        if not isinstance(answer, Scores) or len(answer.scores) != len(said):
            raise RecognitionFailed(type(answer).__name__)
        best: dict[str, float] = {}
        for (word, _), score in zip(said, answer.scores, strict=True):
            best[word] = max(score, best.get(word, score))
        return chosen(best)

    async def transcribe(self, pcm: bytes, *, language: str | None, deadline: float) -> list[Segment]:
        """What is said in a sound, s16le at 8 kHz. Raises RecognitionFailed."""
        answer = await self._ask(Transcribe(pcm=pcm, language=language), deadline)
        if not isinstance(answer, Transcribed):
            raise RecognitionFailed(type(answer).__name__)
        return answer.segments

    async def _ask(self, request: Request, deadline: float) -> Answer:
        try:
            async with asyncio.timeout(self._wait):
                process = await self._free.get()
        except TimeoutError:
            raise RecogniserBusy from None
        try:
            return await process.ask(request, deadline)
        finally:
            self._free.put_nowait(process)
