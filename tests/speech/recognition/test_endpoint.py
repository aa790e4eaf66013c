"""Is an utterance cut where it begins and ends, and is what is none left alone?"""

from collections.abc import Iterator

import numpy as np
import pytest

from zvonar.speech.recognition.endpoint import FRAME_MS, RATE, Endpointer

SAMPLES = RATE * FRAME_MS // 1000


def voiced(seconds: float, *, pitch: float = 140.0) -> bytes:
    """Something like a vowel: a pitch and its overtones."""
    time = np.arange(int(RATE * seconds)) / RATE
    sound = sum(np.sin(2 * np.pi * pitch * k * time) / k for k in range(1, 12))
    return (np.asarray(sound) * 6000).astype("<i2").tobytes()


def quiet(seconds: float) -> bytes:
    noise = np.random.default_rng(1).normal(0, 8, int(RATE * seconds))
    return noise.astype("<i2").tobytes()


def noise(seconds: float, level: int) -> bytes:
    return np.random.default_rng(2).normal(0, level, int(RATE * seconds)).astype("<i2").tobytes()


def frames(sound: bytes) -> Iterator[bytes]:
    for start in range(0, len(sound) - SAMPLES * 2 + 1, SAMPLES * 2):
        yield sound[start : start + SAMPLES * 2]


def utterances(sound: bytes) -> list[float]:
    """Seconds of each."""
    cutter = Endpointer()
    found = [cutter.feed(frame) for frame in frames(sound)]
    return [len(one) / 2 / RATE for one in found if one is not None]


def test_a_word_is_one_utterance_with_a_little_around_it() -> None:
    (seconds,) = utterances(quiet(1) + voiced(0.5) + quiet(1))
    assert 0.7 <= seconds <= 1.3


def test_two_words_apart_are_two_utterances() -> None:
    assert len(utterances(quiet(1) + voiced(0.4) + quiet(1) + voiced(0.4) + quiet(1))) == 2


def test_silence_is_none() -> None:
    assert utterances(quiet(10)) == []
    assert utterances(bytes(RATE * 2 * 10)) == []


@pytest.mark.parametrize("level", [100, 400, 1500, 6000])
def test_a_noisy_line_is_none(level: int) -> None:
    assert utterances(noise(10, level)) == []


def test_a_word_on_a_noisy_line_is_the_only_utterance() -> None:
    spoken = np.frombuffer(quiet(2) + voiced(0.5) + quiet(2), dtype="<i2").astype(float)
    rough = np.frombuffer(noise(4.5, 900), dtype="<i2")  # some 15 dB below the vowel
    (seconds,) = utterances((spoken + rough[: len(spoken)]).astype("<i2").tobytes())
    assert 0.7 <= seconds <= 1.3


def test_noise_that_grows_is_the_line_after_a_while() -> None:
    found = utterances(noise(2, 100) + noise(20, 1500))
    assert len(found) <= 1
    assert sum(found) <= 4.1


def test_a_click_is_none() -> None:
    assert utterances(quiet(1) + voiced(0.03) + quiet(1)) == []


def test_whoever_does_not_stop_is_cut() -> None:
    found = utterances(quiet(1) + voiced(20.0))
    assert found
    assert max(found) <= 4.1
