"""Is every refusal word for word what its golden file says, and does it change nothing?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from zvonar.core.campaign import CampaignType
from zvonar.core.result import Disposition, Outcome
from zvonar.dialects.callo import errors, ours
from zvonar.dialects.callo.routes import PREFIXES
from zvonar.dialects.callo.words import Text

if TYPE_CHECKING:
    from tests.dialects.conftest import House, Tenant

FOLDER = Path(__file__).parents[2] / "golden/callo/errors"
PHONE = "+380123456789"
MISSING = 123456789  # a campaign, or a call

# What is refused, by the file that holds the answer: the request, and its fields over those of a good one.
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "required": ("phones/call", {"public_key": "", "phone": "", "campaign_id": ""}),
    "required_confirm": ("phones/confirm", {"public_key": "", "phone": "", "campaign_id": ""}),
    "required_statistics": ("phones/camp_stats", {"campaign_id": ""}),
    "required_call_id": ("phones/call_by_id", {}),
    "required_phone": ("phones/calls_by_phone", {"phone": ""}),
    "required_label": ("phones/calls_by_label", {}),
    "required_removal": ("phones/remove_call", {"phone": ""}),
    "required_stoplist": ("phones/stoplist", {"phone": ""}),
    "required_text": ("phones/call", {"campaign_id": "silent"}),
    "unknown_key": ("phones/call", {"public_key": "nobody"}),
    "unknown_key_of_a_reader": ("users/balance", {"public_key": "nobody"}),
    "not_whole": ("phones/call", {"campaign_id": "one"}),
    "not_valid": ("phones/call", {"label": "two words"}),
    "not_a_date": ("phones/all_calls", {"from_created_date": "yesterday"}),
    "no_choice": ("campaigns", {"mode": "some"}),
    "at_least": ("phones/call", {"max_call_time": "0"}),
    "at_most": ("phones/call", {"max_call_time": "3601"}),
    "too_long": ("phones/call", {"text": "a" * 4001}),
    "too_short": ("phones/tellcode", {"campaign_id": "tellcode", "pincode": "1"}),
    "nul": ("phones/call", {"text": "a\0"}),
    "bad_phone": ("phones/call", {"phone": "abc"}),
    "wrong_type": ("phones/call", {"campaign_id": "tellcode"}),
    "wrong_type_confirm": ("phones/confirm", {}),
    "wrong_type_tellcode": ("phones/tellcode", {}),
    "wrong_type_flashcall": ("phones/flashcall", {}),
    "no_campaign": ("phones/call", {"campaign_id": MISSING}),
    "no_campaign_of_a_reader": ("phones/all_calls", {"campaign_id": MISSING}),
    "no_call": ("phones/call_by_id", {"call_id": MISSING}),
    "no_call_to_remove": ("phones/remove_call", {"call_id": MISSING, "phone": ""}),
    "no_phone": ("phones/calls_by_phone", {"phone": "+380123456780"}),
    "no_label": ("phones/calls_by_label", {"label": "nobody"}),
    "both_ids": ("phones/call_by_id", {"call_id": 1, "call_ids": "1,2"}),
    "both_phones": ("phones/calls_by_phone", {"phones": PHONE}),
    "both_labels": ("phones/calls_by_label", {"label": "a", "labels": "b"}),
    "too_many": ("phones/call_by_id", {"call_ids": ",".join(["1"] * 201)}),
    "label_taken": ("phones/call", {"label": "taken", "text": "a text that nobody has said before"}),
    "closed_campaign": ("phones/call", {"campaign_id": "cancelled"}),
    "no_such_number": ("phones/flashcall", {"campaign_id": "flashcall", "phone_suffix": "1"}),
    "no_caller_ids": ("phones/flashcall", {"campaign_id": "flashcall_without_pool"}),
    "completed": ("phones/remove_call", {"call_id": "completed", "phone": ""}),
    "all_completed": ("phones/remove_call", {"phone": "+380123456788"}),
    "list_required": ("phones/append/calls", {}),
    "list_of_blanks": ("phones/append/calls", {"phones": " \n "}),
    "list_of_both": ("phones/append/calls", {"phones": PHONE, "phones_file": PHONE}),
    "list_of_no_numbers": ("phones/append/calls", {"phones": "abc"}),
    "list_without_column": ("phones/append/calls", {"phones": PHONE, "label_from_column": "1"}),
    "list_without_text": ("phones/append/calls", {"phones": PHONE, "campaign_id": "silent"}),
    "list_wrong_type": ("phones/append/calls", {"phones": PHONE, "campaign_id": "tellcode"}),
    "list_closed_campaign": ("phones/append/calls", {"phones": PHONE, "campaign_id": "cancelled"}),
    "no_phone_list": ("phonelists/call_ids_by_phonelist", {"phonelist_id": MISSING}),
}


@pytest.fixture(scope="module")
def scene(house: House) -> dict[str, Any]:
    """An account with a campaign of each kind that somebody is refused by, and what is known by a name."""
    tenant = house.tenant()
    made: dict[str, Any] = {
        "tenant": tenant,
        "regular": house.campaign(tenant),
        "silent": house.campaign(tenant, script=None),
        "tellcode": house.campaign(tenant, type=CampaignType.tellcode),
        "flashcall": house.campaign(tenant, type=CampaignType.flashcall, caller_ids=("+70009990000",)),
        "flashcall_without_pool": house.campaign(tenant, type=CampaignType.flashcall),
        "cancelled": house.campaign(tenant),
    }
    house.run(
        house.db.execute(
            "UPDATE campaigns SET status = 'cancelled' WHERE campaign_id = %s", [made["cancelled"]]
        )
    )
    form = {"public_key": tenant.callo, "campaign_id": made["regular"]}
    answer = house.send("POST", PREFIXES[0] + "/phones/call/", data={**form, "phone": "+380123456788"})
    house.dial_as(tenant, answer.json()["call_id"], Outcome(disposition=Disposition.blocked))
    made["completed"] = answer.json()["call_id"]
    house.send("POST", PREFIXES[0] + "/phones/call/", data={**form, "phone": PHONE, "label": "taken"})
    return made


@pytest.mark.parametrize("name", CASES)
def test_a_refusal_is_its_golden_file_and_changes_nothing(
    house: House, scene: dict[str, Any], golden: Callable[[str], Any], name: str
) -> None:
    path, fields = CASES[name]
    form = {"public_key": scene["tenant"].callo, "phone": PHONE, "campaign_id": "regular", **fields}
    sent = {key: scene.get(value, value) if isinstance(value, str) else value for key, value in form.items()}
    before = house.picture()
    response = house.send("POST", f"{PREFIXES[0]}/{path}/", data=sent)
    assert response.status_code == 400
    expected = golden(f"errors/{name}.json")
    if name == "completed":
        expected["data"] = expected["data"].replace("999999999999999", str(scene["completed"]))
    assert response.json() == expected
    assert list(response.json()) == ["status", "data"]
    assert house.picture() == before


def test_a_number_that_is_added_too_often_is_the_samples_refusal(
    house: House, tenant: Tenant, golden: Callable[[str], Any]
) -> None:
    campaign_id = house.campaign(tenant)
    form = {"public_key": tenant.callo, "phone": PHONE, "campaign_id": campaign_id}
    for _ in range(5):
        house.send("POST", PREFIXES[0] + "/phones/call/", data=form)
    before = house.picture()
    refused = house.send("POST", PREFIXES[0] + "/phones/call/", data=form).json()
    assert refused["data"].replace(str(campaign_id), "123456789") == golden("errors/too_often.json")["data"]
    assert house.picture() == before


def test_too_many_requests_are_a_page(house: House, tenant: Tenant) -> None:
    pages = [
        house.send("GET", f"{PREFIXES[0]}/users/balance/?public_key={tenant.callo}", pause=0.01)
        for _ in range(21)
    ]
    assert [page.status_code for page in pages] == [200] * 20 + [429]
    assert pages[-1].text == (FOLDER / "too_many_requests.html").read_text()
    assert pages[-1].headers["content-type"] == "text/html; charset=utf-8"
    assert pages[-1].headers["retry-after"] == "1"


def _rejections(module: ModuleType) -> list[tuple[str, Text]]:
    rejected: dict[str, Text] = vars(module).get("CLIP_REJECTED", {})
    return [(f"CLIP_REJECTED.{reason}", text) for reason, text in rejected.items()]


def test_every_text_is_what_the_golden_file_says_in_every_language(golden: Callable[[str], Any]) -> None:
    texts = {
        f"{module.__name__.rpartition('.')[2]}.{name}": {"en": text.en, "ru": text.ru, "uk": text.uk}
        for module in (errors, ours)
        for name, text in [*vars(module).items(), *_rejections(module)]
        if isinstance(text, Text) and not (module is errors and hasattr(ours, name))
    }
    assert texts == golden("errors/texts.json")


def test_every_golden_error_has_a_case() -> None:
    files = {path.stem for path in FOLDER.glob("*.json")} - {"texts", "too_often"}
    assert files == set(CASES)
