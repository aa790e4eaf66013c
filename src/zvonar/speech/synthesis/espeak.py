"""How is espeak-ng, the voice that is always there, made to speak without trusting it or the text?

One short process a text: a crash, a leak or a hang of the engine costs that text and nothing else. The text
goes in by standard input, so it is in no process list, and it can be no option.
"""

import asyncio
import os
import re
import resource
import signal
import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

import msgspec

from zvonar.speech.audio import Sound, from_pcm
from zvonar.speech.synthesis import (
    EngineDied,
    NothingToSay,
    SynthesisTimedOut,
    TextTooLong,
    UnsupportedVoice,
    Voice,
    spoken_text,
)

ENGINE: Final = "espeak-ng"
USUAL_WPM: Final = 160  # words a minute at rate 100; espeak's own 175 is hurried for a telephone
USUAL_PITCH: Final = 50  # espeak's -p at pitch 100
MOST_SECONDS: Final = 600  # of speech: a few characters can expand to long names
MOST_OUTPUT: Final = MOST_SECONDS * 22_050 * 2  # bytes
MOST_MEMORY: Final = 256 << 20  # bytes of address space; a run needs about 35 MB
NICE: Final = 10
REAP_SECONDS: Final = 2.0  # for the kernel to end a killed process
CHUNK: Final = 1 << 16

# The 44 bytes of header that espeak writes; its two sizes are skipped, for a pipe cannot know them.
_WAV: Final = struct.Struct("<4s4x8s4xHHIIHH4s4x")
_OTHER: Final = re.compile(r"\(([\w-]+) (\d+)\)")


class _Catalogue(msgspec.Struct, frozen=True, kw_only=True):
    languages: Mapping[str, str]  # lower-case tag -> what -v takes
    variants: frozenset[str]  # speakers that any language can be combined with: f1, m3, ...


class EspeakEngine:
    """`command` and `env` start espeak-ng (`env` is the whole environment); `version` is what it reported."""

    def __init__(
        self,
        command: Sequence[str],
        env: Mapping[str, str],
        version: str,
        *,
        deadline: float = 10.0,  # seconds for one run, from its start
        parallel: int | None = None,  # processes at once; default: the cores this process may use
    ) -> None:
        self._command = tuple(command)
        self._env = dict(env)
        self._version = version
        self._deadline = deadline
        self._slots = asyncio.Semaphore(parallel or len(os.sched_getaffinity(0)))
        self._catalogue: _Catalogue | None = None
        self._listing = asyncio.Lock()

    def identity(self, voice: Voice) -> str:
        return f"{ENGINE} {self._version}"

    async def languages(self) -> frozenset[str]:
        return frozenset((await self._listed()).languages)

    async def speak(self, text: str, voice: Voice) -> Sound:
        words = spoken_text(text)
        speaker = self._speaker(voice, await self._listed())
        wav = await self._run(
            "-b", "1",  # UTF-8, whatever the locale
            "-v", speaker,
            "-s", str(USUAL_WPM * voice.rate // 100),
            "-p", str(min(99, USUAL_PITCH * voice.pitch // 100)),
            "--stdin",
            "--stdout",
            stdin=_literal(words).encode(),
            stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        if not wav:
            raise NothingToSay
        return await asyncio.to_thread(_sound, wav)

    def _speaker(self, voice: Voice, catalogue: _Catalogue) -> str:
        """What -v takes. Only names that the engine listed reach its command line, so none can be a path."""
        if voice.engine != ENGINE:
            raise UnsupportedVoice(f"This engine is {ENGINE}.")
        tag = voice.language.lower().replace("_", "-")
        while tag not in catalogue.languages:
            # ru-RU is spoken as ru: the nearest shorter tag, as BCP 47 looks languages up.
            tag, _, region = tag.rpartition("-")
            if not region or not tag:
                raise UnsupportedVoice(f"{ENGINE} does not speak {voice.language}.")
        if not voice.name:
            return catalogue.languages[tag]
        if voice.name not in catalogue.variants:
            raise UnsupportedVoice(f"{ENGINE} has f1 to f5, m1 to m8 and others.")
        return f"{catalogue.languages[tag]}+{voice.name}"

    async def _listed(self) -> _Catalogue:
        async with self._listing:  # so that a burst of first calls asks once
            if self._catalogue is None:
                # No text is involved yet, so what the engine complains about is safe to pass on.
                voices, variants = [
                    (await self._run(table, stderr=asyncio.subprocess.STDOUT)).decode(errors="replace")
                    for table in ("--voices", "--voices=variant")
                ]
                self._catalogue = _catalogue(voices, variants)
            return self._catalogue

    async def _run(self, *arguments: str, stderr: int, stdin: bytes = b"") -> bytes:
        async with self._slots:
            try:
                async with asyncio.timeout(self._deadline):
                    return await self._process(arguments, stdin, stderr)
            except TimeoutError:
                raise SynthesisTimedOut(f"It had {self._deadline:g} s.") from None

    async def _process(self, arguments: tuple[str, ...], stdin: bytes, stderr: int) -> bytes:
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                *arguments,
                env=self._env,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,  # so that one signal ends whatever a wrapper script started, too
            )
        except OSError as error:
            raise EngineDied(f"{self._command[0]}: {error.strerror}.") from error
        assert process.stdin
        assert process.stdout
        try:
            _bound(process.pid, self._deadline)
            # One that has ended before it read is refused input by uvloop; its exit code and output say what it did.
            with suppress(RuntimeError, ConnectionError):
                process.stdin.write(stdin)
            process.stdin.close()
            output = await _read(process.stdout)
            code = await process.wait()
        finally:
            if process.returncode is None:
                await _kill(process, process.stdout)
        if code:
            complaint = output if stderr == asyncio.subprocess.STDOUT else b""
            raise EngineDied(f"Its exit code is {code}. {complaint[-200:].decode(errors='replace')}".strip())
        return output


def _literal(words: str) -> str:
    """Two opening brackets would begin phoneme input; markup is off, control characters are gone already."""
    return re.sub(r"\[(?=\[)", "[ ", words) + "\n"


def _bound(pid: int, deadline: float) -> None:
    """Set before the engine sees a byte of text; the one on processor time counts should we die first."""
    seconds = int(deadline) + 1
    with suppress(ProcessLookupError):
        os.setpriority(os.PRIO_PROCESS, pid, NICE)  # prompts of running calls go before those that come
        resource.prlimit(pid, resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
        resource.prlimit(pid, resource.RLIMIT_CPU, (seconds, seconds))
        resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))  # a core file would hold the text


async def _read(stdout: asyncio.StreamReader) -> bytes:
    output = bytearray()
    while chunk := await stdout.read(CHUNK):
        output += chunk
        if len(output) > MOST_OUTPUT:
            raise TextTooLong(f"It takes more than {MOST_SECONDS} s to say.")
    return bytes(output)


async def _kill(process: asyncio.subprocess.Process, stdout: asyncio.StreamReader) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    # Reading to the end lets asyncio close the pipe; the deadline is for a child that escaped the group.
    with suppress(TimeoutError):
        async with asyncio.timeout(REAP_SECONDS):
            while await stdout.read(CHUNK):
                pass
            await process.wait()


def _sound(wav: bytes) -> Sound:
    if len(wav) < _WAV.size:
        raise EngineDied("Its output is no audio.")
    riff, wave_fmt, encoding, channels, rate, _, _, bits, data = _WAV.unpack_from(wav)
    if (riff, wave_fmt, data) != (b"RIFF", b"WAVEfmt ", b"data") or (encoding, channels, bits) != (1, 1, 16):
        raise EngineDied("Its output is not 16-bit mono WAV.")
    return from_pcm(wav[_WAV.size :], rate)


def _catalogue(voices: str, variants: str) -> _Catalogue:
    """From two tables of: priority, language, age/gender, name, file, (other language and its priority)..."""
    ranked: dict[str, tuple[int, str]] = {}
    for line in voices.splitlines():
        columns = line.split(maxsplit=5)
        # MBROLA voices are listed even where their own programs and data are missing.
        if len(columns) < 5 or not columns[0].isdigit() or columns[4].startswith("mb/"):
            continue
        code = columns[1]
        ranked[code.lower()] = (0, code)
        for tag, priority in _OTHER.findall(columns[5] if len(columns) > 5 else ""):
            best = ranked.get(tag.lower())
            if best is None or int(priority) < best[0]:
                ranked[tag.lower()] = (int(priority), code)
    names = re.findall(r"!v/(\S+)", variants)
    if not ranked:
        raise EngineDied("It lists no voices.")
    return _Catalogue(languages={tag: code for tag, (_, code) in ranked.items()}, variants=frozenset(names))
