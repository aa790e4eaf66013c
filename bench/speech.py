"""Who speaks for the benchmarks of speech? Synthetic voices, as a telephone line has them: band, noise, µ-law."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import soxr  # type: ignore[import-untyped]
from msgspec import Struct
from numpy.typing import NDArray

from zvonar.line.asterisk.install import Espeak

RATE: Final = 8000
_SECONDS: Final = 20  # for one word
Sound = NDArray[np.float32]


class Speaker(Struct, frozen=True, kw_only=True):
    """A voice."""

    language: str  # ru, en
    engine: str  # espeak-ng, festival, flite
    name: str


def speakers(wanted: Sequence[Speaker]) -> list[Speaker]:
    """Those whose engines are on this machine: espeak-ng always, festival and flite where Debian's packages are."""
    there = {
        "espeak-ng": True,
        "festival": bool(shutil.which("text2wave")),
        "flite": bool(shutil.which("flite")),
    }
    return [speaker for speaker in wanted if there[speaker.engine]]


def recorded(file: Path) -> Sound:
    """What somebody has recorded in a WAV of 8 kHz, without the silence around it."""
    return _trimmed(_samples(file.read_bytes()))


def said(speaker: Speaker, text: str, espeak: Espeak, room: Path) -> Sound:
    """The text in this voice, 8 kHz, without the silence around it. `room`: for files."""
    match speaker.engine:
        case "festival":
            file = room / "festival.wav"
            command = ["text2wave", "-F", "8000", "-eval", f"({speaker.name})", "-o", str(file)]
            subprocess.run(command, input=text.encode(), check=True, timeout=_SECONDS, capture_output=True)
            data = file.read_bytes()
        case "flite":
            file = room / "flite.wav"
            command = ["flite", "-voice", speaker.name, "-t", text, "-o", str(file)]
            subprocess.run(command, check=True, timeout=_SECONDS, capture_output=True)
            data = file.read_bytes()
        case _:
            command = [*espeak.command, "-v", speaker.name, "-s", "150", "--stdout", text]
            done = subprocess.run(
                command, env={**os.environ, **espeak.env}, check=True, timeout=_SECONDS, capture_output=True
            )
            data = done.stdout
    rate = int.from_bytes(data[24:28], "little")
    return _trimmed(np.asarray(soxr.resample(_samples(data), rate, RATE), dtype=np.float32))


def _samples(wav: bytes) -> Sound:
    pcm = wav[wav.index(b"data") + 8 :]
    return np.frombuffer(pcm[: len(pcm) // 2 * 2], dtype="<i2").astype(np.float32) / np.float32(32768)


def _trimmed(sound: Sound) -> Sound:
    loud = np.flatnonzero(np.abs(sound) > 0.01 * np.abs(sound).max())
    return sound[max(0, int(loud[0]) - 400) : int(loud[-1]) + 400]


def telephone(sound: Sound, *, noise_db: float, seed: int) -> bytes:
    """As s16le: 300 to 3400 Hz, noise so many dB below the voice, a second of it on either side, µ-law and back."""
    rng = np.random.default_rng(seed)
    silence = np.zeros(RATE, dtype=np.float32)
    whole = np.concatenate([silence, sound / np.abs(sound).max() * np.float32(0.4), silence])
    spectrum = np.fft.rfft(whole)
    frequency = np.fft.rfftfreq(len(whole), 1 / RATE)
    spectrum[(frequency < 300) | (frequency > 3400)] = 0
    band = np.fft.irfft(spectrum, len(whole))
    power = float(np.sqrt(np.mean(band[RATE:-RATE] ** 2)))
    noisy = band + rng.normal(0, power * 10 ** (-noise_db / 20), len(band))
    compressed = np.sign(noisy) * np.log1p(255 * np.abs(np.clip(noisy, -1, 1))) / np.log(256)
    steps = np.round(compressed * 127) / 127
    expanded = np.sign(steps) * (256 ** np.abs(steps) - 1) / 255
    return (np.clip(expanded, -1, 1) * 32767).astype("<i2").tobytes()
