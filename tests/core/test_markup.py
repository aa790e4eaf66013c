"""Does markup mean what it says, and is what cannot be read an error with a reason, whatever was sent?"""

import random
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zvonar.core import markup
from zvonar.core.errors import SettingsInvalid
from zvonar.core.markup import (
    MAX_DEPTH,
    ClipRef,
    Clock,
    Day,
    Digits,
    Manner,
    MarkupInvalid,
    Money,
    Number,
    Pause,
    Words,
    parse,
)
from zvonar.core.prompt import Prompt

BOMB = (
    '<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "ha">'
    + "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    + "]><speak>&i;</speak>"
)


@pytest.mark.parametrize("text", ["Здравствуйте", "Рога & Копыта", "2 > 1", "AT&T; звоните", ""])
def test_a_text_without_tags_is_said_as_it_stands(text: str) -> None:
    assert parse(text) == (Words(text=text),)


def test_a_clip_may_stand_anywhere_in_a_text() -> None:
    text = 'Здравствуйте! <audio id="100500"/> До <prosody rate="slow">свидания<audio id="7"/></prosody>'
    assert parse(text) == (
        Words(text="Здравствуйте! "),
        ClipRef(clip_id=100500),
        Words(text=" До "),
        Words(text="свидания", manner=Manner(rate=80)),
        ClipRef(clip_id=7),
    )
    assert markup.clip_ids(text + '<audio id="7"/>') == (100500, 7)


@pytest.mark.parametrize(
    ("text", "clip"),
    [('<audio id="5"/>', 5), (' <audio id="5"></audio> ', 5), ('<audio id="5"/>!', None), ("да", None)],
)
def test_a_text_that_is_nothing_but_a_clip_is_that_clip(text: str, clip: int | None) -> None:
    assert markup.only_clip(text) == clip


@pytest.mark.parametrize(
    ("attributes", "seconds"),
    [
        ('time="1200ms"', 1.2),
        ('time="1.5s"', 1.5),
        ('strength="strong"', 0.8),
        ("", 0.5),
    ],
)
def test_a_break_is_silence(attributes: str, seconds: float) -> None:
    assert parse(f"да<break {attributes}/>нет") == (
        Words(text="да"),
        Pause(seconds=seconds),
        Words(text="нет"),
    )


@pytest.mark.parametrize(
    ("attributes", "manner"),
    [
        ('rate="x-slow"', Manner(rate=60)),
        ('rate="80%"', Manner(rate=80)),
        ('rate="+20%"', Manner(rate=120)),
        ('rate="9999%"', Manner(rate=200)),
        ('pitch="high"', Manner(pitch=125)),
        ('pitch="+12st"', Manner(pitch=200)),
        ('pitch="-12st"', Manner(pitch=50)),
        ('volume="soft"', Manner(volume=0.5)),
        ('volume="+6dB"', Manner()),
        ('rate="fast" pitch="low"', Manner(rate=125, pitch=80)),
    ],
)
def test_a_prosody_is_a_manner(attributes: str, manner: Manner) -> None:
    assert parse(f"<prosody {attributes}>да</prosody>") == (Words(text="да", manner=manner),)


def test_prosody_inside_prosody_counts_from_the_one_around_it() -> None:
    inner = parse('<prosody rate="80%"><prosody rate="-50%" volume="-20dB">да</prosody></prosody>')
    assert inner == (Words(text="да", manner=Manner(rate=50, volume=0.1)),)


@pytest.mark.parametrize(
    ("kind", "text", "part"),
    [
        ('interpret-as="digits"', "12 34", Digits(text="12 34")),
        ('interpret-as="telephone"', "+7 495", Digits(text="+7 495")),
        ('interpret-as="cardinal"', "1 234,5", Number(value=Decimal("1234.5"))),
        ('interpret-as="number"', "-7", Number(value=Decimal(-7))),
        ('interpret-as="ordinal"', "3", Number(value=Decimal(3), ordinal=True)),
        ('interpret-as="money"', "1500.50 RUB", Money(amount=Decimal("1500.50"), currency="RUB")),
        ('interpret-as="currency"', "$ 20", Money(amount=Decimal(20), currency="USD")),
        ('interpret-as="money"', "20 руб.", Money(amount=Decimal(20), currency="RUB")),
        ('interpret-as="money" currency="KZT"', "20", Money(amount=Decimal(20), currency="KZT")),
        ('interpret-as="date"', "23.11.2026", Day(date=date(2026, 11, 23), with_year=True)),
        ('interpret-as="date" format="mdy"', "11/23/2026", Day(date=date(2026, 11, 23), with_year=True)),
        ('interpret-as="date"', "2026-11-23", Day(date=date(2026, 11, 23), with_year=True)),
        ('interpret-as="date" format="dm"', "29.02", Day(date=date(2000, 2, 29), with_year=False)),
        ('interpret-as="time"', "18:05", Clock(hour=18, minute=5)),
    ],
)
def test_say_as_reads_what_it_is_told_to(kind: str, text: str, part: markup.Spoken) -> None:
    assert parse(f"<say-as {kind}>{text}</say-as>") == (part,)


@pytest.mark.parametrize(
    "text",
    [
        "<p>да",
        "<",
        "5 < 6",
        "да &amp; &nope; <p/>",
        "<p>" * 10_000 + "да",
        "<p>" * (MAX_DEPTH + 1) + "да" + "</p>" * (MAX_DEPTH + 1),
        BOMB,
        '<!DOCTYPE a SYSTEM "file:///etc/passwd"><speak>да</speak>',
        '<?xml version="1.0"?><!DOCTYPE a SYSTEM "http://127.0.0.1/"><speak>да</speak>',
        "<?php ?><p>да</p>",
        "</speak><speak>да",
        "<script>да</script>",
        "<audio/>",
        '<audio src="/etc/passwd"/>',
        '<audio id="../../etc"/>',
        '<audio id="0"/>',
        '<audio id="1e3"/>',
        '<audio id="1"/>' * 21,
        '<break time="11s"/>да',
        '<break time="-1s"/>да',
        '<break time="1e9s"/>да',
        '<break strength="huge"/>да',
        '<break time="10s"/>' * 7 + "да",
        '<prosody rate="quick">да</prosody>',
        '<prosody volume="9">да</prosody>',
        "<say-as>да</say-as>",
        '<say-as interpret-as="money">много</say-as>',
        '<say-as interpret-as="money">1 2 3 рубля</say-as>',
        '<say-as interpret-as="number">NaN</say-as>',
        '<say-as interpret-as="number">1e999999</say-as>',
        '<say-as interpret-as="number">1234567890123456</say-as>',
        '<say-as interpret-as="ordinal">1.5</say-as>',
        '<say-as interpret-as="date">31.02.2026</say-as>',
        '<say-as interpret-as="date">2026</say-as>',
        '<say-as interpret-as="time">25:61</say-as>',
        '<say-as interpret-as="digits"> </say-as>',
        '<say-as interpret-as="digits"><p>1</p></say-as>',
        "<speak/>",
        "<p> , </p>",
        "<break/>",
        '<p a="1" a="2">да</p>',
        "\x01<p>да</p>",
        "\ud800<p>да</p>",
        "<p>а</p><break/>" * 200,
    ],
    ids=lambda text: repr(text[:24]),
)
def test_what_cannot_be_read_is_refused_with_a_reason(text: str) -> None:
    with pytest.raises(MarkupInvalid) as refused:
        parse(text)
    assert refused.value.detail
    with pytest.raises(SettingsInvalid):
        Prompt(text=text).checked("the prompt")


@given(st.text(max_size=200))
def test_any_text_is_parts_or_an_error(text: str) -> None:
    try:
        assert parse(text)
    except MarkupInvalid as exc:
        assert exc.detail


@given(
    st.lists(
        st.sampled_from(
            ["<p>", "</p>", "<", ">", "&amp;", '<break time="1s"/>', '<audio id="1"/>', "да", "<prosody ",
             'rate="80%">', "</prosody>", '<say-as interpret-as="', 'money">', 'date">', "1.2.3", "</say-as>",
             "<!--", "-->", "<![CDATA[", "]]>", "\0", "&#x0;", '"']
        ),
        max_size=30,
    )
)  # fmt: skip
def test_any_pieces_of_markup_are_parts_or_an_error(pieces: list[str]) -> None:
    try:
        assert parse("".join(pieces))
    except MarkupInvalid as exc:
        assert exc.detail


def test_a_text_of_a_hundred_kilobytes_is_refused_before_it_is_read() -> None:
    with pytest.raises(SettingsInvalid, match="more than"):
        Prompt(text="<p>" + "x" * 100_000 + "</p>").checked("the prompt")


def test_cutting_a_text_anywhere_is_an_error_or_a_shorter_text() -> None:
    whole = 'Да<break time="1s"/><prosody rate="slow">нет<audio id="3"/></prosody> &amp; всё'
    for end in random.Random(1).sample(range(len(whole)), 40):
        try:
            parse(whole[:end])
        except MarkupInvalid as exc:
            assert exc.detail
