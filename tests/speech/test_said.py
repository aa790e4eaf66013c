"""Is a text with markup heard as it was meant: words, silence and clips, each made once?"""

import wave
from decimal import Decimal
from pathlib import Path

import pytest
from tests.sounds import sound

from zvonar.core.campaign import Voice
from zvonar.core.markup import Money, Number, parse
from zvonar.speech.audio import Sound
from zvonar.speech.clips import ClipCache
from zvonar.speech.converter import Converter
from zvonar.speech.library import Library
from zvonar.speech.numerals import in_digits, words
from zvonar.speech.synthesis import MarkupUnplayable, NothingToSay, NullSynthesiser
from zvonar.speech.synthesis import Voice as SpokenVoice
from zvonar.store import clips
from zvonar.store.db import Database

from .test_library import NOW, an_account, brought

RU = Voice(language="ru")


class Counting(NullSynthesiser):
    """Remembers what it was told to say."""

    def __init__(self) -> None:
        self.said: list[tuple[str, int, int]] = []

    async def speak(self, text: str, voice: SpokenVoice) -> Sound:
        self.said.append((text, voice.rate, voice.pitch))
        return await super().speak(text, voice)


def library(db: Database, room: Path, engine: NullSynthesiser) -> Library:
    return Library(
        db, ClipCache(room / "clips", engine), directory=room / "uploads", converter=Converter(parallel=1)
    )


def loud(path: Path) -> list[tuple[bool, float]]:
    """Stretches of sound and silence, with their seconds, shorter ones than 0.3 s left out."""
    with wave.open(str(path), "rb") as reader:
        data = reader.readframes(reader.getnframes())
    found: list[tuple[bool, float]] = []
    for start in range(0, len(data), 1600):  # 0.1 s
        heard = any(data[start : start + 1600])
        if found and found[-1][0] == heard:
            found[-1] = (heard, found[-1][1] + 0.1)
        else:
            found.append((heard, 0.1))
    return [one for one in found if one[1] > 0.3]


@pytest.mark.asyncio
async def test_words_silence_and_clips_follow_each_other(db: Database, tmp_path: Path) -> None:
    account_id, engine = await an_account(db), Counting()
    shelf = library(db, tmp_path, engine)
    clip = await brought(shelf, account_id, sound(2.0))
    text = f'Здравствуйте дорогие<break time="2s"/><audio id="{clip.clip_id}"/> до свидания друзья'
    audio = await shelf.said(account_id, text, RU)
    assert [(heard, round(seconds)) for heard, seconds in loud(audio.path)] == [
        (True, 1),
        (False, 2),
        (True, 3),
    ]
    assert engine.said == [("Здравствуйте дорогие", 100, 100), ("до свидания друзья", 100, 100)]


@pytest.mark.asyncio
async def test_what_was_said_once_is_not_said_again(db: Database, tmp_path: Path) -> None:
    account_id, engine = await an_account(db), Counting()
    shelf = library(db, tmp_path, engine)
    text = 'Ваш код <break time="1s"/> <say-as interpret-as="digits">12</say-as>'
    first = await shelf.said(account_id, text, RU)
    before = first.path.stat().st_mtime_ns
    again = await library(db, tmp_path, engine).said(account_id, text, RU)
    other = await shelf.said(account_id, text.replace(">12<", ">34<"), RU)
    assert (again.path, again.path.stat().st_mtime_ns) == (first.path, before)
    assert other.path != first.path
    assert [said for said, *_ in engine.said] == ["Ваш код", "1, 2", "3, 4"]


@pytest.mark.asyncio
async def test_words_said_in_one_manner_are_one_sentence(db: Database, tmp_path: Path) -> None:
    account_id, engine = await an_account(db), Counting()
    shelf = library(db, tmp_path, engine)
    text = (
        'Долг <say-as interpret-as="money">2 RUB</say-as>, '
        '<prosody rate="slow" pitch="high">срочно</prosody><p>!</p>'
    )
    await shelf.said(account_id, text, Voice(language="ru", rate=120, pitch=50))
    assert engine.said == [("Долг два рубля,", 120, 50), ("срочно", 96, 62)]


@pytest.mark.asyncio
async def test_nothing_but_a_clip_is_the_clip_itself(db: Database, tmp_path: Path) -> None:
    account_id, engine = await an_account(db), Counting()
    shelf = library(db, tmp_path, engine)
    clip = await brought(shelf, account_id, sound(1.0))
    audio = await shelf.said(account_id, f'<audio id="{clip.clip_id}"/>', RU)
    assert audio.path == (await shelf.converted(clip)).path


@pytest.mark.asyncio
async def test_a_strangers_clip_is_not_there(db: Database, tmp_path: Path) -> None:
    owner, thief = await an_account(db), await an_account(db, "thief")
    shelf = library(db, tmp_path, Counting())
    clip = await brought(shelf, owner, sound(1.0))
    text = f'да <audio id="{clip.clip_id}"/>'
    assert (await shelf.said(owner, text, RU)).size
    with pytest.raises(MarkupUnplayable):
        await shelf.said(thief, text, RU)


@pytest.mark.asyncio
async def test_clips_that_play_each_other_end(db: Database, tmp_path: Path) -> None:
    account_id = await an_account(db)
    shelf = library(db, tmp_path, Counting())
    first = await clips.put_text(db, account_id, "да", RU, now=NOW)
    # Ids follow each other, so whoever stores a text may name one that is still to come.
    text = f'нет <audio id="{first.clip_id + 1}"/>'
    second = await clips.put_text(db, account_id, text, RU, now=NOW)
    assert second.clip_id == first.clip_id + 1
    with pytest.raises(MarkupUnplayable):
        await shelf.converted(second)


@pytest.mark.asyncio
@pytest.mark.parametrize("text", ["<p>да", '<audio id="999"/>', "<p>" * 10_000, "..."])
async def test_what_cannot_be_played_is_an_error_with_a_name(db: Database, tmp_path: Path, text: str) -> None:
    account_id = await an_account(db)

    class Mute(NullSynthesiser):
        async def speak(self, text: str, voice: SpokenVoice) -> Sound:
            raise NothingToSay

    with pytest.raises((MarkupUnplayable, NothingToSay)):
        await library(db, tmp_path, Mute()).said(account_id, text, RU)


@pytest.mark.parametrize(
    ("text", "language", "said"),
    [
        ('<say-as interpret-as="digits">12-3#</say-as>', "ru", "1, 2, 3, #"),
        ('<say-as interpret-as="number">21</say-as>', "ru", "двадцать один"),
        ('<say-as interpret-as="number">21</say-as>', "en", "twenty-one"),
        ('<say-as interpret-as="number">21</say-as>', "kk", "жиырма бір"),
        ('<say-as interpret-as="number">21</say-as>', "xx", "21"),
        ('<say-as interpret-as="ordinal">3</say-as>', "ru", "третий"),
        ('<say-as interpret-as="ordinal">3</say-as>', "en-US", "third"),
        ('<say-as interpret-as="money">1500 RUB</say-as>', "ru", "одна тысяча пятьсот рублей"),
        ('<say-as interpret-as="money">21.05 USD</say-as>', "en", "twenty-one dollars  five cents"),
        ('<say-as interpret-as="money">5 ZZZ</say-as>', "ru", "пять ZZZ"),
        (
            '<say-as interpret-as="date">23.11.2026</say-as>',
            "ru",
            "двадцать третье ноября две тысячи двадцать шестого года",
        ),
        ('<say-as interpret-as="date" format="dm">1.5</say-as>', "ru", "первое мая"),
        ('<say-as interpret-as="date">2026-11-23</say-as>', "en", "November twenty-third, twenty twenty-six"),
        ('<say-as interpret-as="time">18:05</say-as>', "ru", "восемнадцать ноль пять"),
        ('<say-as interpret-as="time">9:00</say-as>', "en", "nine o'clock"),
    ],
)
def test_numbers_are_said_in_the_language_of_the_voice(text: str, language: str, said: str) -> None:
    (part,) = parse(text)
    assert words(part, language) == said  # type: ignore[arg-type]


@pytest.mark.parametrize("language", ["ru", "en", "uk", "kk", "de", "fr", "es", "xx"])
def test_any_number_has_words_in_any_language(language: str) -> None:
    for value in ("0", "-1", "0.5", "999999999999999", "12345.67"):
        assert words(Number(value=Decimal(value)), language)
        assert words(Number(value=Decimal(value), ordinal=True), language)
        for currency in ("RUB", "USD", "KZT", "UAH", "ZZZ"):
            assert words(Money(amount=Decimal(value), currency=currency), language)


@pytest.mark.parametrize(
    ("word", "language", "digits"),
    [
        ("три", "ru", "3"),
        ("Six", "en-US", "6"),
        ("ноль", "ru_RU", "0"),
        ("двадцать один", "ru", "21"),
        ("жүз", "kk", "100"),
        ("да", "ru", None),
        ("три", "en", None),
        ("three", "xx", None),
        ("", "ru", None),
    ],
)
def test_a_number_is_known_by_its_word(word: str, language: str, digits: str | None) -> None:
    assert in_digits(word, language) == digits
