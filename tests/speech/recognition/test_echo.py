"""Is our own prompt known again when it comes back, and nobody's word taken for it?"""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from zvonar.speech.recognition.echo import Prompt

RATE = 8000


def babble(seed: int, seconds: float) -> NDArray[np.float64]:
    """Something like speech: a pitch that wanders, with overtones that come and go, and pauses."""
    rng = np.random.default_rng(seed)
    count = int(RATE * seconds)
    knots = np.linspace(0, count, max(3, int(seconds * 6)))
    at = np.arange(count)
    pitch = np.interp(at, knots, rng.uniform(90, 240, len(knots)))
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    parts = [
        np.interp(at, knots, rng.uniform(0, 1, len(knots))) * np.sin(overtone * phase + rng.uniform(0, 6))
        for overtone in range(1, 15)
    ]
    loud = np.interp(at, knots, rng.choice([0.05, 1.0], len(knots)))
    sound = np.sum(parts, axis=0) * loud
    return np.asarray(sound / np.abs(sound).max() * 12_000)


def pcm(sound: NDArray[np.float64]) -> bytes:
    return np.clip(sound, -32767, 32767).astype("<i2").tobytes()


def noise(count: int, level: float) -> NDArray[np.float64]:
    return np.random.default_rng(9).normal(0, level, count)


SAID = babble(1, 8.0)


@pytest.mark.parametrize("seconds", [(0.0, 0.5), (2.3, 2.9), (3.0, 7.0), (7.5, 8.0)], ids=str)
@pytest.mark.parametrize("down", [0.5, 0.1, 0.02])
def test_any_part_that_comes_back_is_an_echo(seconds: tuple[float, float], down: float) -> None:
    part = SAID[int(seconds[0] * RATE) : int(seconds[1] * RATE)] * down
    assert Prompt(pcm(SAID)).echoed(pcm(part))


def test_an_echo_in_noise_with_silence_around_it_is_one() -> None:
    part = np.pad(SAID[2 * RATE : 3 * RATE] * 0.1, 2000)
    level = float(np.sqrt(np.mean(part**2)))
    assert Prompt(pcm(SAID)).echoed(pcm(part + noise(len(part), level / 3)))


@pytest.mark.parametrize("seed", range(2, 12))
def test_somebody_else_is_none(seed: int) -> None:
    assert not Prompt(pcm(SAID)).echoed(pcm(babble(seed, 0.7)))


def test_whoever_speaks_louder_than_the_echo_is_none() -> None:
    part = SAID[2 * RATE : 3 * RATE] * 0.1
    assert not Prompt(pcm(SAID)).echoed(pcm(part + babble(5, 1.0) * 0.3))


@pytest.mark.parametrize("heard", [b"", b"\0", bytes(200), bytes(16000), pcm(noise(4000, 500))], ids=len)
def test_nothing_and_noise_are_none(heard: bytes) -> None:
    assert not Prompt(pcm(SAID)).echoed(heard)
    assert not Prompt(b"").echoed(heard)
    assert not Prompt(bytes(RATE * 2)).echoed(heard)


def test_a_clip_is_read_behind_its_header(tmp_path: Path) -> None:
    clip = tmp_path / "clip.wav"
    clip.write_bytes(b"RIFF" + bytes(40) + pcm(SAID))
    assert Prompt.read(clip).echoed(pcm(SAID[RATE : 2 * RATE]))
    with pytest.raises(OSError, match="none"):
        Prompt.read(tmp_path / "none.wav")
