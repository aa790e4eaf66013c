"""Is an utterance cut where it begins and ends, and is what is none left alone?"""

from collections.abc import Iterator

import numpy as np

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


def test_a_click_is_none() -> None:
    assert utterances(quiet(1) + voiced(0.03) + quiet(1)) == []


def test_whoever_does_not_stop_is_cut() -> None:
    found = utterances(quiet(1) + voiced(20.0))
    assert found
    assert max(found) <= 4.1
