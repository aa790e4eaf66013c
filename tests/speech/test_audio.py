"""Does every upload become a telephone's WAV or a rejection with its reason, whatever its bytes?"""

import io
import struct
import wave

import numpy as np
import pytest
import soundfile  # type: ignore[import-untyped]
from hypothesis import given, settings
from hypothesis import strategies as st

from zvonar.speech import audio, formats, uploads
from zvonar.speech.audio import Sound


def tone(seconds: float = 1.0, rate: int = 8000, level: float = 0.5) -> Sound:
    time = np.arange(int(rate * seconds), dtype=np.float32) / np.float32(rate)
    return Sound(samples=np.sin(time * np.float32(2 * np.pi * 440)) * np.float32(level), rate=rate)


def silence(seconds: float, rate: int = 8000) -> audio.Samples:
    return np.zeros(int(seconds * rate), dtype=np.float32)


def upload(sound: Sound, *, channels: int = 1, container: str = "WAV", subtype: str | None = None) -> bytes:
    file = io.BytesIO()
    frames = np.repeat(sound.samples[:, None], channels, axis=1)
    soundfile.write(file, frames, sound.rate, format=container, subtype=subtype)
    return file.getvalue()


GOOD = upload(tone())
FULL = upload(tone(2.0), container="MP3")


def streamed(data: bytes, said: int) -> bytes:
    """A WAV as a program writes it into a pipe, not knowing its length."""
    size = said.to_bytes(4, "little")
    return data[:4] + size + data[8:40] + size + data[44:]


def test_a_wav_has_the_header_that_asterisk_expects() -> None:
    data = audio.to_wav(tone(rate=22_050))
    riff, size, kind, length, encoding, channels, rate, bytes_per_second, align, bits, mark, count = (
        struct.unpack_from("<4sI8sIHHIIHH4sI", data)
    )
    assert (riff, kind, mark) == (b"RIFF", b"WAVEfmt ", b"data")
    assert (length, encoding, channels, rate, bytes_per_second, align, bits) == (
        16,
        1,
        1,
        8000,
        16_000,
        2,
        16,
    )
    assert (size, count) == (len(data) - 8, len(data) - formats.WAV_HEADER)
    assert formats.wav_duration_ms(len(data)) == 1000


def test_a_tone_survives_resampling_and_a_shrill_one_is_not_folded_into_the_band() -> None:
    kept = audio.resampled(tone(rate=44_100))
    assert kept.rate == 8000
    assert kept.duration_ms == 1000
    spectrum = np.abs(np.fft.rfft(kept.samples))
    assert abs(int(spectrum.argmax()) - 440) <= 1
    time = np.arange(44_100) / 44_100
    shrill = Sound(samples=np.sin(time * 2 * np.pi * 6000).astype(np.float32), rate=44_100)
    assert np.abs(audio.resampled(shrill).samples[400:-400]).max() < 0.01


def test_silence_at_the_ends_is_cut_to_a_tenth_of_a_second_and_inside_it_stays() -> None:
    speech = tone(0.5).samples
    samples = np.concatenate([silence(1), speech, silence(0.4), speech, silence(2)])
    trimmed = audio.trimmed(Sound(samples=samples, rate=8000))
    assert trimmed.duration_ms == pytest.approx(1600, abs=5)
    assert len(audio.trimmed(Sound(samples=silence(1), rate=8000)).samples) == 0
    assert len(audio.trimmed(Sound(samples=silence(0), rate=8000)).samples) == 0


@pytest.mark.parametrize(("level", "peak"), [(1.0, 0.708), (0.5, 0.708), (0.1, 0.708), (0.002, 0.063)])
def test_the_peak_comes_to_minus_three_decibels_unless_that_would_blow_noise_up(
    level: float, peak: float
) -> None:
    assert audio.levelled(tone(level=level)).peak == pytest.approx(peak, rel=0.02)


def test_overshoot_is_clipped_and_does_not_wrap_around() -> None:
    loud = Sound(samples=np.array([1.5, -1.5, 1.0], dtype=np.float32), rate=8000)
    with wave.open(io.BytesIO(audio.to_wav(loud))) as file:
        assert struct.unpack("<3h", file.readframes(3)) == (32767, -32768, 32767)


@pytest.mark.parametrize("container", ["WAV", "MP3", "OGG", "FLAC"])
@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (44_100, 2), (16_000, 1)])
def test_each_promised_format_becomes_telephone_audio(container: str, rate: int, channels: int) -> None:
    data = upload(tone(rate=rate), channels=channels, container=container)
    sound = uploads.read_upload(io.BytesIO(data))
    assert sound.rate == 8000
    assert sound.duration_ms == pytest.approx(1000, abs=80)  # MP3 pads to whole frames
    assert sound.peak == pytest.approx(audio.PEAK, rel=0.02)
    assert abs(int(np.abs(np.fft.rfft(sound.samples[:8000])).argmax()) - 440) <= 1


@pytest.mark.parametrize("said", [0xFFFFFFFF, 0x7FFFFFFF])
def test_a_wav_that_was_written_into_a_pipe_is_taken(said: int) -> None:
    assert uploads.read_upload(io.BytesIO(streamed(GOOD, said))).duration_ms == 1000


def uncounted(*parts: Sound) -> bytes:
    """An MP3 of variable rate as a recorder streams it: without the first frame, which has the encoder's count."""
    data = upload(
        Sound(samples=np.concatenate([part.samples for part in parts]), rate=44_100), container="MP3"
    )
    kilobits = [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320][data[2] >> 4]
    length = 144_000 * kilobits // 44_100 + (data[2] >> 1 & 1)
    assert b"Xing" in data[:length]
    return data[length:]


def tagged(data: bytes, size: int) -> bytes:
    """With the tags and the picture that a music player writes in front."""
    return b"ID3\x04\0\0" + bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0)) + bytes(size) + data


def noise(seconds: float) -> Sound:
    samples = np.random.default_rng(7).standard_normal(int(44_100 * seconds)).astype(np.float32) * 0.2
    return Sound(samples=samples.astype(np.float32), rate=44_100)


LOUD_THEN_QUIET = uncounted(noise(4), tone(8, rate=44_100, level=1e-4))
QUIET_THEN_LOUD = uncounted(tone(8, rate=44_100, level=1e-4), noise(4))


@pytest.mark.parametrize("data", [LOUD_THEN_QUIET, QUIET_THEN_LOUD])
@pytest.mark.parametrize("tags", [0, 300_000])
def test_an_mp3_of_unknown_length_is_played_to_its_end(data: bytes, tags: int) -> None:
    data = tagged(data, tags) if tags else data
    assert uploads.read_upload(io.BytesIO(data)).duration_ms == pytest.approx(12_000, abs=100)
    assert uploads.read_upload(io.BytesIO(data), longest_ms=12_200)
    with pytest.raises(formats.AudioTooLong):
        uploads.read_upload(io.BytesIO(data), longest_ms=5000)


@pytest.mark.parametrize("tags", [2000, 300_000])
def test_tags_in_front_of_an_mp3_change_nothing(tags: int) -> None:
    assert uploads.read_upload(io.BytesIO(tagged(FULL, tags))).duration_ms == pytest.approx(2000, abs=80)
    with pytest.raises(formats.AudioBroken):
        uploads.read_upload(io.BytesIO(tagged(FULL[: len(FULL) // 2], tags)))


def test_a_flac_that_was_written_into_a_pipe_is_taken() -> None:
    data = bytearray(upload(tone(3.0), container="FLAC"))
    data[21] &= 0xF0  # its number of samples has 36 bits
    data[22:26] = bytes(4)
    assert uploads.read_upload(io.BytesIO(bytes(data))).duration_ms == 3000


def test_silence_that_was_uploaded_stays() -> None:
    samples = np.concatenate([silence(1), tone(1).samples])
    data = upload(Sound(samples=samples, rate=8000))
    assert uploads.read_upload(io.BytesIO(data)).duration_ms == 2000
    assert uploads.read_upload(io.BytesIO(upload(Sound(samples=silence(1), rate=8000)))).peak == 0.0


def not_numbers() -> bytes:
    samples = tone().samples.copy()
    samples[4000] = np.nan
    return upload(Sound(samples=samples, rate=8000), subtype="FLOAT")


@pytest.mark.parametrize(
    ("data", "error", "reason"),
    [
        (b"", formats.AudioEmpty, "empty"),
        (upload(Sound(samples=silence(0), rate=8000)), formats.AudioEmpty, "empty"),
        (b"hello, I am a text file", formats.AudioFormatUnknown, "format"),
        (b"\x89PNG\r\n\x1a\n" + bytes(64), formats.AudioFormatUnknown, "format"),
        (upload(tone(), container="AIFF"), formats.AudioFormatUnknown, "format"),
        (upload(tone(), channels=16), formats.AudioFormatUnknown, "format"),
        (upload(tone(rate=2000)), formats.AudioFormatUnknown, "format"),
        (GOOD[: len(GOOD) // 2], formats.AudioBroken, "broken"),
        (FULL[: len(FULL) // 2], formats.AudioBroken, "broken"),
        (upload(tone(level=3.3e38), channels=2, subtype="FLOAT"), formats.AudioBroken, "broken"),
        (GOOD[:20], formats.AudioBroken, "broken"),
        (b"RIFF\x10\x00\x00\x00WAVE" + bytes(40), formats.AudioBroken, "broken"),
        (b"OggS" + bytes(200), formats.AudioBroken, "broken"),
        (b"fLaC" + bytes(200), formats.AudioBroken, "broken"),
        (b"ID3\x04" + bytes(200), formats.AudioBroken, "broken"),
        (b"\xff\xfb" + bytes(200), formats.AudioBroken, "broken"),
        (not_numbers(), formats.AudioBroken, "broken"),
        (upload(tone(0.05)), formats.AudioTooShort, "too_short"),
        (upload(tone(2.5, rate=16_000)), formats.AudioTooLong, "too_long"),
    ],
)
def test_a_bad_upload_is_rejected_with_its_reason(
    data: bytes, error: type[formats.AudioRejected], reason: str
) -> None:
    with pytest.raises(error) as caught:
        uploads.read_upload(io.BytesIO(data), longest_ms=2000)
    assert caught.value.reason == reason


def test_no_more_of_a_long_upload_is_decoded_than_it_takes_to_refuse_it() -> None:
    file = io.BytesIO(upload(tone(120)))
    with pytest.raises(formats.AudioTooLong):
        uploads.read_upload(file, longest_ms=2000)
    assert file.tell() < len(file.getvalue()) / 10


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([upload(tone(0.3), container=name) for name in ("WAV", "MP3", "OGG", "FLAC")]),
    st.integers(0, 20_000),
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), max_size=6),
)
def test_a_damaged_file_is_audio_or_a_rejection_and_nothing_else(
    data: bytes, length: int, changes: list[tuple[int, int]]
) -> None:
    damaged = bytearray(data[: max(1, length)])
    for position, value in changes:
        damaged[position % len(damaged)] = value
    try:
        sound = uploads.read_upload(io.BytesIO(bytes(damaged)), longest_ms=2000)
    except formats.AudioRejected as error:
        assert error.reason in {"empty", "format", "broken", "too_short", "too_long"}
    else:
        assert 100 <= sound.duration_ms <= 2000
        assert sound.peak <= 1.0
