"""Does `ivr_lvl_…` change what a button or word does in one call, and nothing where it is wrong?"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus, urlencode

import httpx
import pytest

from zvonar.core.campaign import Voice
from zvonar.core.reaction import Reaction, Sms, SmsTo
from zvonar.core.script import Node, Prompt, Script
from zvonar.dialects.callo.routes import PREFIXES
from zvonar.store import clips

if TYPE_CHECKING:
    from tests.dialects.conftest import House, Tenant

PATH = PREFIXES[0] + "/phones/call/"
PHONE = "+70001230001"
NO_REACTION = "The campaign has no reaction to this button or word."
ONE_WORD = "Only one word is allowed for a reaction."

IVR = Script(
    nodes={
        "1": Node(
            prompt=Prompt(text="Вы согласны?"),
            keys={
                "1": Reaction(goto="2", words=("yes", "ага", "не против")),
                "2": Reaction(sms=Sms(text="Жаль", to=SmsTo.owner), words=("нет",)),
            },
            spoken=(Reaction(words=("next",)), Reaction(words=("back", "disagree"))),
        ),
        "2": Node(prompt=Prompt(text="Точно?"), keys={"1": Reaction(), "3": Reaction()}),
    }
)


@pytest.fixture
def campaign_id(house: House, tenant: Tenant) -> int:
    return house.campaign(tenant, script=IVR)


@pytest.fixture
def add(house: House, tenant: Tenant, campaign_id: int) -> Callable[..., httpx.Response]:
    def send(fields: dict[str, str], **others: Any) -> httpx.Response:
        form = {
            "public_key": tenant.callo,
            "phone": PHONE,
            "campaign_id": str(campaign_id),
            **fields,
            **others,
        }
        return house.send(
            "POST",
            PATH,
            content=urlencode(form, quote_via=quote_plus),
            headers={"content-type": "application/x-www-form-urlencoded"},
        )

    return send


@pytest.fixture
def stored(house: House, add: Callable[..., httpx.Response]) -> Callable[..., list[dict[str, str]]]:
    def reactions(**fields: str) -> list[dict[str, str]]:
        answer = add(fields)
        assert answer.status_code == 200, answer.text
        overrides = house.run(
            house.db.value("SELECT overrides FROM calls WHERE call_id = %s", [answer.json()["call_id"]])
        )
        return (overrides or {}).get("reactions", [])

    return reactions


def calls(house: House) -> int:
    return int(house.run(house.db.value("SELECT count(*) FROM calls")))


@pytest.mark.parametrize(
    ("parameter", "value", "field", "kept"),
    [
        ("audioclip_text", "Спасибо <break/> вам", "say", "Спасибо <break/> вам"),
        ("email_subject", "Выбор", "email_subject", "Выбор"),
        ("email_text", "Нажал\n1", "email_text", "Нажал\n1"),
        ("sms_text", "Привет 👋", "sms_text", "Привет 👋"),
        ("status_name", "Согласен", "status_name", "Согласен"),
        ("to_email", "a@example.com", "email_to", "a@example.com"),
        ("to_phone", "8 (916) 123-45-67", "phone", "+79161234567"),
        ("to_sipname", "sales", "sip_name", "sales"),
        ("webhook", "https://example.com/x?a=1", "webhook", "https://example.com/x?a=1"),
    ],
)
def test_every_parameter_is_kept_with_the_call(
    stored: Callable[..., list[dict[str, str]]], parameter: str, value: str, field: str, kept: str
) -> None:
    assert stored(**{f"ivr_lvl_1_btn_1_{parameter}": value}) == [{"node": "1", "choice": "1", field: kept}]


@pytest.mark.parametrize(
    ("level", "button", "node", "choice"),
    [
        (1, "1", "1", "1"),
        (2, "3", "2", "3"),
        (1, "a", "1", "yes"),
        (1, "b", "1", "нет"),
        (1, "c", "1", "next"),
        (1, "с", "1", "next"),  # Cyrillic, as the reference has it
        (1, "d", "1", "back"),
        (1, "ага", "1", "ага"),
        (1, "не против", "1", "не против"),
        (1, "disagree", "1", "disagree"),
    ],
)
def test_a_button_is_a_digit_a_letter_or_a_word(
    stored: Callable[..., list[dict[str, str]]], level: int, button: str, node: str, choice: str
) -> None:
    name = f"ivr_lvl_{level}_btn_{button}_sms_text"
    assert stored(**{name: "x"}) == [{"node": node, "choice": choice, "sms_text": "x"}]


def test_several_parameters_of_a_button_are_one_override(
    stored: Callable[..., list[dict[str, str]]],
) -> None:
    found = stored(
        ivr_lvl_1_btn_1_sms_text="x",
        ivr_lvl_1_btn_1_status_name="y",
        ivr_lvl_2_btn_1_webhook="https://example.com/",
        ivr_lvl_1_btn_ага_to_email="a@example.com",
    )
    assert found == [
        {"node": "1", "choice": "1", "status_name": "y", "sms_text": "x"},
        {"node": "2", "choice": "1", "webhook": "https://example.com/"},
        {"node": "1", "choice": "ага", "email_to": "a@example.com"},
    ]


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("ivr_lvl_1_btn_9_sms_text", "x", NO_REACTION),
        ("ivr_lvl_9_btn_1_sms_text", "x", NO_REACTION),
        ("ivr_lvl_0_btn_1_sms_text", "x", NO_REACTION),
        ("ivr_lvl_2_btn_a_sms_text", "x", NO_REACTION),
        ("ivr_lvl_1_btn_никогда_sms_text", "x", NO_REACTION),
        ("ivr_lvl_1_btn_Ага_sms_text", "x", NO_REACTION),
        ("ivr_lvl_1_btn_не  против_sms_text", "x", NO_REACTION),
        ("ivr_lvl_1_btn_ага,нет_sms_text", "x", ONE_WORD),
        ("ivr_lvl_1_btn_ага нет_sms_text", "x", ONE_WORD),
        ("ivr_lvl_1_btn_1_to_phone", "abc", "Enter a valid phone number."),
        ("ivr_lvl_1_btn_1_to_phone", "112", "Enter a valid phone number."),
        ("ivr_lvl_1_btn_1_to_sipname", "sip:a@b;x\r\n", "Enter a valid value."),
        ("ivr_lvl_1_btn_1_to_email", "a@b, c@d", "Enter a valid value."),
        ("ivr_lvl_1_btn_1_email_subject", "a\r\nBcc: b", "Enter a valid value."),
        ("ivr_lvl_1_btn_1_webhook", "file:///etc/passwd", "Enter a valid value."),
        ("ivr_lvl_1_btn_1_audioclip_text", "<p>да", "Enter a valid text: Mismatched tag."),
        ("ivr_lvl_1_btn_1_audioclip_text", '<audio id="999"/>', "There is no such audio clip."),
        (
            "ivr_lvl_1_btn_1_sms_text",
            "ы" * 4001,
            "Ensure this value has at most 4000 characters (it has 4001).",
        ),
        ("ivr_lvl_1_btn_1_sms_text", "a\0b", "Null characters are not allowed."),
    ],
)
def test_what_is_wrong_is_a_form_error_on_that_parameter_and_adds_nothing(
    house: House, add: Callable[..., httpx.Response], name: str, value: str, error: str
) -> None:
    before = calls(house)
    answer = add({name: value, "ivr_lvl_1_btn_2_status_name": "right"})
    assert answer.status_code == 400, answer.text
    assert answer.json()["data"] == f"Form isn't valid: * {name}\n  * {error}"
    assert calls(house) == before


def test_two_words_of_one_reaction_are_an_error(house: House, add: Callable[..., httpx.Response]) -> None:
    before = calls(house)
    answer = add({"ivr_lvl_1_btn_ага_sms_text": "x", "ivr_lvl_1_btn_не против_sms_text": "y"})
    assert answer.json()["data"] == f"Form isn't valid: * ivr_lvl_1_btn_не против_sms_text\n  * {ONE_WORD}"
    assert calls(house) == before


def test_a_call_is_put_through_to_one_of_phone_and_sip_name(add: Callable[..., httpx.Response]) -> None:
    answer = add({"ivr_lvl_1_btn_1_to_phone": "+79161234567", "ivr_lvl_1_btn_1_to_sipname": "sales"})
    assert answer.json()["data"] == "Form isn't valid: * ivr_lvl_1_btn_1_to_sipname\n  * Enter a valid value."


def test_a_campaign_without_buttons_has_none_to_change(
    house: House, tenant: Tenant, add: Callable[..., httpx.Response]
) -> None:
    silent = house.campaign(tenant, script=None)
    answer = add({"ivr_lvl_1_btn_1_sms_text": "x", "text": "да"}, campaign_id=str(silent))
    assert NO_REACTION in answer.json()["data"]


@pytest.mark.parametrize(
    "name", ["ivr_lvl_1_btn_1_email", "ivr_lvl_x_btn_1_sms_text", "ivr_lvl_1_btn__sms_text", "ivr_lvl_1"]
)
def test_what_only_resembles_a_parameter_is_ignored(
    stored: Callable[..., list[dict[str, str]]], name: str
) -> None:
    assert stored(**{name: "x"}) == []


def test_a_text_may_play_a_clip_of_the_account_and_of_no_other(
    house: House, tenant: Tenant, add: Callable[..., httpx.Response]
) -> None:
    stranger, before = house.tenant(), calls(house)
    own, other = (
        house.run(clips.put_text(house.db, who.account.account_id, "да", Voice(), now=house.clock)).clip_id
        for who in (tenant, stranger)
    )
    answer = add({"text": f'<audio id="{own}"/>'})
    assert answer.json()["audioclip_id"] == own
    within = add({"text": f'Здравствуйте <audio id="{own}"/>', "phone": "+70001230002"})
    assert within.json()["audioclip_id"] not in (own, other)
    refused = add({"text": f'Здравствуйте <audio id="{other}"/>'})
    assert refused.json()["data"] == "Form isn't valid: * text\n  * There is no such audio clip."
    assert calls(house) == before + 2


@pytest.mark.parametrize(
    "text",
    ["<p>" * 1300, "<!DOCTYPE a [<!ENTITY b 'c'>]><speak>&b;</speak>", "<", "<say-as>1</say-as>"],
)
def test_hostile_markup_is_a_form_error(house: House, add: Callable[..., httpx.Response], text: str) -> None:
    before = calls(house)
    answer = add({"text": text})
    assert answer.status_code == 400
    assert answer.json()["data"].startswith("Form isn't valid: * text\n  * Enter a valid text: ")
    assert calls(house) == before
