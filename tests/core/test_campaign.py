"""Do settings survive the store, and is nonsense refused by name?"""

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zvonar.core.campaign import (
    MAX_CALL_TIME,
    MAX_LIFETIME,
    CallLimit,
    CallOverrides,
    CampaignSettings,
    LostPolicy,
    Postback,
    PostbackMethod,
    Voice,
    script_of,
)
from zvonar.core.errors import SettingsInvalid
from zvonar.core.script import KEYS, Node, Prompt, Reaction, Script, plain

from .worlds import policies, windows

names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)
# "<" would begin markup.
prompts = st.builds(Prompt, text=names.map(lambda s: f"a{s}".replace("<", ""))) | st.builds(
    Prompt, clip_id=st.integers(1, 2**53)
)
scripts = st.builds(
    lambda prompt, keys, **rest: Script(
        nodes={"1": Node(prompt=prompt, keys={k: Reaction(goto="1", **r) for k, r in keys.items()}, **rest)}
    ),
    prompt=prompts,
    keys=st.dictionaries(
        st.sampled_from(sorted(KEYS)),
        st.fixed_dictionaries({"say": st.none() | prompts, "status_name": st.none() | names}),
        max_size=4,
    ),
    timeout=st.floats(0.5, 60),
    repeats=st.integers(0, 10),
    barge_in=st.booleans(),
)
every_settings = st.builds(
    CampaignSettings,
    script=st.none() | scripts,
    voice=st.builds(Voice, language=st.sampled_from(["ru", "en"]), name=st.none() | st.just("ru+f2")),
    window=windows.filter(lambda w: not (w.date_from and w.date_till and w.date_from > w.date_till)),
    timezone=st.none() | st.sampled_from(["Europe/Moscow", "America/New_York"]),
    retry=policies,
    lost=st.sampled_from(LostPolicy),
    ring_timeout=st.integers(5, 120),
    max_call_time=st.integers(1, MAX_CALL_TIME),
    record=st.booleans(),
    calls_per_second=st.decimals(0, 1000, places=2),
    max_channels=st.integers(0, 100_000),
    caller_ids=st.lists(st.from_regex(r"\A\+[0-9]{5,11}X{0,4}\Z"), max_size=3).map(tuple),
    call_limit=st.builds(CallLimit, count=st.integers(1, 1000), seconds=st.integers(1, 86_400)),
    code_length=st.integers(4, 8),
    incoming_numbers=st.lists(st.from_regex(r"\A\+[0-9]{5,15}\Z"), max_size=3).map(tuple),
    postback=st.none()
    | st.builds(
        Postback,
        url=st.just("https://example.com/hook?a={b}"),
        method=st.sampled_from(PostbackMethod),
        every_attempt=st.booleans(),
    ),
    lifetime=st.none() | st.integers(1, MAX_LIFETIME),
    open_ended=st.booleans(),
    callback_url=st.none() | st.just("https://example.com/hook?a=b"),
    max_cost=st.none() | st.decimals(0, 10_000, places=4),
    comment=st.none() | names,
)


@given(every_settings)
def test_settings_come_back_from_json_as_they_were(settings: CampaignSettings) -> None:
    assert settings.checked() is settings
    assert msgspec.json.decode(msgspec.json.encode(settings), type=CampaignSettings) == settings


def test_no_settings_are_settings() -> None:
    assert msgspec.json.decode(b"{}", type=CampaignSettings) == CampaignSettings().checked()


@pytest.mark.parametrize(
    "body",
    [
        '{"ringtimeout":30}',
        '{"voice":{"lang":"ru"}}',
        '{"window":{"from":"09:00:00"}}',
        '{"retry":{"max_atempts":3}}',
        '{"retry":{"rules":{"busy":{"try":3}}}}',
        '{"script":{"nodes":{"1":{"prompt":{"text":"a"},"repeat":2}}}}',
    ],
)
def test_a_misspelt_setting_is_refused_at_any_depth(body: str) -> None:
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        msgspec.json.decode(body, type=CampaignSettings)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"ring_timeout": 4}, "ring_timeout"),
        ({"ring_timeout": 121}, "ring_timeout"),
        ({"max_call_time": 0}, "max_call_time"),
        ({"max_call_time": 3601}, "max_call_time"),
        ({"max_channels": -1}, "max_channels"),
        ({"calls_per_second": Decimal(-1)}, "calls_per_second"),
        ({"calls_per_second": Decimal("NaN")}, "calls_per_second"),
        ({"calls_per_second": Decimal("sNaN")}, "calls_per_second"),
        ({"lifetime": 0}, "lifetime"),
        ({"lifetime": 10**18}, "lifetime"),
        ({"max_cost": Decimal(-1)}, "max_cost"),
        ({"max_cost": Decimal("NaN")}, "max_cost"),
        ({"max_cost": Decimal("Infinity")}, "max_cost"),
        ({"timezone": "Mars/Olympus"}, "no time zone 'Mars/Olympus'"),
        ({"caller_ids": ("74951234567",)}, "caller_ids"),
        ({"caller_ids": ("+74951234567\r\nX: y",)}, "caller_ids"),
        ({"caller_ids": ("+7X95",)}, "caller_ids"),
        ({"caller_ids": ("+XXXXXXX",)}, "caller_ids"),
        ({"caller_ids": ("+7000999XXXXXXXXXX",)}, "caller_ids"),
        ({"incoming_numbers": ("+7000999XXXX",)}, "incoming_numbers"),
        ({"code_length": 3}, "code_length"),
        ({"code_length": 9}, "code_length"),
        ({"call_limit": CallLimit(count=0)}, "call_limit"),
        ({"call_limit": CallLimit(seconds=0)}, "call_limit"),
        ({"call_limit": CallLimit(count=1001)}, "call_limit"),
        ({"postback": Postback(url="ftp://example.com/{ct_phone}")}, "postback"),
        ({"postback": Postback(url="https://example.com/\n{ct_phone}")}, "postback"),
        ({"caller_ids": ("+٧٤٩٥١٢٣٤٥٦٧",)}, "caller_ids"),
        ({"callback_url": "ftp://example.com/"}, "callback_url"),
        ({"callback_url": "https://"}, "callback_url"),
        ({"callback_url": "https:///path"}, "callback_url"),
        ({"callback_url": "https://example.com/\nX: y"}, "callback_url"),
        ({"callback_url": "https://[::1/"}, "callback_url"),
        ({"callback_url": "https://example.com:99999/"}, "callback_url"),
        ({"callback_url": "https://example.com/" + "a" * 2000}, "callback_url"),
        ({"comment": "a" * 2001}, "comment"),
        ({"comment": "\0"}, "comment"),
        ({"comment": "\ud800"}, "comment"),
        ({"voice": Voice(language="")}, "voice"),
        ({"voice": Voice(name="a b; c")}, "voice"),
        ({"voice": Voice(name="-f")}, "voice"),
    ],
)
def test_a_setting_without_sense_is_refused_by_name(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsInvalid, match=says):
        CampaignSettings(**settings).checked()


@pytest.mark.parametrize(
    "overrides",
    [
        CallOverrides(text=""),
        CallOverrides(text="a\0"),
        CallOverrides(text="a" * 4001),
        CallOverrides(voice=Voice(language="-")),
        CallOverrides(max_call_time=0),
        CallOverrides(code=""),
        CallOverrides(code="12a4"),
        CallOverrides(code="١٢٣٤"),
        CallOverrides(max_call_time=MAX_CALL_TIME + 1),
    ],
)
def test_a_call_cannot_ask_for_what_its_campaign_could_not(overrides: CallOverrides) -> None:
    with pytest.raises(SettingsInvalid):
        overrides.checked()


def test_a_calls_own_text_replaces_only_the_first_prompt() -> None:
    menu = Script(
        start="a",
        nodes={
            "a": Node(prompt=Prompt(text="one"), keys={"1": Reaction(goto="b")}, repeats=3),
            "b": Node(prompt=Prompt(text="two")),
        },
    )
    settings = CampaignSettings(script=menu)
    script = script_of(settings, CallOverrides(text="mine").checked())
    assert script is not None
    assert script.checked().nodes["a"] == msgspec.structs.replace(menu.nodes["a"], prompt=Prompt(text="mine"))
    assert script.nodes["b"] == menu.nodes["b"]
    assert script_of(settings, CallOverrides()) is menu


def test_a_calls_own_text_needs_no_campaign_script() -> None:
    assert script_of(CampaignSettings(), CallOverrides(text="mine")) == plain(Prompt(text="mine"))
    assert script_of(CampaignSettings(), CallOverrides()) is None
